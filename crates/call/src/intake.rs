//! Requests that begin something: REGISTER, INVITE, OPTIONS, and a click in the console.
//!
//! Whatever cannot be done is refused with the status RFC 3261 names for it, and what an operator
//! may have to mend leaves one line in the log.

use std::collections::VecDeque;
use std::time::Duration;

use cheling_model::call::{Offer, Party};
use cheling_model::directory::{Extension, ForwardedCaller, Trunk};
use cheling_model::{DealershipId, Direction, Lane, LineId, Presentation};
use cheling_sip::endpoint::Looping;
use cheling_sip::refer::Replaces;
use cheling_sip::reliable;
use cheling_sip::sdp::{CONTENT_TYPE, Sdp};
use cheling_sip::session_timer::{self, Judgement, judge};
use cheling_sip::{Flow, Method, Name, Request, Response, ServerId, Transport, Uri};

use crate::auth::Outcome;
use crate::b2bua::media::read_body;
use crate::b2bua::{Call, Invited, Place, Plan, RING_EXTENSION, RING_TRUNK, Side, Target};
use crate::core::{Core, RETRY_AFTER_S, SUPPORTED};
use crate::identity;
use crate::io::{Command, CommandReply};
use crate::router::{self, MAX_FORKS, Route};
use crate::subscriptions::ALLOW_EVENTS;
use crate::switch::Switch;

/// A request outside any dialog.
pub(crate) fn request(switch: &mut Switch, server: ServerId, flow: Flow, request: Request) {
    let core = &mut switch.core;
    if matches!(request.uri, Uri::Other(_)) {
        return core.refuse(server, &request, 416);
    }
    let known = [reliable::OPTION_TAG, session_timer::OPTION_TAG, "replaces"];
    let is_known = |tag: &str| {
        request.method == Method::Invite && known.iter().any(|ours| tag.eq_ignore_ascii_case(ours))
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
    let tag = core.token();
    let mut response = Response::to(request, 503, "", Some(&tag));
    response.headers.push(Name::RetryAfter, RETRY_AFTER_S);
    core.send(flow, response);
}

/// Answers a REGISTER; the extension, if it was accepted.
fn register(core: &mut Core, server: ServerId, flow: Flow, request: &Request) -> Option<String> {
    let directory = core.directory.clone();
    let tag = core.token();
    let aor = request.headers.to().and_then(|to| to.uri.user_unescaped().map(|u| u.into_owned()));
    let aor = aor.unwrap_or_default();
    let extension = match core.auth.check(core.now, &directory, request, flow) {
        Outcome::Accepted(extension) => extension,
        Outcome::Challenged { is_stale } => {
            let realm = &directory.realm;
            let response = core.auth.challenge(core.now, realm, request, flow, is_stale, &tag);
            core.respond(server, response);
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
    let response = match core.registrar.register(core.now, &extension.number, request, flow, &tag) {
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
enum Source {
    Trunk(Box<Trunk>),
    Phone(Extension),
}

fn invite(switch: &mut Switch, server: ServerId, flow: Flow, request: Request) {
    let core = &mut switch.core;
    if request.headers.max_forwards() == Some(0) {
        return core.refuse(server, &request, 483);
    }
    if let Some(Looping::Loop(_)) = core.endpoint.looping(&request) {
        tracing::warn!(from = %flow, "INVITE refused: one of ours that came back");
        return core.refuse(server, &request, 482);
    }
    let Some(source) = source(core, server, flow, &request) else { return };
    let live = switch.calls.values().filter(|slot| slot.call.is_live()).count();
    if switch.is_draining || live >= core.settings.max_calls {
        if core.may_log() {
            tracing::warn!(from = %flow, live, "INVITE refused: too many calls, or shutting down");
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
        Ok(Some(offer)) if offer.audio().is_none() => {
            return core.refuse(server, &request, 488);
        }
        Ok(offer) => offer,
        Err(err) => {
            tracing::warn!(from = %flow, %err, "INVITE refused");
            return core.refuse(server, &request, err.status());
        }
    };
    match request.replaces() {
        Ok(None) => {}
        Ok(Some(replaces)) => {
            return replace(switch, (server, flow), request, source.into(), offer, &replaces);
        }
        Err(err) => return core.refuse(server, &request, err.status()),
    }
    let called = router::dialled(&request.uri.user_unescaped().unwrap_or_default());
    let Some(planned) = plan(core, &source, &request, &called) else {
        let number = loggable(&called);
        tracing::warn!(from = %flow, %number, "INVITE refused: no line or extension of this number");
        return core.refuse(server, &request, 404);
    };
    let call_id = core.random.call_id(core.now.wall);
    core.respond(server, Response::to(&request, 100, "", None));
    if planned.plan.ways.is_empty() {
        let number = loggable(&called);
        tracing::warn!(%call_id, from = %flow, %number, "call refused: {}", planned.why_nobody);
    }
    let side = source.into();
    let tag = core.token();
    let is_unknown_number = planned.is_unknown_number;
    let reliable = Invited::reliable(core, &request);
    let invited = Invited {
        server,
        request,
        flow,
        tag,
        side,
        offer,
        is_unknown_number,
        reliable,
        has_offered_anew: false,
    };
    let call = Call::invited(core, call_id, invited, planned.plan);
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
    let invited = Invited {
        server,
        request,
        flow,
        tag,
        side,
        offer,
        is_unknown_number: false,
        reliable,
        has_offered_anew: false,
    };
    if let Some(slot) = switch.calls.get_mut(&call_id) {
        slot.call.replace(&mut switch.core, invited, &place);
    }
    switch.settle(call_id);
}

/// Finds out who sends an INVITE; `None` if it has been challenged or refused.
///
/// A gateway is known by its address, a phone by its password.
fn source(core: &mut Core, server: ServerId, flow: Flow, request: &Request) -> Option<Source> {
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
    match core.auth.check(core.now, &directory, request, flow) {
        Outcome::Accepted(extension) => Some(Source::Phone(extension.clone())),
        Outcome::Challenged { is_stale } => {
            if from.is_none() && core.may_log() {
                tracing::warn!(from = %flow, "INVITE from an unknown source challenged");
            }
            let realm = &directory.realm;
            let response = core.auth.challenge(core.now, realm, request, flow, is_stale, &tag);
            core.respond(server, response);
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

/// A plan, and what to say if it has no way to go.
struct Planned {
    plan: Plan,
    is_unknown_number: bool,
    why_nobody: &'static str,
}

/// Routes a call; `None` if nobody of ours is concerned.
fn plan(core: &Core, source: &Source, request: &Request, called: &str) -> Option<Planned> {
    match source {
        Source::Trunk(trunk) => plan_from_trunk(core, trunk, request, called),
        Source::Phone(extension) => Some(plan_from_phone(core, extension, called)),
    }
}

fn plan_from_trunk(core: &Core, trunk: &Trunk, request: &Request, called: &str) -> Option<Planned> {
    let directory = &core.directory;
    // Some gateways put the DID into To only and a name of theirs into the Request-URI.
    let of_to = request.headers.to().and_then(|to| to.uri.user_unescaped().map(|u| u.into_owned()));
    let of_to = router::dialled(&of_to.unwrap_or_default());
    let (called, route) = match router::from_trunk(directory, called) {
        Route::Unknown => (of_to.as_str(), router::from_trunk(directory, &of_to)),
        route => (called, route),
    };
    let caller = identity::caller(&request.headers, &trunk.caller_from);
    let (dealership_id, line_id, members, ring_for) = callees(&route)?;
    let targets = phones(core, members.iter().map(String::as_str), &caller);
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
    Some(Planned {
        plan: Plan { offer, caller_lane: Lane::Customer, ways: one_way(targets), ring_for },
        is_unknown_number: false,
        why_nobody: "no phone is registered for it",
    })
}

fn plan_from_phone(core: &Core, extension: &Extension, called: &str) -> Planned {
    let directory = &core.directory;
    let caller = Party {
        number: extension.number.clone(),
        display_name: Some(extension.display_name.clone()).filter(|name| !name.is_empty()),
        presentation: Presentation::Allowed,
    };
    let mut offer = Offer {
        direction: Direction::Internal,
        dealership_id: extension.dealership_id,
        caller,
        called: called.to_owned(),
        trunk: None,
        line_id: None,
        extension: Some(extension.number.clone()),
        user_id: extension.user_id,
        follow_up_id: None,
    };
    let route =
        router::from_phone(directory, &core.settings.trunks, extension.dealership_id, called);
    if let Route::Trunks { ways } = route {
        offer.direction = Direction::Outbound;
        offer.trunk = ways.first().map(|(trunk, _)| trunk.name.clone());
        let ways = ways.iter().flat_map(|(t, number)| trunk_ways(core, t, number, extension));
        let ways = ways.collect();
        return Planned {
            plan: Plan { offer, caller_lane: Lane::Agent, ways, ring_for: RING_TRUNK },
            is_unknown_number: false,
            why_nobody: "",
        };
    }
    let Some((_, line_id, members, ring_for)) = callees(&route) else {
        offer.direction = Direction::Outbound;
        return Planned {
            plan: Plan {
                offer,
                caller_lane: Lane::Agent,
                ways: VecDeque::new(),
                ring_for: RING_TRUNK,
            },
            is_unknown_number: true,
            why_nobody: "no extension and no trunk takes it",
        };
    };
    let others = members.iter().map(String::as_str).filter(|number| *number != extension.number);
    let targets = phones(core, others, &offer.caller);
    offer.line_id = line_id;
    Planned {
        plan: Plan { offer, caller_lane: Lane::Customer, ways: one_way(targets), ring_for },
        is_unknown_number: false,
        why_nobody: "no phone is registered for it",
    }
}

/// Whose call it is, the line, the extensions to ring, and for how long.
fn callees(route: &Route<'_>) -> Option<(DealershipId, Option<LineId>, Vec<String>, Duration)> {
    match route {
        Route::Group { line, group } => {
            let ring_for = Duration::from_secs(u64::from(group.ring_seconds.clamp(5, 600)));
            Some((line.dealership_id, Some(line.line_id), group.members.clone(), ring_for))
        }
        Route::Extension(extension) => {
            let number = vec![extension.number.clone()];
            Some((extension.dealership_id, None, number, RING_EXTENSION))
        }
        Route::Trunks { .. } | Route::Unknown => None,
    }
}

/// Whom a phone's transfer to a number rings, and for how long; `None` if nobody has the number.
pub(crate) fn transfer(
    core: &Core,
    extension: &str,
    number: &str,
    shown: &Party,
) -> Option<(VecDeque<Vec<Target>>, Duration)> {
    let directory = &core.directory;
    let by = router::extension(directory, extension)?;
    let route = router::from_phone(directory, &core.settings.trunks, by.dealership_id, number);
    if let Route::Trunks { ways } = route {
        let is_ours = router::extension(directory, &shown.number).is_some();
        let ways = ways.iter().flat_map(|(trunk, number)| {
            let is_original = trunk.manners.forwarded_caller == ForwardedCaller::Original;
            trunk_ways(core, trunk, number, by).map(move |mut way| {
                for target in way.iter_mut().filter(|_| is_original && !is_ours) {
                    target.caller = shown.clone();
                }
                way
            })
        });
        return Some((ways.collect(), RING_TRUNK));
    }
    let (_, _, members, ring_for) = callees(&route)?;
    let others = members.iter().map(String::as_str).filter(|number| *number != extension);
    Some((one_way(phones(core, others, shown)), ring_for))
}

fn one_way(targets: Vec<Target>) -> VecDeque<Vec<Target>> {
    if targets.is_empty() { VecDeque::new() } else { VecDeque::from([targets]) }
}

/// Every registered phone of these extensions.
fn phones<'a>(
    core: &Core,
    extensions: impl Iterator<Item = &'a str>,
    caller: &Party,
) -> Vec<Target> {
    extensions
        .flat_map(|number| {
            core.registrar.contacts(core.now.monotonic, number).map(move |binding| Target {
                side: Side::Phone { extension: number.to_owned() },
                uri: binding.contact.clone(),
                flow: binding.flow,
                caller: caller.clone(),
                domain: None,
                route: Vec::new(),
            })
        })
        .take(MAX_FORKS)
        .collect()
}

/// The ways to a trunk, one for each of its addresses, best first.
fn trunk_ways<'a>(
    core: &'a Core,
    trunk: &'a Trunk,
    number: &'a str,
    extension: &'a Extension,
) -> impl Iterator<Item = Vec<Target>> + use<'a> {
    let own_number = || core.outward.own_number(trunk, core.now.monotonic);
    let shown = trunk.caller_number.clone().or_else(own_number);
    let shown = shown.unwrap_or_else(|| extension.number.clone());
    let caller = Party { number: shown, display_name: None, presentation: Presentation::Allowed };
    let flows = core.outward.ways(&core.settings, trunk, core.now);
    flows.into_iter().map(move |flow| vec![trunk_target(core, trunk, number, caller.clone(), flow)])
}

fn trunk_target(core: &Core, trunk: &Trunk, number: &str, caller: Party, flow: Flow) -> Target {
    let user = cheling_sip::uri::escape_user(number);
    let mut uri = Uri::sip(Some(&user), &trunk.host, trunk.port);
    if let (Uri::Sip(sip), Transport::Tcp | Transport::Tls) = (&mut uri, flow.transport) {
        sip.params.set("transport", Some(flow.transport.uri_param()));
    }
    Target {
        side: Side::Trunk { name: trunk.name.clone() },
        uri,
        flow,
        caller,
        domain: trunk.account.as_ref().map(|_| trunk.host.clone()),
        route: core.outward.service_route(&trunk.name, core.now.monotonic),
    }
}

/// Obeys a click: rings the agent's phone, then calls the number.
pub(crate) fn dial(switch: &mut Switch, command: Command) -> CommandReply {
    let Command::Dial { call_id, extension, number, user_id, follow_up_id, .. } = command else {
        return CommandReply::NoSuchCall;
    };
    if switch.calls.contains_key(&call_id) || switch.dialled.contains(&call_id) {
        return CommandReply::Accepted;
    }
    let live = switch.calls.values().filter(|slot| slot.call.is_live()).count();
    let core = &mut switch.core;
    if switch.is_draining || live >= core.settings.max_calls {
        return CommandReply::Overloaded;
    }
    let directory = core.directory.clone();
    let Some(extension) = router::extension(&directory, &extension) else {
        return CommandReply::NoSuchExtension;
    };
    let number = router::dialled(&number);
    let caller = Party { number: number.clone(), ..Party::default() };
    let agent = phones(core, std::iter::once(extension.number.as_str()), &caller);
    if agent.is_empty() {
        return CommandReply::NotRegistered;
    }
    if switch.calls.values().any(|slot| slot.call.holds(&extension.number)) {
        return CommandReply::ExtensionBusy;
    }
    let shown = Party {
        number: extension.number.clone(),
        display_name: Some(extension.display_name.clone()).filter(|name| !name.is_empty()),
        presentation: Presentation::Allowed,
    };
    let trunks = core.settings.trunks.clone();
    let colleague = router::extension(&directory, &number);
    let out = router::dial_ways(&trunks, &number);
    let (direction, ways, trunk) = match colleague {
        Some(other) => {
            let targets = phones(core, std::iter::once(other.number.as_str()), &shown);
            (Direction::Internal, one_way(targets), None)
        }
        None => {
            let trunk = out.first().map(|(trunk, _)| trunk.name.clone());
            let ways = out.iter().flat_map(|(t, number)| trunk_ways(core, t, number, extension));
            (Direction::Outbound, ways.collect(), trunk)
        }
    };
    if ways.is_empty() {
        return CommandReply::NoRoute;
    }
    let offer = Offer {
        direction,
        dealership_id: extension.dealership_id,
        caller: shown,
        called: number,
        trunk,
        line_id: None,
        extension: Some(extension.number.clone()),
        user_id: Some(user_id),
        follow_up_id,
    };
    let plan = Plan { offer, caller_lane: Lane::Agent, ways, ring_for: RING_TRUNK };
    let call = Call::dialled(core, call_id, agent, plan);
    switch.remember_dialled(call_id);
    switch.add(call_id, call);
    CommandReply::Accepted
}

/// A number as the log may show it: extensions whole, anything longer without its middle.
fn loggable(number: &str) -> String {
    let chars: Vec<char> = number.chars().filter(|c| !c.is_control()).take(64).collect();
    if chars.len() <= 6 {
        return chars.into_iter().collect();
    }
    let head: String = chars[..3].iter().collect();
    let tail: String = chars[chars.len() - 2..].iter().collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_never_shows_a_whole_phone_number() {
        for (number, want) in
            [("8001", "8001"), ("13812345678", "138…78"), ("", ""), ("a\r\nb", "ab")]
        {
            assert_eq!(loggable(number), want);
        }
    }
}
