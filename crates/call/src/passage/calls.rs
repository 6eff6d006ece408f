//! Where calls go in front of a telephone system: a phone's to it, with the phone's own proof; its
//! own to the phone whose Contact it calls.

use cheling_model::call::{Offer, Party};
use cheling_model::directory::{Extension, Trunk};
use cheling_model::reach::Reach;
use cheling_model::{DealershipId, Direction, Lane, LineId, Presentation};
use cheling_sip::{Flow, Name, Request, ServerId, Uri};

use super::{Mark, is_from_pbx, pbx, place, renamed};
use crate::b2bua::{Plan, Side, Target};
use crate::core::Core;
use crate::dialling;
use crate::hunt::Hunt;
use crate::identity;
use crate::intake::Source;
use crate::router;

/// Who sends an INVITE, if the telephone system has to do with it; `Some(None)` if it was refused.
pub(crate) fn source(
    core: &mut Core,
    server: ServerId,
    flow: Flow,
    request: &Request,
) -> Option<Option<Source>> {
    let pbx = pbx(core)?;
    if is_from_pbx(pbx, flow, request) {
        return Some(Some(Source::Trunk(Box::new(pbx.clone()))));
    }
    if let Some(extension) = core.registrar.by_flow(flow) {
        return Some(extension_of(core, extension).map(Source::Phone));
    }
    let from = request.headers.from();
    let from = from.as_ref().and_then(|from| from.uri.user_unescaped()).unwrap_or_default();
    let other = router::trunk_at(&core.settings.trunks, &core.directory, flow.remote, &from);
    if other.is_some_and(|other| other.name != pbx.name) {
        return None;
    }
    if core.may_log() {
        tracing::warn!(from = %flow, "INVITE refused: its sender has not registered through us");
    }
    core.refuse(server, request, 403);
    Some(None)
}

/// The extension of this number; one that the directory does not know is the house's all the same.
fn extension_of(core: &Core, number: &str) -> Option<Extension> {
    if let Some(known) = router::extension(&core.directory, number) {
        return Some(known.clone());
    }
    Some(Extension {
        number: number.to_owned(),
        dealership_id: home(core)?,
        user_id: None,
        display_name: String::new(),
        ha1_md5: String::new(),
        ha1_sha256: String::new(),
        reach: Reach::International,
    })
}

/// Whose calls are that nobody's extension or line is in: the first dealership's.
pub(crate) fn home(core: &Core) -> Option<DealershipId> {
    let directory = &core.directory;
    let of_line = || directory.lines.first().map(|line| line.dealership_id);
    directory.extensions.first().map(|extension| extension.dealership_id).or_else(of_line)
}

/// Whether a number that is dialled at the telephone system stays in the house: it rings colleagues,
/// or is a code, and is no customer's.
///
/// Its dial plan is its own. What the config names counts first; then what is told by looks: codes
/// bear `*` or `#`, and groups are numbered as extensions are. Short numbers outside (110, 10086,
/// 95588, 12345) begin with 1 or 9.
pub(crate) fn is_within(core: &Core, pbx: &Trunk, called: &str) -> bool {
    if router::extension(&core.directory, called).is_some() || pbx.keeps(called) {
        return true;
    }
    if called.contains(['*', '#']) {
        return true;
    }
    let is_short = || {
        let lengths = core.directory.extensions.iter().map(|extension| extension.number.len());
        lengths.max().is_some_and(|longest| called.len() <= longest)
    };
    let is_number = !called.is_empty() && called.bytes().all(|digit| digit.is_ascii_digit());
    let is_for_help = dialling::is_for_help(&core.settings.trunks, called);
    is_number && !is_for_help && !called.starts_with(['0', '1', '9']) && is_short()
}

/// A phone's call, to the telephone system.
pub(crate) fn plan_to_pbx(
    core: &Core,
    pbx: &Trunk,
    extension: &Extension,
    request: &Request,
    called: &str,
) -> Plan {
    let display = request.headers.from().and_then(|from| from.display);
    let caller = Party {
        number: extension.number.clone(),
        display_name: display.or(Some(extension.display_name.clone()).filter(|it| !it.is_empty())),
        presentation: Presentation::Allowed,
    };
    let (direction, caller_lane) = match is_within(core, pbx, called) {
        true => (Direction::Internal, Lane::Customer),
        false => (Direction::Outbound, Lane::Agent),
    };
    let offer = Offer {
        direction,
        dealership_id: extension.dealership_id,
        caller: caller.clone(),
        called: called.to_owned(),
        trunk: Some(pbx.name.clone()),
        line_id: None,
        extension: Some(extension.number.clone()),
        user_id: extension.user_id,
        follow_up_id: None,
    };
    let mut credentials = Vec::new();
    for name in [Name::Authorization, Name::ProxyAuthorization] {
        let values = request.headers.get_all(name);
        credentials.extend(values.map(|value| (name, value.into_owned())));
    }
    let uri = renamed(core, &request.uri, Flow::udp(own(core), own(core)), pbx);
    let ways = core.outward.ways(&core.settings, pbx, core.now).into_iter();
    let targets = ways.map(|flow| Target {
        credentials: Some(credentials.clone()),
        ..target(pbx, uri.clone(), flow, caller.clone())
    });
    let hunt = Hunt::trunks(targets.collect(), extension.dealership_id, &caller);
    Plan { offer, caller_lane, hunt }
}

/// Calls of our own making (a click, a transfer) to a number, by the telephone system. It has to
/// know us by our address or by the trunk's account: the phone is not there to prove itself.
pub(crate) fn targets(
    core: &Core,
    by: &Extension,
    number: &str,
    shown: &Party,
) -> Option<Vec<Target>> {
    let pbx = pbx(core)?;
    let caller = match router::extension(&core.directory, &shown.number) {
        Some(_) => shown.clone(),
        None => Party { number: by.number.clone(), ..Party::default() },
    };
    let uri = Uri::sip(Some(number), &pbx.host, pbx.port);
    let ways = core.outward.ways(&core.settings, pbx, core.now).into_iter();
    Some(ways.map(|flow| target(pbx, uri.clone(), flow, caller.clone())).collect())
}

fn target(pbx: &Trunk, uri: Uri, flow: Flow, caller: Party) -> Target {
    Target {
        side: Side::Trunk { name: pbx.name.clone() },
        uri,
        flow,
        caller,
        domain: Some(pbx.host.clone()),
        route: Vec::new(),
        credentials: None,
        replaces: None,
        shown_to: Vec::new(),
        spares: std::collections::VecDeque::new(),
    }
}

fn own(core: &Core) -> std::net::SocketAddr {
    std::net::SocketAddr::new(core.settings.advertise, core.settings.udp_port)
}

/// The telephone system's call, to the phone whose Contact it calls; `None` if that is no phone of
/// ours.
pub(crate) fn plan_from_pbx(core: &Core, pbx: &Trunk, request: &Request) -> Option<Plan> {
    let directory = &core.directory;
    let mark = Mark::read(request.uri.user()?)?;
    let number = cheling_sip::text::unescape(&mark.extension).into_owned();
    let extension = extension_of(core, &number)?;
    let caller = identity::caller(&request.headers, &pbx.caller_from);
    let is_colleague = router::extension(directory, &caller.number).is_some();
    let (called, line_id) =
        called_line(core, request).map_or((number.clone(), None), |it| (it.0, Some(it.1)));
    let target = place(core, &mark).map(|(flow, uri)| Target {
        side: Side::Phone { extension: number.clone() },
        uri,
        flow,
        caller: caller.clone(),
        domain: None,
        route: Vec::new(),
        credentials: None,
        replaces: None,
        shown_to: Vec::new(),
        spares: std::collections::VecDeque::new(),
    });
    let offer = Offer {
        direction: if is_colleague { Direction::Internal } else { Direction::Inbound },
        dealership_id: extension.dealership_id,
        caller,
        called,
        trunk: Some(pbx.name.clone()),
        line_id,
        extension: None,
        user_id: None,
        follow_up_id: None,
    };
    let hunt = Hunt::trunks(target.into_iter().collect(), offer.dealership_id, &offer.caller);
    Some(Plan { offer, caller_lane: Lane::Customer, hunt })
}

/// The line that a customer called before the telephone system sent the call to a phone, where it
/// tells: To, then who sent it on.
fn called_line(core: &Core, request: &Request) -> Option<(String, LineId)> {
    let headers = &request.headers;
    let history = headers.addresses(Name::HistoryInfo);
    let named = headers.values("P-Called-Party-ID");
    let named = named.iter().filter_map(|value| cheling_sip::NameAddr::parse(value).ok());
    let addresses = headers.to().into_iter().chain(headers.diversion()).chain(history).chain(named);
    addresses.filter_map(|address| address.uri.user_unescaped().map(|it| it.into_owned())).find_map(
        |user| match router::from_trunk(&core.directory, &router::dialled(&user)) {
            router::Route::Line(line) => Some((line.did.clone(), line.line_id)),
            _ => None,
        },
    )
}
