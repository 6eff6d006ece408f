//! A call as everybody sees it, and what happens to it: the events that the call machines emit.
//!
//! [`TapEvent`]s go to the journal (which keeps them until the recording is finished) and to
//! `lookup` (which shows the card). They are JSON in the journal: fields may be added, never
//! renamed.

use crate::{CallId, DealershipId, FollowUpId, LegId, LineId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

mod stop;

pub use stop::{Stop, StopKind, StopReason};

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the trunk to one of our phones.
    Inbound,
    /// From one of our phones to the trunk.
    Outbound,
    /// Between two of our phones.
    Internal,
}

impl Direction {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Internal => "internal",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Inbound, Self::Outbound, Self::Internal].into_iter().find(|it| it.as_str() == word)
    }
}

/// The two sides of a recording: left is the customer, right is our side, always. Of an internal
/// call the caller is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Left.
    Customer,
    /// Right.
    Agent,
}

impl Lane {
    /// Both, left first.
    pub const BOTH: [Self; 2] = [Self::Customer, Self::Agent];

    /// The opposite lane.
    pub const fn other(self) -> Self {
        match self {
            Self::Customer => Self::Agent,
            Self::Agent => Self::Customer,
        }
    }

    /// 0 for left, 1 for right.
    pub const fn index(self) -> usize {
        match self {
            Self::Customer => 0,
            Self::Agent => 1,
        }
    }

    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Agent => "agent",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|it| it.as_str() == word)
    }
}

/// Whether the caller's number was shown to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presentation {
    /// A number came and may be shown.
    #[default]
    Allowed,
    /// The caller asked for privacy (`anonymous`, `Restricted`).
    Withheld,
    /// No number came.
    Unavailable,
}

impl Presentation {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Withheld => "withheld",
            Self::Unavailable => "unavailable",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Allowed, Self::Withheld, Self::Unavailable]
            .into_iter()
            .find(|it| it.as_str() == word)
    }
}

/// The calling or called party as the wire named it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// The user part as received, e.g. `013812345678` or `8001`.
    pub number: String,
    /// The display name, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Whether the number was shown.
    #[serde(default)]
    pub presentation: Presentation,
}

/// The encoding of packets that are SRTP and whose keys we do not have.
pub const SRTP: &str = "SRTP";

/// How an RTP payload type is to be read (RFC 3551, SDP `rtpmap`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// 0 to 127.
    pub payload_type: u8,
    /// SDP encoding name in upper case: `PCMA`, `PCMU`, `G722`, `TELEPHONE-EVENT`, `CN` …; [`SRTP`]
    /// where the packets cannot be opened.
    pub encoding: String,
    /// The RTP clock, in Hz.
    pub clock_hz: u32,
    /// Audio channels, usually 1.
    pub channels: u8,
}

/// Why a phone stopped ringing without talking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Withdrawal {
    /// Another phone of the group answered.
    AnsweredElsewhere {
        /// The extension that did.
        extension: String,
    },
    /// The caller gave up.
    CallerHungUp,
    /// The phone said busy (486, 600).
    Busy,
    /// The person pressed reject (603 and the like).
    Declined,
    /// Nobody picked up in time.
    NoAnswer,
    /// The phone could not be reached or failed.
    Failed {
        /// Its SIP status, e.g. 503.
        status: u16,
    },
}

/// A key pressed on a phone: `0` to `9`, `*`, `#`, `A` to `D`.
///
/// Callers key in card numbers and passwords, so which key it was shows in no log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digit(pub char);

impl std::fmt::Debug for Digit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digit(hidden)")
    }
}

/// Who paused or resumed a recording, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "who", rename_all = "snake_case")]
pub enum PausedBy {
    /// A user, from the console or the API.
    User {
        /// Who.
        user_id: UserId,
    },
    /// The agent, by the code dialled on the phone.
    Phone,
    /// Nobody: the longest pause allowed was over.
    Limit,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndCause {
    /// BYE after an answer.
    HungUp,
    /// The caller gave up before an answer.
    Cancelled,
    /// All were busy.
    Busy,
    /// All declined.
    Declined,
    /// Nobody answered in time.
    NoAnswer,
    /// No such number, or nobody registered for it.
    NotFound,
    /// Anything else, with the SIP status in the event.
    Failed,
    /// We stopped while it was going on.
    Shutdown,
}

impl EndCause {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HungUp => "hung_up",
            Self::Cancelled => "cancelled",
            Self::Busy => "busy",
            Self::Declined => "declined",
            Self::NoAnswer => "no_answer",
            Self::NotFound => "not_found",
            Self::Failed => "failed",
            Self::Shutdown => "shutdown",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [
            Self::HungUp,
            Self::Cancelled,
            Self::Busy,
            Self::Declined,
            Self::NoAnswer,
            Self::NotFound,
            Self::Failed,
            Self::Shutdown,
        ]
        .into_iter()
        .find(|it| it.as_str() == word)
    }
}

/// What is known of a call when its first INVITE has been routed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Who called whom.
    pub direction: Direction,
    /// Whose call it is.
    pub dealership_id: DealershipId,
    /// The calling party. For an outbound call: our extension.
    pub caller: Party,
    /// The called number as dialled or as the DID came.
    pub called: String,
    /// The trunk's name in the config, for calls that cross one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trunk: Option<String>,
    /// The line (DID) called, for inbound calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_id: Option<LineId>,
    /// The extension on our side, where it is known from the start (outbound, internal caller).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
    /// The user who asked for it by click-to-dial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// The follow-up task it was dialled from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_up_id: Option<FollowUpId>,
}

/// What a third party does in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestRole {
    /// Talks with everybody: a conference.
    Conference,
    /// A supervisor who hears everybody and is heard by nobody.
    Listen,
    /// A supervisor who is heard by the agent alone.
    Whisper,
    /// A supervisor who talks with everybody.
    Barge,
}

impl GuestRole {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conference => "conference",
            Self::Listen => "listen",
            Self::Whisper => "whisper",
            Self::Barge => "barge",
        }
    }

    /// The variant of a word, if it is one.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Conference, Self::Listen, Self::Whisper, Self::Barge]
            .into_iter()
            .find(|it| it.as_str() == word)
    }

    /// Whether everybody hears who has this role.
    pub const fn is_heard_by_all(self) -> bool {
        matches!(self, Self::Conference | Self::Barge)
    }
}

/// How a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum TransferStage {
    /// Whoever is to take the call rings.
    Began,
    /// Somebody has taken it.
    Done,
    /// Nobody has: whoever handed on has it again.
    Failed {
        /// The SIP status that says why.
        status: u16,
    },
}

/// Something that happened to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapEvent {
    /// Which call.
    pub call_id: CallId,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub kind: TapKind,
}

/// Why no protected media was agreed on with a side (DTLS-SRTP, RFC 5763; ICE, RFC 8445).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaFault {
    /// None of its checks reached us: there is no way between it and us.
    NoCheck,
    /// There was a way, and the handshake on it was not finished in time.
    NoHandshake,
    /// Whoever was there showed another certificate than the one announced.
    Fingerprint,
    /// The two know no common protection.
    Profile,
    /// The handshake failed otherwise; the log says how.
    Handshake,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TapKind {
    /// The call was routed; phones are about to ring. First event of every call.
    Offered(Offer),
    /// The caller's number came late or changed.
    CallerChanged {
        /// The number now.
        caller: Party,
    },
    /// A phone of ours rings, or is being rung.
    Ringing {
        /// The dialog.
        leg: LegId,
        /// Our extension.
        extension: String,
    },
    /// The far end (trunk) rings.
    FarEndRinging,
    /// Another trunk has taken the call than the one that was tried first.
    TrunkChanged {
        /// Its name.
        trunk: String,
    },
    /// A call to a line was sent on its way: to a group first, and wherever it went from there.
    Routed(Stop),
    /// A phone of ours stopped ringing without talking.
    Withdrawn {
        /// The dialog.
        leg: LegId,
        /// Our extension.
        extension: String,
        /// Why.
        why: Withdrawal,
    },
    /// Both sides talk: the recording's position 0.
    Answered {
        /// Our extension that talks (the callee of an internal call).
        extension: String,
    },
    /// How the packets that this lane sends are to be read from now on.
    Formats {
        /// The lane that sends.
        lane: Lane,
        /// Which voice of the lane ([`TapPacket::voice`](crate::tap::TapPacket)). One that is told
        /// no formats is read by those of voice 0.
        #[serde(default)]
        voice: u8,
        /// What it may send.
        formats: Vec<Format>,
    },
    /// One side put the other on hold.
    Held {
        /// Who pressed hold.
        by: Lane,
    },
    /// The hold ended.
    Resumed {
        /// Who had pressed hold.
        by: Lane,
    },
    /// From this moment on no packet of the call is recorded; both sides go on hearing each other.
    RecordingPaused {
        /// Who paused it.
        by: PausedBy,
        /// When it will go on if nobody resumes it before.
        until: Timestamp,
    },
    /// From this moment on packets are recorded again.
    RecordingResumed {
        /// Who resumed it.
        by: PausedBy,
    },
    /// A third party is being called.
    GuestCalled {
        /// Its number in the call.
        guest: u8,
        /// What it is to do here.
        role: GuestRole,
        /// The number that is called for it.
        number: String,
    },
    /// A third party has answered and is in the call.
    GuestJoined {
        /// Its number in the call, and its voice in the recording's right lane.
        guest: u8,
        /// What it does here.
        role: GuestRole,
        /// Its extension, if it is one of ours.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        extension: Option<String>,
        /// The number that was called for it.
        number: String,
    },
    /// A third party does something else from now on.
    GuestChanged {
        /// Which.
        guest: u8,
        /// What it does now.
        role: GuestRole,
    },
    /// A third party is in the call no longer, or will not come.
    GuestLeft {
        /// Which.
        guest: u8,
    },
    /// One side hands the call on.
    Transfer {
        /// Which side.
        by: Lane,
        /// To which number.
        to: String,
        /// How it goes.
        #[serde(flatten)]
        stage: TransferStage,
    },
    /// The agent asks a third while the customer waits; that is a call of its own.
    Consulting {
        /// The other call; `None`: it is over, and the agent is back.
        with: Option<CallId>,
    },
    /// A side whose media is protected by a handshake was never agreed with: nothing was heard of
    /// it, nor said to it. Told when the relay closes, of calls that were recorded.
    MediaRefused {
        /// Which side.
        lane: Lane,
        /// Where it ended.
        why: MediaFault,
    },
    /// The relay is closed: no packet of this call comes after this in the journal.
    RelayClosed {
        /// Packets received from [customer, agent].
        received_packets: [u64; 2],
        /// Packets that the tap had to drop, per lane.
        tap_dropped_packets: [u64; 2],
    },
    /// The call is over. Last event of every call but `MediaRefused` and `RelayClosed`.
    Ended {
        /// How.
        cause: EndCause,
        /// Who hung up, where somebody did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Lane>,
        /// The final SIP status of an unanswered call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sip_status: Option<u16>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_journal() {
        let event = TapEvent {
            call_id: CallId::mint(Timestamp::from_micros(1), [7; 10]),
            at: Timestamp::from_micros(1_700_000_000_000_000),
            kind: TapKind::Withdrawn {
                leg: LegId::mint(Timestamp::from_micros(1), [8; 10]),
                extension: "8001".into(),
                why: Withdrawal::AnsweredElsewhere { extension: "8002".into() },
            },
        };
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<TapEvent>(&json).unwrap(), event);
    }
}
