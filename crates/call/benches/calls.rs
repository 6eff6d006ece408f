//! CPU of the switch per call: set up and torn down, registered, refused.
//!
//! Phones and gateway run in memory beside it; only what happens inside the switch is counted,
//! reading and writing of messages included.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Duration;

#[path = "../tests/world/mod.rs"]
mod world;

use world::World;
use world::ua::Manner;

const SECOND: Duration = Duration::from_secs(1);

fn main() {
    let rounds = 2000;
    for (name, from, number, answers) in [
        ("inbound call to a group of two, answered, hung up", 0, "02161234567", true),
        ("outbound call by the trunk, answered, hung up", 1, "913812345678", true),
        ("internal call, answered, hung up", 1, "8002", true),
        ("internal call, busy", 1, "8002", false),
    ] {
        let mut world = World::dealership(1);
        world.uas[1].manner = Manner::Ring;
        for ua in [0, 2] {
            world.uas[ua].manner =
                if answers { Manner::Answer(SECOND) } else { Manner::Refuse(486, SECOND) };
        }
        let (mut spent, mut messages) = (Duration::ZERO, 0);
        for round in 0..rounds {
            if round % 20 == 0 {
                world.register(1);
                world.register(2);
                world.run(SECOND);
            }
            let before = (world.spent, world.sent.len());
            world.call(from, number);
            world.run(3 * SECOND);
            let now = world.now.monotonic;
            world.uas[from].hang_up(now);
            world.run(40 * SECOND);
            spent += world.spent - before.0;
            messages += world.sent.len() - before.1;
            for ua in &mut world.uas {
                ua.forget();
            }
            world.taps.clear();
        }
        assert_eq!(world.switch.live_calls(), 0);
        let spent = spent.as_secs_f64() * 1e6 / f64::from(rounds);
        let messages = messages as f64 / f64::from(rounds);
        println!("{name}: {spent:.0} us of CPU, {messages:.1} messages sent");
    }
}
