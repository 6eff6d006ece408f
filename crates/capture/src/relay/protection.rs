//! SRTP with one side of a call: opens what it sends, before anything else looks at it, and seals
//! what goes there. Between the two, and in the recording, packets are plain.

use cheling_call::io::SrtpKeys;
use cheling_media::srtp::{Kind, Opener, Sealer, SrtpError};
use cheling_model::tap::PacketKind;

/// Both directions of one side.
#[derive(Debug)]
pub(super) struct Protection {
    keys: SrtpKeys,
    opener: Opener,
    sealer: Sealer,
}

impl Protection {
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

    /// Opens a packet in place and says how long it is then.
    ///
    /// # Errors
    /// [`SrtpError::Refused`] if it is not this side's.
    pub(super) fn open(&mut self, kind: PacketKind, packet: &mut [u8]) -> Result<usize, SrtpError> {
        self.opener.open(to_srtp(kind), packet)
    }

    /// Seals a packet for this side.
    ///
    /// # Errors
    /// [`SrtpError`] if it cannot be sealed; it must not be sent then.
    pub(super) fn seal(
        &mut self,
        kind: PacketKind,
        packet: &[u8],
    ) -> Result<impl AsRef<[u8]>, SrtpError> {
        self.sealer.seal(to_srtp(kind), packet)
    }
}

fn to_srtp(kind: PacketKind) -> Kind {
    match kind {
        PacketKind::Rtp => Kind::Rtp,
        PacketKind::Rtcp => Kind::Rtcp,
    }
}
