//! DTLS-SRTP with one side of a call: what we say of ourselves, whom we have met, and who begins
//! (RFC 5763, RFC 8842). Browsers have nothing else; a phone that offers it gets it.
//!
//! We are ICE-lite: the side finds the way, we know its checks by the password we gave it. The
//! handshake itself is the relay's.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use cheling_media::dtls::{Fingerprint, Hash, Role};
use cheling_sip::sdp::dtls::{self, Setup};
use cheling_sip::sdp::{Dtls, IceCredentials, MediaLine, Sdp};

use crate::io::{DtlsSide, IceSide};
use crate::random::Random;

/// What we call the audio line in offers of our own.
const MID: &str = "0";

/// What we say of ourselves to one side.
#[derive(Clone, Debug, Default)]
pub(super) struct Handshake {
    certificates: Arc<[Fingerprint]>,
    /// Whether the side is offered this and nothing else.
    is_browser: bool,
    /// Which certificate.
    identity: u8,
    ice: Option<IceCredentials>,
    /// Whether an offer of ours has no answer yet.
    is_offered: bool,
}

/// The side as it has described itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Met {
    protocol: String,
    role: Role,
    theirs: Fingerprint,
    /// By what it names itself in ICE, if it does any.
    ufrag: Option<String>,
    mid: Option<String>,
    has_rtcp_mux: bool,
}

impl Handshake {
    pub(super) fn new(certificates: Arc<[Fingerprint]>) -> Self {
        Self { certificates, ..Self::default() }
    }

    /// The side is a browser.
    pub(super) fn offer_first(&mut self) {
        self.is_browser = true;
    }

    /// Whether this side is offered a handshake though it has not asked for one.
    pub(super) fn is_offered_first(&self) -> bool {
        self.is_browser && !self.certificates.is_empty()
    }

    /// The side has refused it: it is no browser. False if it was not taken for one.
    pub(super) fn give_up(&mut self) -> bool {
        self.is_offered = false;
        std::mem::take(&mut self.is_browser)
    }

    /// Whether an offer of ours waits for its answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_offered
    }

    /// Our offer was refused.
    pub(super) fn take_back(&mut self) {
        self.is_offered = false;
    }

    /// Writes an offer: to a side that was met, or to a browser that was not.
    pub(super) fn write_offer(&mut self, met: Option<&Met>, offer: &mut Sdp, random: &mut Random) {
        self.credentials(random);
        self.is_offered = true;
        let protocol = met.map_or(dtls::PROTOCOL, |met| &met.protocol);
        let line = Dtls {
            fingerprint: self.fingerprint(),
            setup: Setup::ActPass,
            ice: self.ice.clone().filter(|_| met.is_none_or(|met| met.ufrag.is_some())),
            mid: met.map_or_else(|| Some(MID.into()), |met| met.mid.clone()),
            has_rtcp_mux: true,
        };
        offer.set_dtls(protocol, &line);
    }

    /// Writes what leaves no choice: an answer over `protocol`, or the same offer again.
    pub(super) fn write(&self, met: &Met, protocol: &str, sdp: &mut Sdp) {
        let setup = match met.role {
            Role::Client => Setup::Active,
            Role::Server => Setup::Passive,
        };
        let line = Dtls {
            fingerprint: self.fingerprint(),
            setup,
            ice: self.ice.clone().filter(|_| met.ufrag.is_some()),
            mid: met.mid.clone(),
            has_rtcp_mux: met.has_rtcp_mux,
        };
        sdp.set_dtls(protocol, &line);
    }

    /// Reads what a side says of itself, whom we have `met` so before. `None` if it speaks no DTLS,
    /// or in no way that we know.
    pub(super) fn read(&self, line: &MediaLine, theirs: &Sdp, met: Option<&Met>) -> Option<Met> {
        let may_be = line.is_dtls() || line.is_secure() && theirs.crypto().is_empty();
        if !may_be || self.certificates.is_empty() {
            return None;
        }
        let fingerprint = theirs
            .fingerprints()
            .into_iter()
            .find_map(|it| Fingerprint::new(Hash::named(&it.hash)?, &it.bytes))?;
        let role = match (theirs.setup(), met) {
            (Some(Setup::Passive), _) => Role::Client,
            (Some(Setup::ActPass), Some(met)) if met.theirs == fingerprint => met.role,
            // Who finds the way begins: what it sends first comes through.
            (Some(Setup::Active | Setup::ActPass) | None, _) => Role::Server,
        };
        Some(Met {
            protocol: line.protocol.clone(),
            role,
            theirs: fingerprint,
            ufrag: theirs.ice().map(|ice| ice.ufrag),
            mid: theirs.mid(),
            has_rtcp_mux: line.has_rtcp_mux,
        })
    }

    /// The side has said who it is, whom we knew as `before`.
    pub(super) fn hear(&mut self, met: &Met, before: Option<&Met>, random: &mut Random) {
        let was_offered = std::mem::take(&mut self.is_offered);
        // A new name of theirs is a new search for the way, and wants a new one of ours (RFC 8839
        // §4.4.3.1.1). What answers our offer answers the name that stands there.
        let is_restarted = before.is_some_and(|before| before.ufrag != met.ufrag);
        if is_restarted && !was_offered {
            self.ice = None;
        }
        self.credentials(random);
    }

    /// Another certificate and name: the side goes on at another port, where nobody knows the keys
    /// that it has, and makes new ones with somebody it has not met.
    pub(super) fn renew(&mut self) {
        let count = self.certificates.len().max(1);
        self.identity = ((usize::from(self.identity) + 1) % count) as u8;
        self.ice = None;
        self.is_offered = false;
    }

    /// What the relay needs.
    pub(super) fn of_relay(&self, met: &Met) -> DtlsSide {
        let ice = self.ice.as_ref().filter(|_| met.ufrag.is_some());
        DtlsSide {
            identity: self.identity,
            role: met.role,
            theirs: met.theirs.clone(),
            ice: ice.map(|ice| IceSide { ufrag: ice.ufrag.clone(), password: ice.pwd.clone() }),
        }
    }

    fn credentials(&mut self, random: &mut Random) {
        self.ice.get_or_insert_with(|| IceCredentials {
            ufrag: STANDARD_NO_PAD.encode(random.bytes::<6>()),
            pwd: STANDARD_NO_PAD.encode(random.bytes::<24>()),
        });
    }

    fn fingerprint(&self) -> dtls::Fingerprint {
        let ours = self.certificates.get(usize::from(self.identity));
        dtls::Fingerprint {
            hash: ours.map_or(String::new(), |it| it.hash().name().to_owned()),
            bytes: ours.map_or(Vec::new(), |it| it.bytes().to_vec()),
        }
    }
}
