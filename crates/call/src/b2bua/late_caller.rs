//! A caller's number that comes after the INVITE, as analog gateways tell it: the exchange names the
//! caller between the first two rings. Whoever was shown another is shown this one.
//!
//! Phones are told by an UPDATE without an offer (RFC 3311 §5.1), beside From in the headers of
//! `identity`: those that ring as soon as a provisional response of theirs lists UPDATE in Allow, the
//! one that has answered if it does, and whoever rings later by its INVITE. Those that know no
//! UPDATE are told by nothing else.

use cheling_model::call::Party;
use cheling_model::directory::CallerHeader;
use cheling_model::{CallId, Direction, Lane, Presentation, TapKind};
use cheling_sip::via::host_text;
use cheling_sip::{ClientId, Headers, Method, Name, Request, Response};

use super::fork::{Fork, ForkState};
use super::leg::Leg;
use super::talk::Talk;
use super::{Call, State};
use crate::core::{Core, Entries};
use crate::identity;

/// Phones that ring for one INVITE of ours and are told, at most.
const MAX_TOLD: usize = 16;

/// What whoever one INVITE of ours rings knows of a number that came after it.
#[derive(Debug, Default)]
pub(super) struct LateCaller {
    /// Whether a number came after the INVITE.
    is_news: bool,
    /// The phones that ring and take UPDATE.
    ringing: Vec<Informed>,
    /// Where the one that has answered stands.
    answered: Knows,
}

/// A phone that rings and takes UPDATE.
#[derive(Debug)]
struct Informed {
    leg: Leg,
    knows: Knows,
}

/// Whether somebody knows the number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Knows {
    /// Not yet.
    #[default]
    No,
    /// This request tells it.
    Asked(ClientId),
    /// It could not be told while it rang.
    Refused,
    /// It knows, or cannot be told.
    Settled,
}

impl Call {
    /// A request of the caller may tell a number that its INVITE did not.
    pub(super) fn caller_changed(&mut self, core: &mut Core, request: &Request) {
        let trunks = &core.settings.trunks;
        let is_inbound = self.offer.direction == Direction::Inbound;
        let name = self.offer.trunk.as_deref().filter(|_| is_inbound);
        let Some(trunk) = trunks.iter().find(|trunk| Some(trunk.name.as_str()) == name) else {
            return;
        };
        // From stays what it was in a dialog: only what stands beside it is news.
        let order: Vec<CallerHeader> = trunk
            .caller_from
            .iter()
            .copied()
            .filter(|header| match header {
                CallerHeader::PAssertedIdentity => request.headers.has(Name::PAssertedIdentity),
                CallerHeader::RemotePartyId => request.headers.has(Name::RemotePartyId),
                CallerHeader::From => false,
            })
            .collect();
        if order.is_empty() {
            return;
        }
        let caller = identity::caller(&request.headers, &order);
        if caller.presentation == Presentation::Allowed && caller.number != self.offer.caller.number
        {
            let before = std::mem::replace(&mut self.offer.caller, caller.clone());
            self.renamed.get_or_insert(before);
            core.tap(self.id, TapKind::CallerChanged { caller });
        }
    }

    /// Tells whoever was shown another caller who it is.
    pub(super) fn tell_caller(&mut self, core: &mut Core) {
        if let Some(before) = self.renamed.take() {
            self.has_late_caller = true;
            self.rename(&before);
        }
        if !self.has_late_caller {
            return;
        }
        let (id, mut entries) = (self.id, std::mem::take(&mut self.entries));
        for fork in self.forks_mut() {
            fork.tell_caller(core, id, &mut entries);
        }
        let lane = self.caller_lane.other();
        if let State::Talking(talk) = &mut self.state {
            talk.tell_caller(core, id, &mut entries, lane);
        }
        self.entries = entries;
    }

    /// Puts the caller as he is now where he was shown as `before`.
    fn rename(&mut self, before: &Party) {
        let now = self.offer.caller.clone();
        for fork in self.forks_mut() {
            fork.rename(before, &now);
        }
        match &mut self.state {
            State::Ringing(ringing) => ringing.hunt.rename(before, &now),
            State::Talking(talk) => {
                if let Some(transfer) = &mut talk.transfer {
                    transfer.hunt_mut().rename(before, &now);
                }
                if let Some(winner) = &mut talk.winner {
                    winner.rename(before, &now);
                }
            }
            _ => {}
        }
    }

    /// An UPDATE that told a phone of the caller has its answer; false if it was none of these.
    pub(super) fn caller_told(
        &mut self,
        core: &Core,
        client: ClientId,
        response: &Response,
    ) -> bool {
        if !self.has_late_caller || response.is_provisional() {
            return false;
        }
        if self.forks_mut().any(|fork| fork.late_caller.ringing_answered(client, response)) {
            return true;
        }
        let lane = self.caller_lane.other();
        let State::Talking(talk) = &mut self.state else { return false };
        let Talk { winner: Some(winner), legs, .. } = talk.as_mut() else { return false };
        let late = &mut winner.late_caller;
        if late.answered != Knows::Asked(client) {
            return false;
        }
        late.answered = Knows::Settled;
        let leg = &mut legs[lane.index()];
        match response.status {
            // It has negotiated the session timer, too (RFC 4028 §7.2).
            200..=299 => leg.renewed(core.now.monotonic, client, response),
            422 if leg.session.insist(response) => late.answered = Knows::No,
            _ => {}
        }
        true
    }
}

impl Talk {
    fn tell_caller(&mut self, core: &mut Core, id: CallId, entries: &mut Entries, lane: Lane) {
        let Some(winner) = self.winner.as_mut() else { return };
        let leg = &mut self.legs[lane.index()];
        let late = &winner.late_caller;
        let is_due = late.is_news && late.answered == Knows::No && leg.session.takes_update();
        // Phones that allow one request at a time would refuse it beside an offer.
        if !is_due || self.exchange.is_some() {
            return;
        }
        let caller = winner.identity(core);
        let sent = leg.request(core, id, entries, Method::Update, |it| write(&caller, it));
        winner.late_caller.answered = sent.map_or(Knows::Settled, Knows::Asked);
    }
}

impl Fork {
    /// Who calls, beside From, as it is told here.
    fn identity(&self, core: &Core) -> Headers {
        let mut headers = Headers::default();
        let target = &self.target;
        let our_host = host_text(core.settings.advertised_to(target.flow.remote.ip()));
        let shown_host = target.domain.as_deref().unwrap_or(&our_host);
        let manners = core.manners(&target.side);
        identity::write_identity(&mut headers, &target.caller, shown_host, manners);
        headers
    }

    /// Names the caller in an INVITE that is sent again as he is known now.
    pub(super) fn name_caller(&self, core: &Core, invite: &mut Request) {
        if self.late_caller.is_news {
            write(&self.identity(core), invite);
        }
    }

    /// The caller has another number, if he was shown here as `before`.
    fn rename(&mut self, before: &Party, now: &Party) {
        if self.target.caller != *before {
            return;
        }
        self.target.caller.clone_from(now);
        let late = &mut self.late_caller;
        (late.is_news, late.answered) = (true, Knows::No);
        late.ringing.iter_mut().for_each(|phone| phone.knows = Knows::No);
    }

    /// Notes whether a phone that rings takes UPDATE.
    pub(super) fn note_update(&mut self, response: &Response) {
        let headers = &response.headers;
        if !headers.lists(Name::Allow, Method::Update.as_str()) || headers.to_tag().is_none() {
            return;
        }
        let is_full = self.late_caller.ringing.len() >= MAX_TOLD;
        if is_full || self.late_caller.of(response).is_some() {
            return;
        }
        if let Some(leg) = self.leg(response) {
            self.late_caller.ringing.push(Informed { leg, knows: Knows::No });
        }
    }

    /// Tells the phones that ring and do not know.
    fn tell_caller(&mut self, core: &mut Core, id: CallId, entries: &mut Entries) {
        if !self.late_caller.is_news || self.state != ForkState::Calling {
            return;
        }
        let caller = self.identity(core);
        for at in 0..self.late_caller.ringing.len() {
            let phone = &mut self.late_caller.ringing[at];
            if phone.knows != Knows::No {
                continue;
            }
            let fill = |update: &mut Request| write(&caller, update);
            let (sent, cseq) = phone.leg.early_update(core, id, entries, self.last_cseq, fill);
            phone.knows = sent.map_or(Knows::Settled, Knows::Asked);
            self.last_cseq = cseq;
        }
    }
}

impl LateCaller {
    fn of(&self, response: &Response) -> Option<&Informed> {
        self.ringing.iter().find(|phone| phone.leg.is_from_there(response))
    }

    /// Whether whoever sent this response has said that it takes UPDATE.
    pub(super) fn takes_update(&self, response: &Response) -> bool {
        self.of(response).is_some()
    }

    /// Whoever sent this response has answered the call.
    pub(super) fn taken_by(&mut self, response: &Response) {
        let knows = self.of(response).map_or(Knows::No, |phone| phone.knows);
        self.answered = match knows {
            Knows::Asked(_) | Knows::Settled => Knows::Settled,
            Knows::No | Knows::Refused => Knows::No,
        };
        self.ringing.clear();
    }

    /// A phone that rings has answered what it was told by; false if this was none of these.
    fn ringing_answered(&mut self, client: ClientId, response: &Response) -> bool {
        let asked = self.ringing.iter_mut().find(|phone| phone.knows == Knows::Asked(client));
        let Some(phone) = asked else { return false };
        phone.knows = match response.status {
            200..=299 => Knows::Settled,
            _ => Knows::Refused,
        };
        true
    }
}

/// Writes who calls into a request.
fn write(caller: &Headers, request: &mut Request) {
    for name in identity::TOLD_BESIDE_FROM {
        request.headers.remove(name);
        request.headers.copy_from(caller, name);
    }
}
