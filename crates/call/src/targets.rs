//! Whom a number rings, as what the forks need to know: registered phones, and trunks with all
//! their addresses.

use std::collections::VecDeque;

use crate::b2bua::{Side, Spare, Target};
use crate::core::Core;
use crate::dialling::{self, Dialled, Dialler, Refusal, Standing};
use crate::registrar::Binding;
use crate::router::{self, MAX_FORKS};
use cheling_model::call::Party;
use cheling_model::directory::{ForwardedCaller, Trunk};
use cheling_model::reach::Reach;
use cheling_model::{DealershipId, Presentation};
use cheling_sip::{Flow, Transport, Uri};

/// Every registered phone of these extensions.
pub(crate) fn phones<'a>(
    core: &Core,
    extensions: impl Iterator<Item = &'a str>,
    caller: &Party,
) -> Vec<Target> {
    let phones = extensions.flat_map(|number| phones_of(core, number, None, caller));
    phones.take(MAX_FORKS).collect()
}

/// The registered phones of an extension, or the one device of these that is meant.
pub(crate) fn phones_of(
    core: &Core,
    number: &str,
    device: Option<&str>,
    caller: &Party,
) -> Vec<Target> {
    let phones = core.registrar.phones(core.now.monotonic, number).into_iter();
    let is_meant =
        |it: &Binding| device.is_none_or(|device| it.instance.as_deref() == Some(device));
    let spare =
        |it: &Binding| Spare { uri: it.contact.clone(), flow: it.flow, route: it.path.clone() };
    let phones = phones.filter(|(newest, _)| is_meant(newest)).map(|(newest, others)| Target {
        side: Side::Phone { extension: number.to_owned() },
        uri: newest.contact.clone(),
        flow: newest.flow,
        caller: caller.clone(),
        domain: None,
        route: newest.path.clone(),
        credentials: None,
        replaces: None,
        shown_to: Vec::new(),
        spares: others.into_iter().map(spare).collect(),
    });
    phones.collect()
}

/// Who is shown to a trunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    /// Our number, where the trunk has none of its own.
    pub(crate) own: &'a str,
    /// The customer whose call is sent on, for a trunk that wants to know.
    pub(crate) forwarded: Option<&'a Party>,
}

/// The trunks that take a number from whoever may dial so far, the best first, each with all its
/// addresses.
///
/// # Errors
/// [`Refusal`] if there is none.
pub(crate) fn trunk_targets(
    core: &Core,
    dealership_id: DealershipId,
    reach: Reach,
    number: &str,
    dialled: Dialled,
    shown: Shown<'_>,
) -> Result<Vec<Target>, Refusal> {
    let settings = &core.settings;
    let dialler = Dialler {
        dealership: router::dealership(&core.directory, dealership_id),
        reach,
        local_mobiles: &settings.local_mobiles,
    };
    let standing = |trunk: &Trunk| Standing {
        calls: core.occupancy.calls_on(&trunk.name),
        is_in_trouble: core.trunks.is_in_trouble(core.now.monotonic, &trunk.name),
    };
    let ways = dialling::ways(&settings.trunks, dialler, number, dialled, standing)?;
    let mut targets = Vec::with_capacity(ways.len());
    for (trunk, number) in ways {
        let caller = shown_to(core, trunk, shown);
        let flows = core.outward.ways(settings, trunk, core.now).into_iter();
        targets.extend(flows.map(|flow| trunk_target(core, trunk, &number, caller.clone(), flow)));
    }
    if targets.is_empty() { Err(Refusal::NotResolved) } else { Ok(targets) }
}

/// The caller as a trunk is to see it.
pub(crate) fn shown_to(core: &Core, trunk: &Trunk, shown: Shown<'_>) -> Party {
    if let (ForwardedCaller::Original, Some(customer)) =
        (trunk.manners.forwarded_caller, shown.forwarded)
    {
        return customer.clone();
    }
    let own_number = || core.outward.own_number(trunk, core.now.monotonic);
    let number = trunk.caller_number.clone().or_else(own_number);
    let number = number.unwrap_or_else(|| shown.own.to_owned());
    Party { number, display_name: None, presentation: Presentation::Allowed }
}

/// A user at a trunk, or the trunk itself.
pub(crate) fn trunk_uri(trunk: &Trunk, user: Option<&str>, transport: Transport) -> Uri {
    let user = user.map(cheling_sip::uri::escape_user);
    let mut uri = Uri::sip(user.as_deref(), &trunk.host, trunk.port);
    if let (Uri::Sip(sip), Transport::Tcp | Transport::Tls) = (&mut uri, transport) {
        sip.params.set("transport", Some(transport.uri_param()));
    }
    uri
}

pub(crate) fn trunk_target(
    core: &Core,
    trunk: &Trunk,
    number: &str,
    caller: Party,
    flow: Flow,
) -> Target {
    Target {
        side: Side::Trunk { name: trunk.name.clone() },
        uri: trunk_uri(trunk, Some(number), flow.transport),
        flow,
        caller,
        domain: trunk.account.as_ref().map(|_| trunk.host.clone()),
        route: core.outward.service_route(&trunk.name, core.now.monotonic),
        credentials: None,
        replaces: None,
        shown_to: Vec::new(),
        spares: VecDeque::new(),
    }
}
