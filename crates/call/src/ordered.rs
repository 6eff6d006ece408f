//! Calls that the console orders: click-to-dial, and an agent's consultation.

use crate::b2bua::{Call, Plan};
use crate::core::Core;
use crate::dialling::{self, Dialled, Refusal};
use crate::hunt::{Hunt, Over};
use crate::intake::within;
use crate::io::{Command, CommandReply};
use crate::passage;
use crate::router::{self};
use crate::switch::Switch;
use crate::targets::{Shown, phones, trunk_targets};
use cheling_model::call::{Offer, Party};
use cheling_model::{CallId, Direction, Lane, Presentation};

/// Where a number leads that the console orders for one of our phones, with its rights: as
/// click-to-dial, and to the dealership's own lines.
///
/// # Errors
/// What the console is told if it leads nowhere.
pub(crate) fn ordered(
    core: &Core,
    extension: &str,
    number: &str,
    shown: &Party,
) -> Result<(Direction, Option<String>, Hunt), CommandReply> {
    let by = router::extension(&core.directory, extension).ok_or(CommandReply::NoSuchExtension)?;
    let id = by.dealership_id;
    let is_for_help = dialling::is_for_help(&core.settings.trunks, number);
    if let Some(other) = router::extension(&core.directory, number).filter(|_| !is_for_help) {
        let is_there = core.registrar.is_registered(core.now.monotonic, &other.number);
        if !is_there || other.number == by.number {
            return Err(CommandReply::NotRegistered);
        }
        return Ok((Direction::Internal, None, Hunt::extension(&other.number, id, shown)));
    }
    let is_ours = router::extension(&core.directory, &shown.number).is_some();
    let forwarded = Some(shown).filter(|_| !is_ours);
    let to_trunk = Shown { own: &by.number, forwarded };
    match trunk_targets(core, id, by.reach, number, Dialled::List, to_trunk) {
        Ok(targets) => {
            let trunk = targets.first().and_then(|target| target.side.trunk().map(str::to_owned));
            Ok((Direction::Outbound, trunk, Hunt::trunks(targets, id, shown)))
        }
        Err(refusal) => {
            match within(core, router::from_phone(&core.directory, id, number), shown) {
                Some((_, _, hunt)) => Ok((Direction::Internal, None, hunt.but(&by.number))),
                None => Err(refusal.into()),
            }
        }
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
    let is_full = switch.is_full();
    let core = &mut switch.core;
    let number = router::dialled(&number);
    let is_for_help = dialling::is_for_help(&core.settings.trunks, &number);
    if switch.is_draining || (is_full && !is_for_help) {
        return CommandReply::Overloaded;
    }
    let directory = core.directory.clone();
    let Some(extension) = router::extension(&directory, &extension) else {
        return CommandReply::NoSuchExtension;
    };
    let caller = Party { number: number.clone(), ..Party::default() };
    let agent = phones(core, std::iter::once(extension.number.as_str()), &caller);
    if agent.is_empty() {
        return CommandReply::NotRegistered;
    }
    let own = &extension.number;
    if core.occupancy.is_talking(own) || core.occupancy.is_ringing(own) {
        return CommandReply::ExtensionBusy;
    }
    let shown = Party {
        number: extension.number.clone(),
        display_name: Some(extension.display_name.clone()).filter(|name| !name.is_empty()),
        presentation: Presentation::Allowed,
    };
    let id = extension.dealership_id;
    let colleague = router::extension(&directory, &number).filter(|_| !is_for_help);
    let through = passage::targets(core, extension, &number, &shown);
    let (direction, hunt, trunk) = match colleague {
        _ if through.is_some() => {
            let pbx = passage::pbx(core);
            let is_within = pbx.is_some_and(|pbx| passage::is_within(core, pbx, &number));
            let direction = if is_within { Direction::Internal } else { Direction::Outbound };
            let pbx = pbx.map(|pbx| pbx.name.clone());
            (direction, Hunt::trunks(through.unwrap_or_default(), id, &shown), pbx)
        }
        Some(other) if !core.registrar.is_registered(core.now.monotonic, &other.number) => {
            return CommandReply::NoRoute;
        }
        Some(other) => (Direction::Internal, Hunt::extension(&other.number, id, &shown), None),
        None => match trunk_targets(
            core,
            id,
            extension.reach,
            &number,
            Dialled::List,
            Shown { own, forwarded: None },
        ) {
            Ok(targets) => {
                let trunk =
                    targets.first().and_then(|target| target.side.trunk().map(str::to_owned));
                (Direction::Outbound, Hunt::trunks(targets, id, &shown), trunk)
            }
            Err(refusal) => {
                tracing::info!(extension = %own, number = %loggable(&number), %refusal, "not dialled");
                return refusal.into();
            }
        },
    };
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
    let plan = Plan { offer, caller_lane: Lane::Agent, hunt };
    let call = Call::dialled(core, call_id, agent, plan);
    switch.remember_dialled(call_id);
    switch.add(call_id, call);
    CommandReply::Accepted
}

impl From<Over> for CommandReply {
    fn from(over: Over) -> Self {
        match over {
            Over::Refused(refusal) => refusal.into(),
            Over::AsAnswered | Over::With { .. } => Self::NotRegistered,
        }
    }
}

impl From<Refusal> for CommandReply {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoTrunk | Refusal::NotResolved => Self::NoRoute,
            Refusal::NotPermitted(_) => Self::NotPermitted,
            Refusal::Blocked => Self::Blocked,
            Refusal::TrunksFull => Self::TrunksFull,
        }
    }
}

/// Obeys an order to consult: the agent's dialog goes to a call of its own.
pub(crate) fn consult(
    switch: &mut Switch,
    call_id: CallId,
    extension: Option<&str>,
    consult_id: CallId,
    number: &str,
) -> CommandReply {
    if switch.calls.contains_key(&consult_id) {
        return CommandReply::Accepted;
    }
    if switch.is_draining || switch.is_full() {
        return CommandReply::Overloaded;
    }
    let core = &mut switch.core;
    let Some(slot) = switch.calls.get_mut(&call_id) else { return CommandReply::NoSuchCall };
    let Some((by, phone)) = slot.call.may_consult(extension) else { return CommandReply::NotNow };
    let directory = core.directory.clone();
    let Some(agent) = router::extension(&directory, &phone) else {
        return CommandReply::NoSuchExtension;
    };
    let number = router::dialled(number);
    let shown = Party {
        number: agent.number.clone(),
        display_name: Some(agent.display_name.clone()).filter(|name| !name.is_empty()),
        presentation: Presentation::Allowed,
    };
    let (direction, trunk, hunt) = match ordered(core, &agent.number, &number, &shown) {
        Ok(led) => led,
        Err(reply) => return reply,
    };
    // As of any call: who is outside is left, and of two colleagues the one who calls.
    let caller_lane = match direction {
        Direction::Outbound => Lane::Agent,
        Direction::Internal | Direction::Inbound => Lane::Customer,
    };
    let offer = Offer {
        direction,
        dealership_id: agent.dealership_id,
        caller: shown,
        called: number,
        trunk,
        line_id: None,
        extension: Some(agent.number.clone()),
        user_id: agent.user_id,
        follow_up_id: None,
    };
    let Some(leg) = slot.call.lend(core, by, consult_id) else { return CommandReply::NotNow };
    let plan = Plan { offer, caller_lane, hunt };
    let call = Call::consulting(core, consult_id, call_id, leg, plan);
    switch.add(consult_id, call);
    switch.settle(call_id);
    CommandReply::Accepted
}

/// A number as the log may show it: extensions whole, anything longer without its middle.
pub(crate) fn loggable(number: &str) -> String {
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
