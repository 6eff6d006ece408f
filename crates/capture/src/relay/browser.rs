//! A side whose media is protected by a handshake on the media path, as browsers have it: its checks
//! (ICE), its handshake (DTLS), and the keys that come of it.
//!
//! The three kinds of datagram come to one port and are told apart by their first byte (RFC 7983).
//! Where the side is follows from its checks alone: nobody else knows the password. Handshakes and
//! media count only from there. A side that does no ICE is where its SDP says, or where its
//! handshake comes from; whoever that is must still show the certificate that the SDP names.

use super::handshakes::{AssociationId, Handshakes, Owner};
use super::ice::{self, Checked};
use super::protection::Srtp;
use super::wire::Wire;
use cheling_call::io::{DtlsSide, SrtpKeys};
use cheling_media::dtls::{DtlsError, Event};
use cheling_media::rtp::DatagramKind;
use cheling_model::call::MediaFault;
use std::net::SocketAddr;

/// Handshakes that one side may begin: somebody else's that comes first must not keep it out, and
/// nobody may have us make handshakes for ever.
const MAX_HANDSHAKES: u8 = 8;

/// One side.
pub(super) struct Browser {
    side: DtlsSide,
    owner: Owner,
    handshakes: Handshakes,
    association: Option<AssociationId>,
    begun: u8,
    /// Where the handshake of a side without ICE comes from.
    peer: Option<SocketAddr>,
    srtp: Option<Srtp>,
    /// How the last handshake failed.
    failure: Option<MediaFault>,
}

/// What came of a datagram that is no media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dealt {
    /// It was the side's.
    Taken,
    /// A check tells where the side is.
    Found,
    /// A check with wrong credentials, or a handshake from elsewhere.
    Refused,
    /// The handshake thread is behind.
    Dropped,
}

impl Browser {
    pub(super) fn new(side: DtlsSide, owner: Owner, handshakes: Handshakes) -> Self {
        Self {
            side,
            owner,
            handshakes,
            association: None,
            begun: 0,
            peer: None,
            srtp: None,
            failure: None,
        }
    }

    /// The same, as its SDP has it now. Whoever is somebody else than before begins anew.
    pub(super) fn change(&mut self, side: DtlsSide) {
        let before = std::mem::replace(&mut self.side, side);
        let is_same = before.identity == self.side.identity
            && before.role == self.side.role
            && before.theirs == self.side.theirs;
        if !is_same {
            (self.association, self.srtp, self.begun) = (None, None, 0);
            self.failure = None;
        }
    }

    pub(super) fn has_ice(&self) -> bool {
        self.side.ice.is_some()
    }

    /// Why nothing can be heard of it yet; `None` once there are keys.
    pub(super) fn fault(&self, wire: &Wire) -> Option<MediaFault> {
        if self.srtp.is_some() {
            return None;
        }
        let is_found = !self.has_ice() || wire.source.locked().is_some();
        let without_failure = if is_found { MediaFault::NoHandshake } else { MediaFault::NoCheck };
        Some(self.failure.unwrap_or(without_failure))
    }

    pub(super) fn srtp(&mut self) -> Option<&mut Srtp> {
        self.srtp.as_mut()
    }

    /// Begins the handshake if it can begin: where the side is, is known.
    pub(super) fn begin(&mut self) -> bool {
        if self.association.is_some() {
            return true;
        }
        if self.begun >= MAX_HANDSHAKES {
            return false;
        }
        let DtlsSide { identity, role, theirs, .. } = &self.side;
        self.association = self.handshakes.begin(self.owner, *identity, *role, theirs.clone());
        self.begun += u8::from(self.association.is_some());
        self.association.is_some()
    }

    /// Takes a check or a piece of a handshake.
    pub(super) fn receive(
        &mut self,
        kind: DatagramKind,
        datagram: &[u8],
        from: SocketAddr,
        wire: &mut Wire,
    ) -> Dealt {
        match (kind, &self.side.ice) {
            (DatagramKind::Stun, Some(ice)) => {
                let (answer, dealt) = match ice::check(ice, datagram, from) {
                    Checked::Refused(answer) => (answer, Dealt::Refused),
                    Checked::Valid { answer, is_used } => {
                        let known = wire.source.locked();
                        let is_news = known != Some(from) && (is_used || known.is_none());
                        if is_news {
                            wire.source.find(from);
                        }
                        (Some(answer), if is_news { Dealt::Found } else { Dealt::Taken })
                    }
                };
                if let Some(answer) = answer {
                    wire.answer(&answer, from);
                }
                if dealt == Dealt::Found {
                    self.begin();
                }
                dealt
            }
            (DatagramKind::Dtls, ice) => {
                if ice.is_some() && wire.source.locked() != Some(from) {
                    return Dealt::Refused;
                }
                self.peer = Some(from);
                if !self.begin() {
                    return Dealt::Dropped;
                }
                let id = self.association.filter(|id| self.handshakes.receive(*id, datagram));
                if id.is_some() { Dealt::Taken } else { Dealt::Dropped }
            }
            _ => Dealt::Refused,
        }
    }

    /// Takes what came of the handshake. `Ok(true)`: the side can be spoken with from now on.
    ///
    /// # Errors
    /// [`DtlsError`] if it failed: nothing can be heard of this side, nor said to it.
    pub(super) fn proceed(
        &mut self,
        id: AssociationId,
        event: Event,
        wire: &Wire,
    ) -> Result<bool, DtlsError> {
        if self.association != Some(id) {
            return Ok(false);
        }
        match event {
            Event::Send(datagram) => {
                let to = match &self.side.ice {
                    Some(_) => wire.source.locked(),
                    None => self.peer.or(wire.source.destination()),
                };
                if let Some(to) = to {
                    wire.answer(&datagram, to);
                }
                Ok(false)
            }
            Event::Agreed(keys) => {
                let keys = SrtpKeys { theirs: keys.theirs, ours: keys.ours };
                let srtp = Srtp::new(keys, self.srtp.take());
                self.srtp = Some(srtp.map_err(|err| DtlsError::Library(err.to_string()))?);
                Ok(true)
            }
            Event::Failed(err) => {
                self.association = None;
                self.failure = Some(match err {
                    DtlsError::Fingerprint => MediaFault::Fingerprint,
                    DtlsError::Profile => MediaFault::Profile,
                    DtlsError::Timeout => MediaFault::NoHandshake,
                    DtlsError::Library(_) => MediaFault::Handshake,
                });
                Err(err)
            }
        }
    }
}
