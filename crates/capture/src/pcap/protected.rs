//! One side of a captured call whose media is SRTP with a key that the capture shows.
//!
//! Until a packet has been opened with it, all is kept as it came, and said to be SRTP: the key may
//! be another's, or the capture may begin too late in the call to count its packets. From the first
//! that is opened, all is plain, and what cannot be opened is none of this side's.

use cheling_media::srtp::{Kind, MasterKey, Opener};
use cheling_model::call::Format;
use cheling_model::tap::PacketKind;

/// What became of a packet.
pub enum Taken<'a> {
    /// It is plain now.
    Opened {
        /// The packet.
        plain: &'a [u8],
        /// With the first: what its payload types are.
        formats: Option<Vec<Format>>,
    },
    /// It may be anything: to be kept as it is.
    AsItIs,
    /// It is not this side's, or came before.
    Refused,
}

/// One side's keys.
pub struct Protected {
    /// The newest first; a packet may come with the key before it.
    openers: Vec<Opener>,
    /// What the payload types are when a packet has been opened.
    formats: Vec<Format>,
    is_open: bool,
    plain: Vec<u8>,
}

impl Protected {
    /// A side that now protects by `key`, and did so as `before`. `None` for a key that cannot be
    /// used.
    pub fn new(key: MasterKey, formats: Vec<Format>, before: Option<Self>) -> Option<Self> {
        let newest = match before {
            // Begun anew it would take what it has had once more.
            Some(same) if same.openers.first().is_some_and(|opener| opener.is_of(&key)) => {
                return Some(Self { formats, ..same });
            }
            Some(other) => other.openers.into_iter().next(),
            None => None,
        };
        let openers = std::iter::once(Opener::new(key).ok()?).chain(newest).collect();
        Some(Self { openers, formats, is_open: false, plain: Vec::new() })
    }

    /// What the payload types are, whatever the description says of SRTP; `None` until a packet has
    /// been opened.
    pub fn formats(&self) -> Option<&Vec<Format>> {
        self.is_open.then_some(&self.formats)
    }

    /// Takes the next packet.
    pub fn take(&mut self, kind: PacketKind, bytes: &[u8]) -> Taken<'_> {
        let srtp_kind = match kind {
            PacketKind::Rtp => Kind::Rtp,
            PacketKind::Rtcp => Kind::Rtcp,
        };
        for opener in &mut self.openers {
            self.plain.clear();
            self.plain.extend_from_slice(bytes);
            if let Ok(len) = opener.open(srtp_kind, &mut self.plain) {
                let is_first = !self.is_open && kind == PacketKind::Rtp;
                self.is_open |= is_first;
                let formats = is_first.then(|| self.formats.clone());
                return Taken::Opened { plain: &self.plain[..len], formats };
            }
        }
        if self.is_open || kind == PacketKind::Rtcp { Taken::Refused } else { Taken::AsItIs }
    }
}
