//! Between a telephone system and a gateway: what comes from one trunk goes to its peer, numbers as
//! they are.
//!
//! Phones are not ours to ring then, yet their agents get the card: those of the line that the
//! customer called, as long as it rings beyond the peer. Who has answered is what the answer tells
//! (P-Asserted-Identity, Remote-Party-ID, Contact).

use cheling_model::Direction;
use cheling_model::call::{Offer, Party};
use cheling_model::directory::{Extension, Trunk, TrunkRole};
use cheling_model::{Lane, Presentation};
use cheling_sip::{Headers, NameAddr, Request, Uri};

use crate::b2bua::{Plan, Side, Target};
use crate::core::Core;
use crate::hunt::Hunt;
use crate::router::{self, Route};
use crate::{identity, passage};

/// Agents that get the card while one call rings beyond a trunk.
const MAX_SHOWN: usize = 64;

/// A call from one trunk to its peer; `None` if it is for nobody.
pub(crate) fn plan(core: &Core, from: &Trunk, request: &Request, called: &str) -> Option<Plan> {
    let directory = &core.directory;
    let name = from.peer.as_deref()?;
    let peer = core.settings.trunks.iter().find(|trunk| trunk.name == name)?;
    let caller = identity::caller(&request.headers, &from.caller_from);
    // With a telephone system on neither side, whoever calls from the peerless side is a customer.
    let is_outbound = from.role == TrunkRole::Pbx;
    let agent = is_outbound.then(|| of_ours(core, &request.headers)).flatten();
    let line = match router::from_trunk(directory, called) {
        Route::Line(line) if !is_outbound => Some(line),
        _ => None,
    };
    let group = line.and_then(|line| router::group(directory, line.group_id));
    let dealership_id = match (agent, line) {
        (Some(agent), _) => agent.dealership_id,
        (None, Some(line)) => line.dealership_id,
        (None, None) => passage::home(core)?,
    };
    let callee = router::extension(directory, called).filter(|_| !is_outbound);
    let shown_to: Vec<String> = match (group, callee) {
        (Some(group), _) => group.members.iter().take(MAX_SHOWN).cloned().collect(),
        (None, callee) => callee.map(|it| it.number.clone()).into_iter().collect(),
    };
    let offer = Offer {
        direction: if is_outbound { Direction::Outbound } else { Direction::Inbound },
        dealership_id,
        caller: shown(agent, &caller),
        called: called.to_owned(),
        trunk: Some(if is_outbound { peer.name.clone() } else { from.name.clone() }),
        line_id: line.map(|line| line.line_id),
        extension: agent.map(|agent| agent.number.clone()),
        user_id: agent.and_then(|agent| agent.user_id),
        follow_up_id: None,
    };
    let uri = match request.uri.as_sip().and_then(|sip| sip.user.clone()) {
        // Escapes and parameters of the number as they came.
        Some(user) => with_user(Uri::sip(None, &peer.host, peer.port), user),
        None => Uri::sip(Some(called), &peer.host, peer.port),
    };
    let flows = core.outward.ways(&core.settings, peer, core.now).into_iter();
    let targets = flows.map(|flow| Target {
        side: Side::Trunk { name: peer.name.clone() },
        uri: uri.clone(),
        flow,
        caller: caller.clone(),
        domain: peer.account.as_ref().map(|_| peer.host.clone()),
        route: core.outward.service_route(&peer.name, core.now.monotonic),
        credentials: None,
        replaces: None,
        shown_to: shown_to.clone(),
        spares: std::collections::VecDeque::new(),
    });
    let hunt = Hunt::trunks(targets.collect(), dealership_id, &caller);
    let caller_lane = if is_outbound { Lane::Agent } else { Lane::Customer };
    Some(Plan { offer, caller_lane, hunt })
}

/// The extension that speaks for itself in one of these headers.
pub(crate) fn of_ours<'a>(core: &'a Core, headers: &Headers) -> Option<&'a Extension> {
    let told = headers.p_asserted_identity().into_iter().chain(headers.remote_party_id());
    told.chain(headers.from()).find_map(|address| known(core, &address))
}

/// The extension that has answered or rings, by what the other side tells.
pub(crate) fn told<'a>(core: &'a Core, headers: &Headers) -> Option<&'a Extension> {
    let told = headers.p_asserted_identity().into_iter().chain(headers.remote_party_id());
    told.chain(headers.contact()).find_map(|address| known(core, &address))
}

fn known<'a>(core: &'a Core, address: &NameAddr) -> Option<&'a Extension> {
    router::extension(&core.directory, &identity::party(address).number)
}

/// The agent's own number rather than the one that the trunk is to see.
fn shown(agent: Option<&Extension>, caller: &Party) -> Party {
    match agent {
        Some(agent) => Party {
            number: agent.number.clone(),
            display_name: Some(agent.display_name.clone()).filter(|name| !name.is_empty()),
            presentation: Presentation::Allowed,
        },
        None => caller.clone(),
    }
}

fn with_user(mut uri: Uri, user: String) -> Uri {
    if let Uri::Sip(sip) = &mut uri {
        sip.user = Some(user);
    }
    uri
}
