//! In front of a telephone system that stays: phones register *through* us, and what they say to it
//! and it to them passes by here.
//!
//! We hold no passwords then: its challenges go to the phone, the phone's proof to it. Each phone's
//! Contact is given to it with our address and a [`Mark`] that says where the phone is; the phone
//! is told nothing of that. Calls are ours as ever (`b2bua`), so they are recorded and popped; all
//! else (SUBSCRIBE, NOTIFY, MESSAGE, OPTIONS, PUBLISH) passes as by a proxy that stays in the way
//! (RFC 3261 §16) and remembers nothing but the transactions under way: at most
//! [`MAX_UNDER_WAY`], [`MAX_PER_SOURCE`] from one address; more get 503.
//!
//! Transfers and pick-ups: see `beyond`.
//!
//! Belongs here: what passes, and where calls go in that way of standing. Does not: what a call
//! does once it is planned.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use cheling_model::directory::{Trunk, TrunkRole};
use cheling_sip::uri::Scheme;
use cheling_sip::via::host_text;
use cheling_sip::{
    ClientId, Contacts, Flow, Method, Name, NameAddr, Request, Response, ServerId, Transport, Uri,
};

use crate::b2bua::Side;
use crate::core::{Core, RETRY_AFTER_S};
use crate::registrar::Grant;
use crate::router;

mod beyond;
mod calls;
mod joined;
mod mark;

pub(crate) use beyond::{is_before, is_beyond};
pub(crate) use calls::{home, is_within, plan_from_pbx, plan_to_pbx, source, targets};
pub(crate) use joined::{Begun, CALL_HEADER, Joined, first_of};
use mark::Mark;

/// Requests under way at once.
const MAX_UNDER_WAY: usize = 8192;
/// Requests under way from one address, the telephone system's apart.
const MAX_PER_SOURCE: usize = 64;
/// The longest request that is passed on, its Via and start line apart: it must fit a datagram.
const MAX_PASSED_BYTES: usize = 64_000;

/// Requests that were passed on and wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Passage {
    under_way: HashMap<ClientId, UnderWay>,
    per_source: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct UnderWay {
    server: ServerId,
    flow: Flow,
    request: Request,
}

/// The telephone system that phones register at through us.
pub(crate) fn pbx(core: &Core) -> Option<&Trunk> {
    core.settings.trunks.iter().find(|it| it.role == TrunkRole::Pbx && it.peer.is_none())
}

/// A request outside any dialog; given back if it is not to be passed on.
pub(crate) fn request(
    core: &mut Core,
    server: ServerId,
    flow: Flow,
    request: Request,
) -> Option<Request> {
    let Some(pbx) = pbx(core).cloned() else { return Some(request) };
    if matches!(request.method, Method::Invite | Method::Ack | Method::Cancel) {
        return Some(request);
    }
    if is_from_pbx(&pbx, flow, &request) {
        let Some(mark) = request.uri.user().and_then(Mark::read) else {
            // It asks whether we are there, or speaks to us by name.
            return Some(request);
        };
        to_phone(core, (server, flow), request, &mark);
        return None;
    }
    if request.method == Method::Register {
        register(core, (server, flow), request, &pbx);
        return None;
    }
    match core.registrar.by_flow(flow) {
        Some(_) => to_pbx(core, (server, flow), request, &pbx),
        None if request.method == Method::Options => return Some(request),
        None => core.refuse(server, &request, 403),
    }
    None
}

/// A request within a dialog that is none of a call's; given back if it did not come by us.
pub(crate) fn within(
    core: &mut Core,
    server: ServerId,
    flow: Flow,
    request: Request,
) -> Option<Request> {
    let Some(pbx) = pbx(core).cloned() else { return Some(request) };
    let route = request.headers.route();
    let mark = route.first().and_then(|first| first.uri.user()).and_then(Mark::read);
    let Some(mark) = mark else { return Some(request) };
    if is_from_pbx(&pbx, flow, &request) {
        to_phone(core, (server, flow), request, &mark);
    } else if core.registrar.by_flow(flow).is_some() {
        to_pbx(core, (server, flow), request, &pbx);
    } else {
        core.refuse(server, &request, 403);
    }
    None
}

/// Whether a request is the telephone system's: it comes from its very address, or from its machine
/// to a Contact that we gave it (over TCP it sends from any port).
fn is_from_pbx(pbx: &Trunk, flow: Flow, request: &Request) -> bool {
    let is_marked = || {
        let route = request.headers.route();
        let users = [request.uri.user(), route.first().and_then(|first| first.uri.user())];
        users.into_iter().flatten().any(|user| Mark::read(user).is_some())
    };
    router::is_exactly_at(pbx, flow.remote)
        || pbx.is_at(flow.remote.ip()) && flow.transport != Transport::Udp && is_marked()
}

/// The way to a phone and what to call it there; `None` if its connection is gone.
fn place(core: &Core, mark: &Mark) -> Option<(Flow, Uri)> {
    let now = core.now.monotonic;
    let extension = cheling_sip::text::unescape(&mark.extension);
    let known = core.registrar.contacts(now, &extension).find(|binding| {
        binding.flow.remote == mark.remote
            && binding.flow.transport == mark.transport
            && binding.contact.user().unwrap_or_default() == mark.user
    });
    if let Some(known) = known {
        return Some((known.flow, known.contact.clone()));
    }
    // From before our restart: where it was is in the mark. A connection is not.
    if mark.transport != Transport::Udp {
        return None;
    }
    let ours = core.settings.advertised_to(mark.remote.ip());
    let local = std::net::SocketAddr::new(ours, core.settings.udp_port);
    let host = host_text(mark.remote.ip());
    let mut uri = Uri::sip(None, &host, Some(mark.remote.port()));
    if let Uri::Sip(sip) = &mut uri {
        sip.user = Some(mark.user.clone()).filter(|user| !user.is_empty());
    }
    Some((Flow::udp(local, mark.remote), uri))
}

fn to_phone(core: &mut Core, (server, from): (ServerId, Flow), request: Request, mark: &Mark) {
    let Some((flow, contact)) = place(core, mark) else {
        return core.refuse(server, &request, 480);
    };
    let mut passed = request.clone();
    if passed.uri.user().and_then(Mark::read).is_some() {
        passed.uri = contact;
    }
    pop_route(&mut passed);
    stay_in_the_way(core, &mut passed, mark, from);
    pass(core, (server, from), request, passed, flow);
}

fn to_pbx(core: &mut Core, (server, from): (ServerId, Flow), request: Request, pbx: &Trunk) {
    let Some(flow) = core.outward.ways(&core.settings, pbx, core.now).into_iter().next() else {
        return core.refuse(server, &request, 503);
    };
    let mut passed = request.clone();
    pop_route(&mut passed);
    towards(core, &mut passed, from, pbx);
    let user = request.headers.contact().and_then(|contact| contact.uri.user().map(str::to_owned));
    let extension = core.registrar.by_flow(from).unwrap_or_default().to_owned();
    let extension = cheling_sip::uri::escape_user(&extension);
    if let Some(mark) = Mark::new(&extension, from, &user.unwrap_or_default()) {
        stay_in_the_way(core, &mut passed, &mark, from);
    }
    pass(core, (server, from), request, passed, flow);
}

/// A REGISTER: the phone's Contacts become ours.
fn register(core: &mut Core, (server, from): (ServerId, Flow), request: Request, pbx: &Trunk) {
    if core.auth.is_shut_out(core.now, from.remote.ip()) {
        return core.refuse(server, &request, 403);
    }
    let to = request.headers.to();
    let extension = to.as_ref().and_then(|to| to.uri.user()).unwrap_or_default().to_owned();
    let Some(flow) = core.outward.ways(&core.settings, pbx, core.now).into_iter().next() else {
        return core.refuse_with(server, &request, 503, |response| {
            response.headers.push(Name::RetryAfter, RETRY_AFTER_S);
        });
    };
    let mut passed = request.clone();
    if let Contacts::List(contacts) = request.headers.contacts() {
        if contacts.len() != request.headers.values(Name::Contact).len() {
            return core.refuse(server, &request, 400);
        }
        passed.headers.remove(Name::Contact);
        for contact in contacts {
            let user = contact.uri.user().unwrap_or_default();
            let Some(mark) = Mark::new(&extension, from, user) else {
                return core.refuse(server, &request, 400);
            };
            passed.headers.push(Name::Contact, ours(core, flow, &mark, contact));
        }
    }
    // What we do not do for the phone must not be promised to the registrar.
    passed.headers.remove(Name::Supported);
    passed.headers.remove(Name::Route);
    towards(core, &mut passed, from, pbx);
    pass(core, (server, from), request, passed, flow);
}

/// A phone's Contact with our address in place of its own; `expires`, `q` and the like stay.
fn ours(core: &Core, flow: Flow, mark: &Mark, mut contact: NameAddr) -> NameAddr {
    contact.uri = crate::core::contact_as(&core.settings, flow, Scheme::Sip, "x").uri;
    if let Uri::Sip(sip) = &mut contact.uri {
        sip.user = Some(mark.to_string());
    }
    contact
}

/// Our address as a domain becomes that of the telephone system.
fn towards(core: &Core, request: &mut Request, from: Flow, pbx: &Trunk) {
    let renamed = |uri: &Uri| renamed(core, uri, from, pbx);
    request.uri = renamed(&request.uri);
    for (name, address) in [(Name::From, request.headers.from()), (Name::To, request.headers.to())]
    {
        if let Some(mut address) = address {
            address.uri = renamed(&address.uri);
            request.headers.set(name, address);
        }
    }
}

/// Whether this side is the telephone system that phones register at through us.
pub(crate) fn is_with_pbx(core: &Core, side: &Side) -> bool {
    pbx(core).is_some_and(|pbx| side.trunk() == Some(&pbx.name))
}

/// The Refer-To of a request of the telephone system's as a phone on this way is to have it: with
/// our address in place of the telephone system's, so that what it dials comes by us.
pub(crate) fn by_us(core: &Core, request: &Request, flow: Flow) -> String {
    let value = request.headers.get(Name::ReferTo).unwrap_or_default();
    let (Some(pbx), Ok(mut refer_to)) = (pbx(core), NameAddr::parse(&value)) else {
        return value.into_owned();
    };
    if let Uri::Sip(sip) = &mut refer_to.uri {
        let is_there = |ip| pbx.is_at(ip);
        let Uri::Sip(ours) = core.contact(flow, sip.scheme).uri else { return value.into_owned() };
        if sip.host.eq_ignore_ascii_case(&pbx.host) || sip.ip().is_some_and(is_there) {
            (sip.host, sip.port) = (ours.host, ours.port);
            match ours.params.get("transport") {
                Some(transport) => sip.params.set("transport", Some(transport)),
                None => sip.params.remove("transport"),
            }
        }
    }
    refer_to.to_string()
}

/// The same URI, with the telephone system's domain where it had ours.
fn renamed(core: &Core, uri: &Uri, from: Flow, pbx: &Trunk) -> Uri {
    let mut renamed = uri.clone();
    if let Uri::Sip(sip) = &mut renamed {
        let ip = sip.ip();
        let told = |ip| core.settings.advertise_to.iter().any(|rule| rule.address == ip);
        let is_own = |ip| ip == core.settings.advertise || ip == from.local.ip() || told(ip);
        let is_ours =
            ip.is_some_and(is_own) || sip.host.eq_ignore_ascii_case(&core.directory.realm);
        if is_ours {
            sip.host.clone_from(&pbx.host);
            sip.port = pbx.port;
            sip.params.remove("transport");
        }
    }
    renamed
}

fn pop_route(request: &mut Request) {
    let route = request.headers.route();
    let is_ours =
        |first: &NameAddr| first.uri.user().is_some_and(|user| Mark::read(user).is_some());
    // An outbound proxy that a phone is told of is us, too, before there is any dialog.
    if route.first().is_some_and(is_ours) || !request.is_in_dialog() {
        request.headers.remove(Name::Route);
        for proxy in route.iter().skip(1) {
            request.headers.push(Name::Route, proxy);
        }
    }
}

/// Requests of the dialog that this may begin come by us (RFC 3261 §16.6 step 4).
fn stay_in_the_way(core: &Core, request: &mut Request, mark: &Mark, from: Flow) {
    if request.is_in_dialog() || !matches!(request.method, Method::Subscribe | Method::Refer) {
        return;
    }
    let mut proxy = crate::core::contact_as(&core.settings, from, Scheme::Sip, "x").uri;
    if let Uri::Sip(sip) = &mut proxy {
        sip.user = Some(mark.to_string());
        sip.params.set("lr", None);
    }
    request.headers.insert_front(Name::RecordRoute, NameAddr::new(proxy));
}

fn pass(
    core: &mut Core,
    (server, from): (ServerId, Flow),
    request: Request,
    mut passed: Request,
    flow: Flow,
) {
    let Ok(hops) = request.next_max_forwards() else { return core.refuse(server, &request, 483) };
    passed.headers.set(Name::MaxForwards, hops);
    let fields = passed.headers.iter().map(|field| field.name().len() + field.value().len() + 4);
    if fields.sum::<usize>() + passed.body.len() > MAX_PASSED_BYTES {
        return core.refuse(server, &request, 513);
    }
    let source = from.remote.ip();
    let is_pbx = pbx(core).is_some_and(|pbx| pbx.is_at(source));
    let passage = &mut core.passage;
    let own = passage.per_source.get(&source).copied().unwrap_or(0);
    if passage.under_way.len() >= MAX_UNDER_WAY || own >= MAX_PER_SOURCE && !is_pbx {
        return core.refuse_with(server, &request, 503, |response| {
            response.headers.push(Name::RetryAfter, RETRY_AFTER_S);
        });
    }
    let system = pbx(core).map_or("", |pbx| &pbx.name);
    let way = core.outward.way(&core.settings, system, flow, core.now.monotonic);
    match core.endpoint.request(core.now.monotonic, way, passed) {
        Ok(client) => {
            *core.passage.per_source.entry(source).or_default() += 1;
            core.passage.under_way.insert(client, UnderWay { server, flow: from, request });
        }
        Err(err) => {
            tracing::warn!(%from, %err, "request not passed on");
            core.refuse(server, &request, 503);
        }
    }
}

/// An answer to what was passed on: the extension of a phone that has registered. `Err` if it is
/// no answer of that kind.
pub(crate) fn response(
    core: &mut Core,
    client: ClientId,
    response: &Response,
) -> Result<Option<String>, ()> {
    if !core.passage.under_way.contains_key(&client) {
        return Err(());
    }
    // A proxy keeps the 1xx of anything but INVITE to itself.
    if response.is_provisional() {
        return Ok(None);
    }
    let Some(under_way) = core.passage.take(client) else { return Err(()) };
    let UnderWay { server, flow, request } = under_way;
    let mut back = response.clone();
    back.headers.remove(Name::Via);
    let vias: Vec<String> =
        request.headers.get_all(Name::Via).map(|via| via.into_owned()).collect();
    for via in vias.iter().rev() {
        back.headers.insert_front(Name::Via, via);
    }
    // Domains as the sender wrote them; the tag of To is new.
    for name in [Name::From, Name::To] {
        let tag = response.headers.to().and_then(|to| to.tag().map(str::to_owned));
        let sent = if name == Name::From { request.headers.from() } else { request.headers.to() };
        if let Some(mut address) = sent {
            if let (Name::To, Some(tag)) = (name, &tag) {
                address = address.with_tag(tag);
            }
            back.headers.set(name, address);
        }
    }
    let mut registered = None;
    if request.method == Method::Register {
        blame(core, flow, &request, response);
        if response.is_success() {
            registered = granted(core, flow, &request, &mut back);
        }
    }
    core.endpoint.respond(core.now.monotonic, server, &back);
    Ok(registered)
}

/// What was passed on has no answer; false if nothing was.
pub(crate) fn no_response(core: &mut Core, client: ClientId, status: u16) -> bool {
    let Some(under_way) = core.passage.take(client) else { return false };
    core.refuse(under_way.server, &under_way.request, status);
    true
}

impl Passage {
    fn take(&mut self, client: ClientId) -> Option<UnderWay> {
        let under_way = self.under_way.remove(&client)?;
        let source = under_way.flow.remote.ip();
        if let Some(own) = self.per_source.get_mut(&source) {
            *own -= 1;
            if *own == 0 {
                self.per_source.remove(&source);
            }
        }
        Some(under_way)
    }
}

/// Who guesses passwords through us is shut out as if they were ours.
fn blame(core: &mut Core, flow: Flow, request: &Request, response: &Response) {
    let is_stale = response
        .headers
        .get_all(Name::WwwAuthenticate)
        .any(|challenge| challenge.to_ascii_lowercase().contains("stale=true"));
    let is_proved = request.headers.has(Name::Authorization);
    if matches!(response.status, 401 | 403 | 404) && is_proved && !is_stale {
        core.auth.blame(core.now, flow.remote.ip());
    }
}

/// Takes note of what the telephone system granted, and tells the phone of its own Contacts.
fn granted(core: &mut Core, flow: Flow, request: &Request, back: &mut Response) -> Option<String> {
    let to = request.headers.to()?;
    let extension = to.uri.user_unescaped()?.into_owned();
    let Contacts::List(granted) = back.headers.contacts() else { return None };
    let header = back.headers.expires().or(request.headers.expires()).unwrap_or(3600);
    let asked = match request.headers.contacts() {
        Contacts::List(asked) => asked,
        Contacts::All => Vec::new(),
    };
    let longest = *core.settings.registration.end();
    back.headers.remove(Name::Contact);
    let mut grants = Vec::new();
    for mut contact in granted {
        let Some(mark) = contact.uri.user().and_then(Mark::read) else {
            back.headers.push(Name::Contact, contact);
            continue;
        };
        let seconds = contact.params.get("expires").and_then(|text| text.trim().parse().ok());
        // Asked for again in good time, so that we know the phone soon after a restart.
        let expires = Duration::from_secs(seconds.unwrap_or(header).into()).min(longest);
        let here = mark.remote == flow.remote && mark.transport == flow.transport;
        let own = asked.iter().find(|own| here && own.uri.user().unwrap_or_default() == mark.user);
        if let Some(own) = own {
            grants.push(Grant { contact: own.uri.clone(), expires });
            contact.uri = own.uri.clone();
        } else if let Some((_, uri)) = place(core, &mark) {
            contact.uri = uri;
        }
        contact.params.set("expires", Some(&expires.as_secs().to_string()));
        back.headers.push(Name::Contact, contact);
    }
    core.registrar.grant(core.now, &extension, request, flow, grants);
    core.registrar.is_registered(core.now.monotonic, &extension).then_some(extension)
}
