//! SRTP with one side of a call: opens what it sends, before anything else looks at it, and seals
//! what goes there. Between the two, and in the recording, packets are plain.

use super::browser::Browser;
use super::handshakes::{Handshakes, Owner};
use super::wire::Wire;
use cheling_call::io::{RelayProtection, SrtpKeys};
use cheling_media::srtp::{Kind, Opener, Sealer, SrtpError};
use cheling_model::tap::PacketKind;

/// How one side is protected.
pub(super) enum Protection {
    /// By keys that were said in signalling.
    Srtp(Srtp),
    /// By a handshake on the media path.
    Browser(Browser),
}

impl Protection {
    /// The protection that is wanted, going on from the one before.
    pub(super) fn renew(
        before: Option<Box<Self>>,
        wanted: Option<Box<RelayProtection>>,
        owner: Owner,
        handshakes: &Handshakes,
        wire: &mut Wire,
    ) -> Option<Box<Self>> {
        let before = before.map(|before| *before);
        let after = match (before, wanted.map(|wanted| *wanted)) {
            (_, None) => None,
            (before, Some(RelayProtection::Srtp(keys))) => {
                let before = match before {
                    Some(Self::Srtp(before)) => Some(before),
                    _ => None,
                };
                // Cannot fail: keys have the length of their suite.
                let made = Srtp::new(keys, before).inspect_err(
                    |err| tracing::error!(call_id = %owner.call_id, %err, "media not protected"),
                );
                made.ok().map(Self::Srtp)
            }
            (Some(Self::Browser(mut browser)), Some(RelayProtection::Dtls(side))) => {
                browser.change(side);
                Some(Self::Browser(browser))
            }
            (_, Some(RelayProtection::Dtls(side))) => {
                Some(Self::Browser(Browser::new(side, owner, handshakes.clone())))
            }
        };
        let mut after = after.map(Box::new);
        let browser = after.as_mut().and_then(|after| after.browser());
        wire.find_by_checks(browser.as_ref().is_some_and(|browser| browser.has_ice()));
        // Where a side with ICE is, its checks must tell first.
        if let Some(browser) = browser.filter(|it| !it.has_ice() || wire.source.locked().is_some())
        {
            browser.begin();
        }
        after
    }

    /// Opens a packet in place and says how long it is then.
    ///
    /// # Errors
    /// [`SrtpError::Refused`] if it is not this side's, or nobody knows yet who that is.
    pub(super) fn open(&mut self, kind: PacketKind, packet: &mut [u8]) -> Result<usize, SrtpError> {
        match self.srtp() {
            Some(srtp) => srtp.opener.open(to_srtp(kind), packet),
            None => Err(SrtpError::Refused),
        }
    }

    /// Seals a packet for this side; `None` as long as there are no keys.
    ///
    /// # Errors
    /// [`SrtpError`] if it cannot be sealed; it must not be sent then.
    pub(super) fn seal(
        &mut self,
        kind: PacketKind,
        packet: &[u8],
    ) -> Result<Option<impl AsRef<[u8]>>, SrtpError> {
        self.srtp().map(|srtp| srtp.sealer.seal(to_srtp(kind), packet)).transpose()
    }

    /// The browser, if it is one.
    pub(super) fn browser(&mut self) -> Option<&mut Browser> {
        match self {
            Self::Browser(browser) => Some(browser),
            Self::Srtp(_) => None,
        }
    }

    fn srtp(&mut self) -> Option<&mut Srtp> {
        match self {
            Self::Srtp(srtp) => Some(srtp),
            Self::Browser(browser) => browser.srtp(),
        }
    }
}

/// Both directions of one side.
#[derive(Debug)]
pub(super) struct Srtp {
    keys: SrtpKeys,
    opener: Opener,
    sealer: Sealer,
}

impl Srtp {
    /// Protection by these keys. Going on from `before`, a direction whose key is the same keeps
    /// its counters: begun anew, it would use a key stream twice.
    ///
    /// # Errors
    /// [`SrtpError::Keys`] if they cannot be used.
    pub(super) fn new(keys: SrtpKeys, before: Option<Self>) -> Result<Self, SrtpError> {
        let (mut opener, mut sealer) = (None, None);
        if let Some(before) = before {
            opener = (before.keys.theirs == keys.theirs).then_some(before.opener);
            sealer = (before.keys.ours == keys.ours).then_some(before.sealer);
        }
        Ok(Self {
            opener: opener.map_or_else(|| Opener::new(keys.theirs.clone()), Ok)?,
            sealer: sealer.map_or_else(|| Sealer::new(keys.ours.clone()), Ok)?,
            keys,
        })
    }
}

fn to_srtp(kind: PacketKind) -> Kind {
    match kind {
        PacketKind::Rtp => Kind::Rtp,
        PacketKind::Rtcp => Kind::Rtcp,
    }
}
