//! A call under way in the dealership, what is done in it, and what is looked at.

use std::time::Duration;

use cheling_call::io::{Command, CommandReply, MixPlan, Order, Speaker};
use cheling_model::{CallId, Lane};
use cheling_sip::sdp::Direction;

use super::World;
use super::ua::{Manner, Ua};

pub const DID: &str = "02161234567";
pub const SECOND: Duration = Duration::from_secs(1);
pub const CUSTOMER: Speaker = Speaker::Side(Lane::Customer);
pub const AGENT: Speaker = Speaker::Side(Lane::Agent);

/// A customer (0) who talks to 8001 (1); 8002 (2) and 8003 (3) are free.
pub fn talking(seed: u64) -> (World, CallId) {
    let mut world = World::dealership(seed);
    let third = world.add(Ua::new("8003", "192.0.2.103:5060"));
    world.register(third);
    world.uas[0].extra.push(("From", "<sip:13812345678@gw>".into()));
    world.uas[2].manner = Manner::Ring;
    world.call(0, DID);
    world.run(5 * SECOND);
    world.uas[2].manner = Manner::Answer(2 * SECOND);
    let call_id = world.taps[0].0;
    world.taps.clear();
    world.outputs.clear();
    (world, call_id)
}

pub fn order(world: &mut World, call_id: CallId, order: Order) -> CommandReply {
    world.command(Command::Control { ticket: 1, call_id, extension: Some("8001".into()), order });
    world.run(SECOND / 10);
    world.replies.pop().unwrap()
}

pub fn hang_up(world: &mut World, ua: usize) {
    let now = world.now.monotonic;
    world.uas[ua].hang_up(now);
}

pub fn refer(world: &mut World, from: usize, to: &str) {
    let now = world.now.monotonic;
    world.uas[from].refer(now, to);
}

pub fn has(world: &World, ua: usize, word: &str) -> bool {
    world.uas[ua].log.iter().any(|line| line.starts_with(word))
}

pub fn words(world: &World, ua: usize, prefix: &str) -> Vec<String> {
    world.uas[ua].log.iter().filter(|line| line.starts_with(prefix)).cloned().collect()
}

pub fn direction(world: &mut World, ua: usize) -> Direction {
    world.uas[ua].leg().heard.clone().unwrap().audio().unwrap().direction
}

pub fn port(world: &mut World, ua: usize) -> u16 {
    world.uas[ua].leg().heard.clone().unwrap().audio().unwrap().rtp.unwrap().port()
}

pub fn plan(world: &World, call_id: CallId) -> Option<MixPlan> {
    world.plans.get(&call_id).cloned().flatten()
}

/// Whom this one hears, across or by the mixer.
pub fn hears(plan: &MixPlan, who: Speaker) -> Vec<Speaker> {
    let mut heard = Vec::new();
    if let Speaker::Side(lane) = who
        && plan.forwards[lane.other().index()]
    {
        heard.push(Speaker::Side(lane.other()));
    }
    let voice = plan.voices.iter().find(|voice| voice.who == who);
    heard.extend(voice.filter(|it| it.sends.is_some()).into_iter().flat_map(|it| it.hears.clone()));
    heard
}
