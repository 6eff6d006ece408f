//! A wall clock that is stepped in the middle of a call, forward and back: the call's time line does
//! not move, and nothing else takes harm.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use cheling_phone::{Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, incoming};
use cheling_tests::clock::{Clock, Moves};
use cheling_tests::desk::Desk;
use cheling_tests::recording::Recording;
use cheling_tests::{eventually, within};

/// A dealership whose service believes in another wall clock, which can be stepped.
struct Stepped {
    cheling: Cheling,
    clock: Clock,
}

impl Stepped {
    async fn start() -> Self {
        let mut cheling = Cheling::idle_with("").await;
        let clock = Clock::of(&mut cheling, Moves::Wall);
        cheling.run().await;
        Self { cheling, clock }
    }

    /// Steps the clock, and waits until the service sees it: its heartbeats tell.
    async fn step(&self, by: &str, desk: &Desk) {
        let before_us = desk.clock_us();
        self.clock.set(by);
        let is_seen = async || (desk.clock_us().abs_diff(before_us) > 3_000_000_000).then_some(());
        eventually("the step", is_seen).await;
    }
}

/// The kinds of alarm that stand, and how many of them there are.
async fn alarms(boss: &Desk) -> Vec<String> {
    let alarms = boss.get("/alarms").await.json();
    let alarms = alarms["alarms"].as_array().unwrap().iter();
    alarms.map(|alarm| alarm["kind"].as_str().unwrap().to_owned()).collect()
}

/// A call through these steps of the clock, and another one after them.
async fn talk_through(steps: [&str; 2]) {
    let mut stepped = Stepped::start().await;
    let cheling = &stepped.cheling;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let boss = cheling.desk("boss").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    for steps in [&steps[..], &[]] {
        let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
        let agent = incoming(&mut events).await;
        agent.answer(Sound::tone(620.0)).await;
        within("the answer", customer.answered()).await.unwrap();
        let call_id = desk.next_of("call.offered").await.call_id().to_owned();
        for by in steps {
            agent.forget_heard();
            within("talk", agent.hears(Duration::from_secs(1))).await.unwrap();
            stepped.step(by, &boss).await;
        }
        agent.forget_heard();
        within("talk goes on", agent.hears(Duration::from_secs(1))).await.unwrap();
        assert_eq!(alarms(&boss).await, Vec::<String>::new());
        customer.hang_up().await;
        within("the end", agent.ended()).await;
        let talked = agent.statistics().packets_received as f64 / 50.0;
        let row = cheling.recording_of(&desk, &call_id).await;
        assert_eq!(row["verdict"], "ok", "{row}");
        let id = row["recording_id"].as_str().unwrap();
        let recording = Recording::read(&desk.get(&format!("/recordings/{id}/audio")).await.body);
        let seconds = recording.seconds();
        assert!((seconds - talked).abs() < 0.5, "{seconds} s of {talked} s");
        recording.assert_tones(440.0, 620.0, seconds);
        // The call's own times are of one clock, too.
        let call = desk.get(&format!("/calls/{call_id}")).await.good();
        let [offered, answered, ended] =
            ["offered_at", "answered_at", "ended_at"].map(|at| call[at].as_i64().unwrap());
        assert!(offered <= answered && answered < ended, "{call}");
        let talk_s = call["talk_ms"].as_f64().unwrap() / 1000.0;
        assert!((talk_s - talked).abs() < 0.5, "{talk_s} s of {talked} s: {call}");
    }
    stepped.cheling.check().await;
    // What is open when the service starts under the other clock is found all the same.
    stepped.cheling.stop().await;
    stepped.cheling.run().await;
    assert_eq!(alarms(&stepped.cheling.desk("boss").await).await, Vec::<String>::new());
    stepped.cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_stepped_forward_by_an_hour_moves_no_sound() {
    talk_through(["+3600s", "+7200s"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_stepped_back_by_an_hour_moves_no_sound() {
    talk_through(["-3600s", "-7200s"]).await;
}
