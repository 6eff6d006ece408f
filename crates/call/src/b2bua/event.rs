//! What a call is told, and how it ends.

use std::net::SocketAddr;

use cheling_model::call::Digit;
use cheling_model::{EndCause, Lane, Timestamp};
use cheling_sip::{ClientId, Flow, Request, Response, ServerId};

use super::{Wish, outcome};
use crate::registrar::Binding;

/// What happens to a call.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// The relay's ports facing [customer, agent].
    RelayOpened([SocketAddr; 2]),
    /// There will be no relay.
    RelayFailed,
    /// The relay handed over its last packet.
    RelayClosed {
        /// Packets received from [customer, agent].
        received_packets: [u64; 2],
        /// Packets the tap had to drop.
        tap_dropped_packets: [u64; 2],
    },
    /// What came of a port for a third party.
    GuestOpened {
        /// Its number.
        guest: u8,
        /// Our address facing it; `None` without a port.
        local: Option<SocketAddr>,
    },
    /// An answer to a request of ours.
    Response(ClientId, &'a Response),
    /// None came: the status it amounts to.
    NoResponse(ClientId, u16),
    /// A request of ours has been sent again to answer a challenge.
    Renumbered {
        /// Our tag in its dialog.
        tag: &'a str,
        /// Its new CSeq.
        cseq: u32,
    },
    /// A request within a dialog of ours.
    Request {
        /// Its transaction.
        server: ServerId,
        /// The way it came.
        flow: Flow,
        /// The request.
        request: Box<Request>,
    },
    /// The ACK to a 2xx of ours.
    Ack(&'a Request),
    /// An INVITE to us is no longer wanted.
    Cancelled(ServerId),
    /// A 2xx of ours was never acknowledged.
    NotAcknowledged,
    /// A connection broke.
    FlowClosed {
        /// Which.
        flow: Flow,
        /// What had registered over it, if it still had.
        device: Option<&'a Binding>,
    },
    /// A phone has registered of an extension of which one is missed whose connection broke.
    Returned {
        /// The extension.
        extension: &'a str,
        /// Its phones.
        bindings: &'a [Binding],
    },
    /// The call's time has come.
    Timeout,
    /// Somebody wants the recording paused, or to go on.
    PauseRecording(Wish),
    /// The relay has done so.
    RecordingPaused {
        /// Paused, or going on.
        is_paused: bool,
        /// Since when.
        at: Timestamp,
    },
    /// A key was pressed on the agent's phone.
    Digit(Digit),
    /// Somebody ends the call from the console.
    HangUp,
    /// We stop.
    Shutdown,
}

/// Why a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// How.
    pub(crate) cause: EndCause,
    /// Who, where somebody did.
    pub(crate) by: Option<Lane>,
    /// The final status of a call without an answer.
    pub(crate) status: Option<u16>,
}

impl Ending {
    pub(super) fn unanswered(status: u16) -> Self {
        Self { cause: outcome::cause(status), by: None, status: Some(status) }
    }
}

pub(super) fn is_invite(response: &Response) -> bool {
    response.headers.cseq().is_some_and(|cseq| cseq.method == cheling_sip::Method::Invite)
}
