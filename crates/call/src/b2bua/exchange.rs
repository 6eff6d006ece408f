//! An offer under way between two connected sides, and who has to speak next.

use std::time::Instant;

use cheling_model::Lane;
use cheling_sip::sdp::Sdp;
use cheling_sip::{ClientId, Request, ServerId};

use crate::core::Core;

/// An offer under way.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The side that began it.
    pub(super) from: Lane,
    /// The CSeq number of its request.
    pub(super) cseq: u32,
    pub(super) step: Step,
}

/// Where an exchange stands.
#[derive(Debug)]
pub(super) enum Step {
    /// A re-INVITE or UPDATE was passed on and has no answer yet.
    Asked(Box<Asked>),
    /// The other side's 2xx brought an offer: the answer comes with the ACK.
    WaitsForAnswer { offer: Box<Sdp> },
    /// Our 2xx to the INVITE of who has taken this side brought an offer: the answer comes with the
    /// ACK.
    Taking { offer: Box<Sdp> },
    /// Both sides' first 2xx brought an offer of ours: their ACKs bring the answers.
    BothLate(Box<BothLate>),
    /// A re-INVITE of our own tells one side of the other, who has taken somebody's place with
    /// this description.
    Ours { client: ClientId, sdp: Box<Sdp> },
    /// A re-INVITE of our own offers our relay to a side that another call has given.
    Adopting { client: ClientId, offer: Box<Sdp> },
    /// A re-INVITE of our own says what the other side knows already: as a sign of life, or because
    /// we hold for it.
    Refreshing { client: ClientId },
    /// A re-INVITE of our own met one of theirs, and is made again at this time.
    Again { at: Instant, step: Box<Step> },
    /// The 2xx went back: nothing new may begin before its ACK has come.
    WaitsForAck,
}

/// Two who have made no offer: first who has taken the place, then who called.
#[derive(Debug)]
pub(super) struct BothLate {
    /// The CSeq numbers of their INVITEs.
    pub(super) cseqs: [u32; 2],
    pub(super) answers: [Option<Sdp>; 2],
    /// What the first was offered.
    pub(super) offer: Sdp,
}

/// The number of a request.
pub(super) fn cseq_of(request: &Request) -> u32 {
    request.headers.cseq().map_or(0, |cseq| cseq.number)
}

/// A request that was passed on.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) server: ServerId,
    pub(super) request: Request,
    pub(super) client: ClientId,
    pub(super) offer: Option<Sdp>,
    /// What the other side had last been told, should it refuse.
    pub(super) told_before: Option<Sdp>,
    /// When the other side has thought about it long enough.
    pub(super) until: Instant,
}

impl Exchange {
    /// The first 2xx of a call whose INVITE had no offer.
    pub(super) fn waiting_for_answer(caller: Lane, invite: &Request, offer: Sdp) -> Self {
        Self::new(caller, invite, Step::WaitsForAnswer { offer: Box::new(offer) })
    }

    /// The 2xx of ours that puts whoever sent this INVITE without an offer into a place.
    pub(super) fn taking(by: Lane, invite: &Request, offer: Sdp) -> Self {
        Self::new(by, invite, Step::Taking { offer: Box::new(offer) })
    }

    /// The 2xx of ours to two who have made no offer: to who has taken this place, by this offer, and
    /// to the caller.
    pub(super) fn both_late(by: Lane, cseqs: [u32; 2], offer: Sdp) -> Self {
        let late = BothLate { cseqs, answers: [None, None], offer };
        Self { from: by, cseq: 0, step: Step::BothLate(Box::new(late)) }
    }

    /// A re-INVITE of our own for the side that has just come.
    pub(super) fn of_ours(from: Lane, client: ClientId, sdp: Sdp) -> Self {
        Self { from, cseq: 0, step: Step::Ours { client, sdp: Box::new(sdp) } }
    }

    /// A re-INVITE of our own to the side that another call has given.
    pub(super) fn adopting(by: Lane, client: ClientId, offer: Sdp) -> Self {
        Self { from: by, cseq: 0, step: Step::Adopting { client, offer: Box::new(offer) } }
    }

    /// Answers the one who began it, if it still waits.
    pub(super) fn refuse(self, core: &mut Core, status: u16) {
        if let Step::Asked(asked) = self.step {
            core.refuse(asked.server, &asked.request, status);
        }
    }

    /// Whether this request of ours asks what it is about.
    pub(super) fn is_for(&self, client: ClientId) -> bool {
        match &self.step {
            Step::Asked(asked) => asked.client == client,
            Step::Ours { client: ours, .. }
            | Step::Adopting { client: ours, .. }
            | Step::Refreshing { client: ours } => *ours == client,
            Step::WaitsForAnswer { .. }
            | Step::Taking { .. }
            | Step::BothLate(_)
            | Step::WaitsForAck
            | Step::Again { .. } => false,
        }
    }

    /// The side that a request of ours went to and that has not answered.
    pub(super) fn asks(&self) -> Option<Lane> {
        match &self.step {
            Step::Asked(_) | Step::Ours { .. } | Step::Refreshing { .. } => Some(self.from.other()),
            Step::Adopting { .. } => Some(self.from),
            Step::Again { step, .. } => match **step {
                Step::Adopting { .. } => Some(self.from),
                _ => Some(self.from.other()),
            },
            Step::WaitsForAnswer { .. }
            | Step::Taking { .. }
            | Step::BothLate(_)
            | Step::WaitsForAck => None,
        }
    }

    /// When something is to be done about it.
    pub(super) fn until(&self) -> Option<Instant> {
        match &self.step {
            Step::Asked(asked) => Some(asked.until),
            Step::Again { at, .. } => Some(*at),
            _ => None,
        }
    }

    pub(super) fn new(from: Lane, request: &Request, step: Step) -> Self {
        Self { from, cseq: cseq_of(request), step }
    }
}
