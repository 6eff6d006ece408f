//! One phone or trunk being called: its INVITE, its CANCEL, and what becomes of it.

use std::collections::VecDeque;

use cheling_model::call::Party;
use cheling_model::directory::DiversionHeader;
use cheling_model::{CallId, LegId};
use cheling_sip::dialog::{DialogId, scheme_of_sender};
use cheling_sip::diversion::{History, Kind};
use cheling_sip::refer::Replaces;
use cheling_sip::reliable::{self, Receipt};
use cheling_sip::sdp::{CONTENT_TYPE, Sdp};
use cheling_sip::via::host_text;
use cheling_sip::{CSeq, ClientId, Flow, Headers, Method, Name, NameAddr, Request, Response, Uri};

use super::beyond::Shown;
use super::late_caller::LateCaller;
use super::leg::{Leg, Side};
use super::protection::Protection;
use crate::core::{Core, Entries};
use crate::identity;
use crate::passage::CALL_HEADER;

/// The reason that keeps a call answered elsewhere off a phone's list of missed calls (RFC 3326).
pub(crate) const ANSWERED_ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
/// The reason for giving up on whoever did not answer in time.
pub(crate) const NO_ANSWER: &str = "SIP;cause=480;text=\"No answer\"";
/// The reason when the caller gave up.
pub(crate) const CALLER_GONE: &str = "SIP;cause=487;text=\"Caller hung up\"";
/// The reason when somebody ends the call from the console.
pub(crate) const ENDED_BY_US: &str = "SIP;cause=480;text=\"Ended by command\"";
/// The reason when we stop.
pub(crate) const SHUTDOWN: &str = "SIP;cause=503;text=\"Shutting down\"";

/// How often one INVITE is sent again because its refusal says how.
const MAX_RETRIES: u8 = 3;
/// Phones that ring for one INVITE of ours, told apart at most.
const MAX_EARLY_DIALOGS: usize = 16;

/// Whom to call, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Our phone, or a trunk.
    pub(crate) side: Side,
    /// The Request-URI.
    pub(crate) uri: Uri,
    /// The way there.
    pub(crate) flow: Flow,
    /// The caller as this side is to see it.
    pub(crate) caller: Party,
    /// The domain that the caller is shown in; ours if none.
    pub(crate) domain: Option<String>,
    /// The proxies that the INVITE is to pass.
    pub(crate) route: Vec<NameAddr>,
    /// The caller's own proof to whoever is called, passed on as it is; so are challenges, back.
    /// `None` if the proof is our affair.
    pub(crate) credentials: Option<Vec<(Name, String)>>,
    /// The dialog that the call is to take the place of there (RFC 3891).
    pub(crate) replaces: Option<Replaces>,
    /// Extensions beyond it that are shown the call while it rings.
    pub(crate) shown_to: Vec<String>,
    /// Other ways to the same phone, the best first, for when the first leads nowhere.
    pub(crate) spares: VecDeque<Spare>,
}

/// Another way to a phone.
#[derive(Clone, Debug)]
pub(crate) struct Spare {
    /// The Request-URI.
    pub(crate) uri: Uri,
    /// The way there.
    pub(crate) flow: Flow,
    /// The proxies to be passed.
    pub(crate) route: Vec<NameAddr>,
}

/// What is said beside the offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// An ordinary call.
    Ring,
    /// Please answer by yourself: the agent has just clicked.
    AutoAnswer,
}

/// What an INVITE says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invite<'a> {
    pub(crate) offer: Option<&'a Sdp>,
    pub(crate) max_forwards: u8,
    pub(crate) manner: Manner,
    /// The way that the call has come.
    pub(crate) history: &'a History,
}

/// Where a fork stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForkState {
    /// No final response yet.
    Calling,
    /// CANCEL is on its way; a 2xx may still cross it.
    Cancelling,
    /// The final response was no success.
    Failed(u16),
}

/// The final refusals of these forks.
pub(crate) fn statuses(forks: &[Fork]) -> impl Iterator<Item = u16> {
    forks.iter().filter_map(|fork| match fork.state {
        ForkState::Failed(status) => Some(status),
        ForkState::Calling | ForkState::Cancelling => None,
    })
}

/// Learns from what a trunk answers, or does not, how it fares.
pub(crate) fn note_trunk(
    core: &mut Core,
    forks: &[Fork],
    client: ClientId,
    status: u16,
    response: Option<&Response>,
) {
    let fork = forks.iter().find(|fork| fork.client == client);
    let Some(fork) = fork.filter(|fork| fork.state == ForkState::Calling) else { return };
    let Side::Trunk { name } = &fork.target.side else { return };
    let retry_after = response.and_then(|response| {
        let value = response.headers.get(Name::RetryAfter)?;
        let digits = value.trim().split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    });
    core.trunks.note(core.now.monotonic, name, status, retry_after);
}

/// One INVITE of ours.
#[derive(Debug)]
pub(crate) struct Fork {
    /// Names the phone in events; phones of one extension share it.
    pub(crate) leg_id: LegId,
    /// Whom it calls.
    pub(crate) target: Target,
    /// Its INVITE transaction.
    pub(crate) client: ClientId,
    /// Where it stands.
    pub(crate) state: ForkState,
    /// The last description in a 1xx of each phone that rings, by its tag.
    early: Vec<(String, Sdp)>,
    /// What it was offered.
    pub(crate) offer: Option<Sdp>,
    /// How its media is protected.
    pub(crate) protection: Protection,
    invite: Request,
    /// Provisional responses that want a PRACK.
    reliable: reliable::Uac,
    /// The number of our last request to whoever is called.
    pub(super) last_cseq: u32,
    /// How often the INVITE was sent again.
    retries: u8,
    /// The tags of the phones that ring, where a proxy beyond rings several.
    rings_at: Vec<String>,
    /// Agents beyond a trunk that have the card.
    pub(super) shown: Shown,
    /// Who knows a caller's number that came late.
    pub(super) late_caller: LateCaller,
}

impl Fork {
    /// Sends the INVITE; `None` if there are too many transactions.
    pub(crate) fn start(
        core: &mut Core,
        entries: &mut Entries,
        (call_id, leg_id): (CallId, LegId),
        target: Target,
        call: Invite<'_>,
    ) -> Option<Self> {
        let our_host = host_text(core.settings.advertised_to(target.flow.remote.ip()));
        let shown_host = target.domain.as_deref().unwrap_or(&our_host);
        let (tag, sip_call_id) = (core.token(), core.token());
        let shown = identity::shown_caller(&target.caller, core.manners(&target.side));
        let from = identity::from_address(&shown, shown_host).with_tag(&tag);
        let to = NameAddr::new(target.uri.clone());
        let uri = target.uri.clone();
        let mut invite = Request::outside_dialog(Method::Invite, uri, &from, &to, &sip_call_id, 1);
        invite.headers.set(Name::MaxForwards, call.max_forwards);
        for proxy in &target.route {
            invite.headers.push(Name::Route, proxy);
        }
        let contact = core.contact(target.flow, scheme_of_sender(&invite));
        invite.headers.push(Name::Contact, contact);
        for (name, value) in target.credentials.iter().flatten() {
            invite.headers.push(*name, value);
        }
        if let Some(replaces) = &target.replaces {
            invite.headers.push(Name::Replaces, replaces);
            invite.headers.push(Name::Require, "replaces");
        }
        let manners = core.manners(&target.side);
        identity::write_identity(&mut invite.headers, &target.caller, shown_host, manners);
        write_history(core, &mut invite.headers, call.history, &target);
        if call.manner == Manner::AutoAnswer {
            let host = &our_host;
            invite.headers.push(Name::CallInfo, format!("<sip:{host}>;answer-after=0"));
            invite.headers.push(Name::AlertInfo, format!("<http://{host}>;info=alert-autoanswer"));
        }
        let mut protection = Protection::towards(core, &target.side, target.flow, &target.uri);
        let offer = call.offer.cloned().map(|mut offer| {
            protection.write_offer(&mut offer, &mut core.random);
            offer
        });
        if let Some(offer) = &offer {
            invite.set_body(CONTENT_TYPE, offer.to_bytes());
            // Without an offer of ours, theirs might come in a 1xx and want its answer at once.
            invite.headers.push(Name::Supported, reliable::OPTION_TAG);
        }
        if core.is_pbx(&target.side) && !core.joined.is_part(call_id) {
            invite.headers.push(CALL_HEADER, call_id);
        }
        core.settings.session_timer.ask(&mut invite, None);
        core.bind_tag(call_id, entries, &tag);
        let client = core.request(call_id, entries, invite.clone(), target.flow, &target.side)?;
        Some(Self {
            leg_id,
            target,
            client,
            state: ForkState::Calling,
            early: Vec::new(),
            offer,
            protection,
            invite,
            reliable: reliable::Uac::default(),
            last_cseq: 1,
            retries: 0,
            rings_at: Vec::new(),
            shown: Shown::new(),
            late_caller: LateCaller::default(),
        })
    }

    /// The Call-ID of its dialogs.
    pub(crate) fn sip_call_id(&self) -> std::borrow::Cow<'_, str> {
        self.invite.headers.call_id().unwrap_or_default()
    }

    /// Acknowledges a provisional response that wants it; false if the response is a copy, or one
    /// before it is missing.
    pub(crate) fn take_provisional(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        response: &Response,
    ) -> bool {
        let tag = tag_of(response);
        if !tag.is_empty()
            && !self.rings_at.contains(&tag)
            && self.rings_at.len() < MAX_EARLY_DIALOGS
        {
            self.rings_at.push(tag);
        }
        match self.reliable.receive(response) {
            Receipt::Plain => true,
            Receipt::Repeated | Receipt::OutOfOrder => false,
            Receipt::Acknowledge(rack) => {
                if let Some(mut leg) = self.leg(response) {
                    self.last_cseq = leg.prack(core, call_id, entries, &rack, self.last_cseq);
                }
                true
            }
        }
    }

    /// Sends the INVITE again with the session interval that its 422 insists on (RFC 4028 §7.4), or
    /// by another flow where its 430 says that this one has failed (RFC 5626 §5.3); false if that is
    /// of no use.
    pub(crate) fn ask_again(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        refusal: &Response,
    ) -> bool {
        let asked_s = self.invite.headers.min_se_s();
        let least_s = refusal.headers.min_se_s();
        if refusal.status == 430 {
            return self.go_another_way(core, call_id, entries);
        }
        let is_of_use = refusal.status == 422 && least_s > asked_s && self.retries < MAX_RETRIES;
        if !is_of_use || self.state != ForkState::Calling {
            return false;
        }
        let mut invite = self.invite.clone();
        core.settings.session_timer.ask_again(&mut invite, refusal);
        self.send_again(core, call_id, entries, invite)
    }

    /// Sends the INVITE again with another offer; false if it has been sent again too often.
    pub(crate) fn offer_again(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        offer: &Sdp,
    ) -> bool {
        if self.retries >= MAX_RETRIES || self.state != ForkState::Calling {
            return false;
        }
        let (mut invite, mut offer) = (self.invite.clone(), offer.clone());
        self.protection.take_back();
        self.protection.write_offer(&mut offer, &mut core.random);
        invite.set_body(CONTENT_TYPE, offer.to_bytes());
        self.offer = Some(offer);
        self.send_again(core, call_id, entries, invite)
    }

    /// Whether the phone has said anything.
    pub(crate) fn is_silent(&self) -> bool {
        self.rings_at.is_empty()
    }

    /// Sends the INVITE by another flow of the phone; false if there is none.
    pub(crate) fn go_another_way(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
    ) -> bool {
        if self.state != ForkState::Calling {
            return false;
        }
        let Some(Spare { uri, flow, route }) = self.target.spares.pop_front() else { return false };
        let mut invite = self.invite.clone();
        invite.uri = uri.clone();
        invite.headers.remove(Name::Route);
        for proxy in &route {
            invite.headers.push(Name::Route, proxy);
        }
        invite.headers.set(Name::Contact, core.contact(flow, scheme_of_sender(&invite)));
        (self.target.uri, self.target.flow, self.target.route) = (uri, flow, route);
        self.send_again(core, call_id, entries, invite)
    }

    fn send_again(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        mut invite: Request,
    ) -> bool {
        self.retries += 1;
        self.name_caller(core, &mut invite);
        let number = self.last_cseq + 1;
        invite.headers.set(Name::CSeq, CSeq { number, method: Method::Invite });
        let Some(client) =
            core.request(call_id, entries, invite.clone(), self.target.flow, &self.target.side)
        else {
            return false;
        };
        (self.client, self.invite, self.last_cseq) = (client, invite, number);
        true
    }

    /// Notes what a phone that rings has said of its media.
    pub(crate) fn note_early(&mut self, response: &Response, sdp: Sdp) {
        let tag = tag_of(response);
        let is_full = self.early.len() >= MAX_EARLY_DIALOGS;
        match self.early.iter_mut().find(|(known, _)| *known == tag) {
            Some((_, known)) => *known = sdp,
            None if is_full => {}
            None => self.early.push((tag, sdp)),
        }
    }

    /// What whoever sent this response has said of its media before.
    pub(crate) fn early(&self, response: &Response) -> Option<Sdp> {
        let tag = tag_of(response);
        self.early.iter().find(|(known, _)| *known == tag).map(|(_, sdp)| sdp.clone())
    }

    /// The first dialog with whoever rings, as it is seen from there.
    pub(crate) fn seen_from_there(&self) -> Option<DialogId> {
        self.dialogs().into_iter().next()
    }

    /// All dialogs with whoever rings, as they are seen from there.
    pub(crate) fn dialogs(&self) -> Vec<DialogId> {
        let headers = &self.invite.headers;
        let (Some(call_id), Some(from)) = (headers.call_id(), headers.from()) else {
            return Vec::new();
        };
        let ours = from.tag().unwrap_or_default();
        let dialog = |tag: &String| DialogId {
            call_id: call_id.clone().into_owned(),
            local_tag: tag.clone(),
            remote_tag: ours.to_owned(),
        };
        self.rings_at.iter().map(dialog).collect()
    }

    /// A request of ours to whoever is called has been sent again with this number.
    pub(crate) fn renumber(&mut self, tag: &str, cseq: u32) {
        let from = self.invite.headers.from();
        if from.as_ref().and_then(|from| from.tag()) == Some(tag) {
            self.last_cseq = self.last_cseq.max(cseq);
        }
    }

    /// Whether a final response is still to come.
    pub(crate) fn is_pending(&self) -> bool {
        !matches!(self.state, ForkState::Failed(_))
    }

    /// Gives it up, saying why.
    pub(crate) fn cancel(&mut self, core: &mut Core, reason: &str) {
        if self.state == ForkState::Calling {
            self.state = ForkState::Cancelling;
            core.cancel(self.client, Some(reason));
        }
    }

    /// The dialog of a 1xx or 2xx; `None` if the response cannot make one.
    pub(crate) fn leg(&self, response: &Response) -> Option<Leg> {
        let Target { side, flow, .. } = &self.target;
        let mut leg = Leg::called(side.clone(), *flow, self.client, &self.invite, response)?;
        let cseq = response.headers.cseq().map_or(0, |cseq| cseq.number);
        leg.continue_from(self.last_cseq.max(cseq));
        if !response.headers.has(Name::Allow) && self.late_caller.takes_update(response) {
            leg.session.allow_update();
        }
        Some(leg)
    }

    /// Ends a dialog that nobody wants: a 2xx that crossed our CANCEL, a second phone, an answer
    /// that says nothing (RFC 3261 §13.2.2.4: acknowledge, then BYE).
    pub(crate) fn hang_up(
        &self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        response: &Response,
        reason: &str,
    ) {
        match self.leg(response) {
            Some(mut leg) => leg.bye(core, call_id, entries, Some(reason)),
            None => tracing::warn!(%call_id, from = %self.target.flow, "2xx makes no dialog"),
        }
    }
}

/// The tag that names whoever sent a response; empty if there is none.
pub(super) fn tag_of(response: &Response) -> String {
    response.headers.to_tag().unwrap_or_default().into_owned()
}

/// Tells a side who sent the call on. A phone is told all; a trunk what it wants, and by the number
/// that it knows us by.
fn write_history(core: &Core, headers: &mut Headers, history: &History, target: &Target) {
    if history.is_empty() {
        return;
    }
    let Some(manners) = core.manners(&target.side) else {
        return history.write(headers, &[Kind::Diversion, Kind::HistoryInfo], None);
    };
    let kind = |header: &DiversionHeader| match header {
        DiversionHeader::Diversion => Kind::Diversion,
        DiversionHeader::HistoryInfo => Kind::HistoryInfo,
    };
    let kinds: Vec<Kind> = manners.diversion.iter().map(kind).collect();
    let own = core.own_number(&target.side).map(|number| core.address_of(number));
    history.write(headers, &kinds, own.as_ref());
}
