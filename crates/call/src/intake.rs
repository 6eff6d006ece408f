//! Requests that begin something: REGISTER, INVITE and OPTIONS.
//!
//! Whatever cannot be done is refused with the status RFC 3261 names for it, and what an operator
//! may have to mend leaves one line in the log.

use cheling_model::call::{Offer, Party};
use cheling_model::directory::{Extension, Trunk};
use cheling_model::{DealershipId, Direction, Lane, LineId, Presentation};
use cheling_sip::endpoint::Looping;
use cheling_sip::refer::Replaces;
use cheling_sip::reliable;
use cheling_sip::sdp::{CONTENT_TYPE, Sdp};
use cheling_sip::session_timer::{self, Judgement, judge};
use cheling_sip::uri::Scheme;
use cheling_sip::{Flow, Method, Name, NameAddr, Request, Response, ServerId, Uri};

use crate::auth::Outcome;
use crate::b2bua::media::read_body;
use crate::b2bua::{Call, Invited, Place, Plan, Side};
use crate::core::{Core, RETRY_AFTER_S, SUPPORTED};
use crate::dialling::{self, Dialled};
use crate::hunt::Hunt;
use crate::ordered::loggable;
use crate::registrar::{Named, Tokens};
use crate::router::{self, Route};
use crate::subscriptions::ALLOW_EVENTS;
use crate::switch::Switch;
use crate::targets::{Shown, trunk_targets, trunk_uri};
use crate::{between, identity, passage};

/// Calls that one extension may be in: whoever has stolen a password cannot take all.
const MAX_CALLS_OF_PHONE: u32 = 20;

/// A request outside any dialog.
pub(crate) fn request(switch: &mut Switch, server: ServerId, flow: Flow, request: Request) {
    let core = &mut switch.core;
    let Some(request) = passage::request(core, server, flow, request) else { return };
    if matches!(request.uri, Uri::Other(_)) {
        return core.refuse(server, &request, 416);
    }
    let known = [reliable::OPTION_TAG, session_timer::OPTION_TAG, "replaces"];
    let is_known = |tag: &str| {
        let of_register = ["path", "outbound", "gruu"];
        let is_path = request.method == Method::Register
            && of_register.iter().any(|ours| tag.eq_ignore_ascii_case(ours));
        let is_ours = known.iter().any(|ours| tag.eq_ignore_ascii_case(ours));
        is_path || request.method == Method::Invite && is_ours
    };
    let mut unsupported = request.headers.require();
    unsupported.retain(|tag| !is_known(tag));
    unsupported.extend(request.headers.values(Name::ProxyRequire));
    if !unsupported.is_empty() {
        return core.refuse_with(server, &request, 420, |response| {
            response.headers.push(Name::Unsupported, unsupported.join(", "));
        });
    }
    match request.method {
        Method::Register => {
            if let Some(extension) = register(core, server, flow, &request) {
                switch.returned(&extension);
            }
        }
        Method::Invite => invite(switch, server, flow, request),
        Method::Options => core.refuse_with(server, &request, 200, |response| {
            response.headers.push(Name::Accept, CONTENT_TYPE);
            response.headers.push(Name::Supported, SUPPORTED);
            response.headers.push(Name::AllowEvents, ALLOW_EVENTS);
        }),
        // Both live in dialogs only, and this is none.
        Method::Bye | Method::Info | Method::Update | Method::Prack => {
            core.refuse(server, &request, 481);
        }
        Method::Subscribe => {
            let phone = match source(core, server, flow, &request) {
                Some(Source::Phone(phone)) => phone,
                Some(Source::Trunk(_)) => return core.refuse(server, &request, 405),
                None => return,
            };
            let lamps = |core: &Core| Switch::lamps(&switch.calls, core);
            let (core, at) = (&mut switch.core, (server, flow));
            switch.subscriptions.subscribe(core, at, &request, &phone.number, lamps);
        }
        Method::Message => match source(core, server, flow, &request) {
            Some(Source::Phone(phone)) => {
                switch.messages.pass(&mut switch.core, server, request, &phone.number);
            }
            Some(Source::Trunk(_)) => core.refuse(server, &request, 405),
            None => {}
        },
        Method::Notify | Method::Publish | Method::Refer | Method::Ack | Method::Cancel => {
            core.refuse(server, &request, 405)
        }
        Method::Other(_) => core.refuse(server, &request, 501),
    }
}

/// There is no room even for a transaction.
pub(crate) fn overloaded(core: &mut Core, flow: Flow, request: &Request) {
    if core.may_log() {
        let (servers, clients) = core.endpoint.transactions();
        tracing::warn!(from = %flow, servers, clients, "request refused: too many come from there, or there are too many transactions");
    }
    let tag = core.token();
    let mut response = Response::to(request, 503, "", Some(&tag));
    response.headers.push(Name::RetryAfter, RETRY_AFTER_S);
    core.send(flow, response);
}

/// Answers a request from somebody who is not to be served, without a transaction.
pub(crate) fn turn_away(core: &mut Core, flow: Flow, mut request: Request, status: u16) {
    if let Some(mut via) = request.headers.via() {
        via.stamp(flow.remote);
        request.headers.set_first_value(Name::Via, via);
    }
    if status == 503 {
        return overloaded(core, flow, &request);
    }
    let tag = core.token();
    core.send(flow, Response::to(&request, status, "", Some(&tag)));
}

/// Answers a REGISTER; the extension, if it was accepted.
fn register(core: &mut Core, server: ServerId, flow: Flow, request: &Request) -> Option<String> {
    let directory = core.directory.clone();
    let tag = core.token();
    let aor = request.headers.to().and_then(|to| to.uri.user_unescaped().map(|u| u.into_owned()));
    let aor = aor.unwrap_or_default();
    let extension = match core.check(&directory, request, flow) {
        Outcome::Accepted(extension) => extension,
        Outcome::Challenged { is_stale } => {
            let realm = &directory.realm;
            let response = core.auth.challenge(core.now, realm, request, flow, is_stale, &tag);
            core.challenge(server, response);
            return None;
        }
        Outcome::Refused(refusal) => {
            if core.may_log() {
                let aor = loggable(&aor);
                tracing::warn!(extension = %aor, from = %flow, %refusal, "REGISTER refused");
            }
            core.refuse(server, request, 403);
            return None;
        }
    };
    if extension.number != aor {
        let (aor, user) = (loggable(&aor), &extension.number);
        tracing::warn!(extension = %aor, %user, from = %flow, "REGISTER for another extension refused");
        core.refuse(server, request, 403);
        return None;
    }
    let address = core.token();
    let tokens = Tokens { to_tag: &tag, address: &address };
    let registered = core.registrar.register(core.now, &extension.number, request, flow, tokens);
    let response = match registered {
        Ok(response) => response,
        Err(err) => {
            tracing::info!(extension = %extension.number, from = %flow, %err, "REGISTER refused");
            err.response(request, &tag)
        }
    };
    let is_accepted = response.is_success();
    core.respond(server, response);
    is_accepted.then(|| extension.number.clone())
}

/// Where an INVITE comes from.
pub(crate) enum Source {
    Trunk(Box<Trunk>),
    Phone(Extension),
}

fn invite(switch: &mut Switch, server: ServerId, flow: Flow, request: Request) {
    let is_full = switch.is_full();
    let core = &mut switch.core;
    if request.headers.max_forwards() == Some(0) {
        return core.refuse(server, &request, 483);
    }
    if let Some(Looping::Loop(_)) = core.endpoint.looping(&request) {
        tracing::warn!(from = %flow, "INVITE refused: one of ours that came back");
        return core.refuse(server, &request, 482);
    }
    let Some(source) = source(core, server, flow, &request) else { return };
    let (called, device) = match core.registrar.named(core.now.monotonic, &request.uri) {
        Named::Number(number) => (number, None),
        Named::Phone { extension, instance } => (extension, Some(instance)),
        Named::Nobody => return core.refuse(server, &request, 404),
    };
    let is_for_help = dialling::is_for_help(&core.settings.trunks, &called);
    let of_source = match &source {
        Source::Phone(extension) => core.occupancy.calls_of(&extension.number),
        Source::Trunk(_) => 0,
    };
    let is_full = is_full || of_source >= MAX_CALLS_OF_PHONE;
    if switch.is_draining || (is_full && !is_for_help) {
        if core.may_log() {
            let kept = switch.calls.len();
            tracing::warn!(from = %flow, kept, of_source, "INVITE refused: too many calls, or shutting down");
        }
        return core.refuse_with(server, &request, 503, |response| {
            response.headers.push(Name::RetryAfter, RETRY_AFTER_S);
        });
    }
    if let Judgement::TooSmall { min_se_s } = judge(&core.settings.session_timer, &request) {
        let tag = core.token();
        return core.respond(server, session_timer::refuse(&request, min_se_s, Some(&tag)));
    }
    let offer = match read_body(&request.headers, &request.body) {
        Ok(Some(offer)) if !offer.has_audio() => {
            return core.refuse(server, &request, 488);
        }
        Ok(offer) => offer,
        Err(err) => {
            tracing::warn!(from = %flow, %err, "INVITE refused");
            return core.refuse(server, &request, err.status());
        }
    };
    let replaces = match request.replaces() {
        Ok(replaces) => replaces,
        Err(err) => return core.refuse(server, &request, err.status()),
    };
    // What the telephone system has told a phone of its own dialogs is for it to find again.
    let beyond = match (&replaces, &source) {
        (Some(replaces), Source::Phone(_)) => passage::is_beyond(switch, replaces),
        _ => None,
    };
    if let (Some(replaces), None) = (&replaces, &beyond) {
        return replace(switch, (server, flow), request, source.into(), offer, replaces);
    }
    let core = &mut switch.core;
    let Some(plan) = plan(core, &source, &request, &called) else {
        let number = loggable(&called);
        tracing::warn!(from = %flow, %number, "INVITE refused: no line or extension of this number");
        return core.refuse(server, &request, 404);
    };
    let mut plan = Plan { hunt: plan.hunt.at(device).replacing(replaces), ..plan };
    if let Some(Some(customers)) = beyond {
        plan = customers.taken_over_by(plan);
    }
    if request.uri.is_sips() {
        plan.hunt = plan.hunt.secure();
    }
    let call_id = core.random.call_id(core.now.wall);
    core.respond(server, Response::to(&request, 100, "", None));
    let side: Side = source.into();
    if let Some(pbx) = passage::pbx(core).filter(|pbx| side.trunk() == Some(&pbx.name)) {
        let calls = switch.calls.iter().map(|(call_id, slot)| (*call_id, &slot.call));
        if let Some(first) = passage::first_of(calls, &pbx.name, &plan.offer, &request) {
            tracing::debug!(%call_id, first = %first.call_id, "comes back to a phone");
            core.joined.join(call_id, first);
            // That it comes back is as good as an answer there.
            if let Some(slot) = switch.calls.get_mut(&first.call_id) {
                slot.call.tell(core);
            }
        }
    }
    let tag = core.token();
    let reliable = Invited::reliable(core, &request);
    let has_offered_anew = false;
    let invited = Invited { server, request, flow, tag, side, offer, reliable, has_offered_anew };
    let call = Call::invited(core, call_id, invited, plan);
    switch.add(call_id, call);
}

impl From<Source> for Side {
    fn from(source: Source) -> Self {
        match source {
            Source::Trunk(trunk) => Self::Trunk { name: trunk.name },
            Source::Phone(extension) => Self::Phone { extension: extension.number },
        }
    }
}

/// An INVITE that is to take a place in a call there is (RFC 3891 §3). A colleague may pick up what
/// rings; what is answered already only the same extension, or the same trunk, may take.
fn replace(
    switch: &mut Switch,
    (server, flow): (ServerId, Flow),
    request: Request,
    side: Side,
    offer: Option<Sdp>,
    replaces: &Replaces,
) {
    let core = &mut switch.core;
    let tags = [&replaces.to_tag, &replaces.from_tag];
    let found = tags.into_iter().find_map(|tag| core.call_of_tag(tag)).and_then(|call_id| {
        let call = &switch.calls.get(&call_id)?.call;
        Some((call_id, call.place(replaces)))
    });
    let (call_id, place) = match found {
        Some((call_id, Ok(place))) => (call_id, place),
        Some((_, Err(err))) => return core.refuse(server, &request, err.status()),
        None => return core.refuse(server, &request, 481),
    };
    let dealership = |side: &Side| {
        let extension = router::extension(&core.directory, side.extension()?)?;
        Some(extension.dealership_id)
    };
    let may = match &place {
        Place::Talking(_, other) => *other == side,
        Place::Ringing(_, other) => {
            *other == side
                || (dealership(other).is_some() && dealership(other) == dealership(&side))
        }
    };
    if !may {
        tracing::warn!(%call_id, from = %flow, "INVITE with Replaces refused: not theirs to take");
        return core.refuse(server, &request, 403);
    }
    core.respond(server, Response::to(&request, 100, "", None));
    let tag = core.token();
    let reliable = Invited::reliable(core, &request);
    let invited =
        Invited { server, request, flow, tag, side, offer, reliable, has_offered_anew: false };
    if let Some(slot) = switch.calls.get_mut(&call_id) {
        slot.call.replace(&mut switch.core, invited, &place);
    }
    switch.settle(call_id);
}

/// Finds out who sends an INVITE; `None` if it has been challenged or refused.
///
/// A gateway is known by its address, a phone by its password.
fn source(core: &mut Core, server: ServerId, flow: Flow, request: &Request) -> Option<Source> {
    if let Some(source) = passage::source(core, server, flow, request) {
        return source;
    }
    let directory = core.directory.clone();
    let trunks = &core.settings.trunks;
    let to_contact = request.uri.user().and_then(|user| core.outward.trunk_of_contact(user));
    if let Some(trunk) = trunks.iter().find(|trunk| Some(trunk.name.as_str()) == to_contact) {
        return Some(Source::Trunk(Box::new(trunk.clone())));
    }
    let from = request.headers.from();
    let from_user = from.as_ref().and_then(|from| from.uri.user_unescaped()).unwrap_or_default();
    let from = router::extension(&directory, &from_user);
    let trunk = router::trunk_at(trunks, &directory, flow.remote, &from_user)
        // Who answers a challenge is a phone, whatever its From says.
        .filter(|trunk| {
            let is_exact = router::is_exactly_at(trunk, flow.remote);
            is_exact || !request.headers.has(Name::ProxyAuthorization)
        });
    if let Some(trunk) = trunk {
        return Some(Source::Trunk(Box::new(trunk.clone())));
    }
    let tag = core.token();
    match core.check(&directory, request, flow) {
        Outcome::Accepted(extension) => Some(Source::Phone(extension.clone())),
        Outcome::Challenged { is_stale } => {
            if from.is_none() && core.may_log() {
                tracing::warn!(from = %flow, "INVITE from an unknown source challenged");
            }
            let realm = &directory.realm;
            let response = core.auth.challenge(core.now, realm, request, flow, is_stale, &tag);
            core.challenge(server, response);
            None
        }
        Outcome::Refused(refusal) => {
            let extension = from.map_or("unknown", |extension| &extension.number);
            if core.may_log() {
                tracing::warn!(%extension, from = %flow, %refusal, "INVITE refused");
            }
            core.refuse(server, request, 403);
            None
        }
    }
}

/// Routes a call; `None` if nobody of ours is concerned.
fn plan(core: &Core, source: &Source, request: &Request, called: &str) -> Option<Plan> {
    let pbx = passage::pbx(core);
    match (source, pbx) {
        (Source::Trunk(trunk), Some(pbx)) if trunk.name == pbx.name => {
            return passage::plan_from_pbx(core, pbx, request);
        }
        (Source::Trunk(trunk), _) if trunk.peer.is_some() => {
            return between::plan(core, trunk, request, called);
        }
        (Source::Phone(extension), Some(pbx)) => {
            return Some(passage::plan_to_pbx(core, pbx, extension, request, called));
        }
        _ => {}
    }
    match source {
        Source::Trunk(trunk) => plan_from_trunk(core, trunk, request, called),
        Source::Phone(extension) => Some(plan_from_phone(core, extension, called)),
    }
}

fn plan_from_trunk(core: &Core, trunk: &Trunk, request: &Request, called: &str) -> Option<Plan> {
    let directory = &core.directory;
    // Some gateways put the DID into To only and a name of theirs into the Request-URI.
    let of_to = request.headers.to().and_then(|to| to.uri.user_unescaped().map(|u| u.into_owned()));
    let of_to = router::dialled(&of_to.unwrap_or_default());
    let (called, route) = match router::from_trunk(directory, called) {
        Route::Unknown => (of_to.as_str(), router::from_trunk(directory, &of_to)),
        route => (called, route),
    };
    let caller = identity::caller(&request.headers, &trunk.caller_from);
    let (dealership_id, line_id, hunt) = within(core, route, &caller)?;
    let offer = Offer {
        direction: Direction::Inbound,
        dealership_id,
        caller,
        called: called.to_owned(),
        trunk: Some(trunk.name.clone()),
        line_id,
        extension: None,
        user_id: None,
        follow_up_id: None,
    };
    Some(Plan { offer, caller_lane: Lane::Customer, hunt })
}

fn plan_from_phone(core: &Core, extension: &Extension, called: &str) -> Plan {
    let caller = Party {
        number: extension.number.clone(),
        display_name: Some(extension.display_name.clone()).filter(|name| !name.is_empty()),
        presentation: Presentation::Allowed,
    };
    let (leads, hunt) = from_phone(core, extension, called, &caller, None);
    let (direction, caller_lane) = match leads {
        Leads::Out { .. } => (Direction::Outbound, Lane::Agent),
        Leads::Within { .. } => (Direction::Internal, Lane::Customer),
    };
    let (trunk, line_id) = match leads {
        Leads::Out { trunk } => (trunk, None),
        Leads::Within { line_id } => (None, line_id),
    };
    let offer = Offer {
        direction,
        dealership_id: extension.dealership_id,
        caller,
        called: called.to_owned(),
        trunk,
        line_id,
        extension: Some(extension.number.clone()),
        user_id: extension.user_id,
        follow_up_id: None,
    };
    Plan { offer, caller_lane, hunt }
}

/// Where a number that a phone dials leads.
pub(crate) enum Leads {
    /// Out of the house, by this trunk first; by none if it cannot be dialled.
    Out { trunk: Option<String> },
    /// To a phone or line of the house.
    Within { line_id: Option<LineId> },
}

/// Routes what one of our phones dials, with its rights: emergency numbers, an extension, the
/// trunks, the dealership's own lines.
pub(crate) fn from_phone(
    core: &Core,
    by: &Extension,
    called: &str,
    shown: &Party,
    forwarded: Option<&Party>,
) -> (Leads, Hunt) {
    let (directory, id) = (&core.directory, by.dealership_id);
    let route = router::from_phone(directory, id, called);
    let is_for_help = dialling::is_for_help(&core.settings.trunks, called);
    if let (Route::Extension(_), false) = (route, is_for_help)
        && let Some((_, line_id, hunt)) = within(core, route, shown)
    {
        return (Leads::Within { line_id }, hunt.but(&by.number));
    }
    let to_trunk = Shown { own: &by.number, forwarded };
    match trunk_targets(core, id, by.reach, called, Dialled::Keypad, to_trunk) {
        Ok(targets) => {
            let trunk = targets.first().and_then(|target| target.side.trunk().map(str::to_owned));
            (Leads::Out { trunk }, Hunt::trunks(targets, id, shown))
        }
        Err(refusal) => match within(core, route, shown) {
            Some((_, line_id, hunt)) => (Leads::Within { line_id }, hunt.but(&by.number)),
            None => (Leads::Out { trunk: None }, Hunt::refused(refusal, id)),
        },
    }
}

/// The way of a call to a line or a phone of ours: whose it is, the line, whom it rings.
pub(crate) fn within(
    core: &Core,
    route: Route<'_>,
    caller: &Party,
) -> Option<(DealershipId, Option<LineId>, Hunt)> {
    match route {
        Route::Line(line) => {
            Some((line.dealership_id, Some(line.line_id), Hunt::line(core, line, caller)))
        }
        Route::Extension(extension) => {
            let id = extension.dealership_id;
            Some((id, None, Hunt::extension(&extension.number, id, caller)))
        }
        Route::Unknown => None,
    }
}

/// Whom a phone's transfer to a number rings; `None` if it has no such phone.
pub(crate) fn transfer(core: &Core, extension: &str, number: &str, shown: &Party) -> Option<Hunt> {
    let by = router::extension(&core.directory, extension)?;
    if let Some(targets) = passage::targets(core, by, number, shown) {
        return Some(Hunt::trunks(targets, by.dealership_id, shown));
    }
    let is_ours = router::extension(&core.directory, &shown.number).is_some();
    Some(from_phone(core, by, number, shown, Some(shown).filter(|_| !is_ours)).1)
}

/// Asks each trunk that is due whether it is there.
pub(crate) fn ping_trunks(core: &mut Core) {
    while let Some(trunk) = core.trunks.due(core.now.monotonic, &core.settings.trunks) {
        // One whose name is not resolved is asked when it is.
        let Some(flow) = core.outward.ways(&core.settings, &trunk, core.now).into_iter().next()
        else {
            continue;
        };
        let uri = trunk_uri(&trunk, None, flow.transport);
        let from = core.contact(flow, Scheme::Sip).with_tag(&core.token());
        let sip_call_id = core.token();
        let to = NameAddr::new(uri.clone());
        let mut options =
            Request::outside_dialog(Method::Options, uri, &from, &to, &sip_call_id, 1);
        options.headers.push(Name::UserAgent, &core.settings.product);
        options.headers.push(Name::Contact, core.contact(flow, Scheme::Sip));
        // Without room for a transaction it is asked the next time.
        if let Ok(client) = core.endpoint.request(core.now.monotonic, flow, options) {
            core.trunks.asked(client, &trunk.name);
        }
    }
}
