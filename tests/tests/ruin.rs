//! Tries to ruin recordings: kill -9 at random moments, a full disk in the middle of calls.
//!
//! `make ruin` is the long form: `RUIN_KILLS` kills (default 4) during `RUIN_CALLS` calls
//! (default 3), from the seed `RUIN_SEED`.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cheling_dice::Dice;
use cheling_phone::{Call, Event, Gateway, Phone, Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, incoming};
use cheling_tests::desk::Desk;
use cheling_tests::recording::{CUSTOMER, OUR_SIDE, Recording};
use cheling_tests::{eventually, http, left_out, within};
use serde_json::Value;
use tokio::sync::mpsc;

/// What a crash may cost a call.
const MAY_LOSE_S: f64 = 2.0;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Rounds that one dealership lives through: `check` reads every recording there is, twice a round.
const ROUNDS_OF_A_HOUSE: u64 = 20;

/// A call that is killed with the service.
struct Talk {
    customer: Call,
    agent: Call,
    call_id: String,
}

impl Talk {
    /// What of each lane, [customer, agent], the other side has heard through the service, and so
    /// what there was to record.
    fn heard_s(&self) -> [f64; 2] {
        let sides = [&self.agent, &self.customer];
        sides.map(|side| side.statistics().packets_received as f64 / 50.0)
    }
}

/// What the kills cost so far.
#[derive(Default)]
struct Toll {
    kills: u64,
    calls: u64,
    worst_s: f64,
    /// Calls that lost more than half a second.
    hurt: u64,
}

/// A dealership that is killed again and again.
struct House {
    cheling: Cheling,
    gateway: Gateway,
    phone: Phone,
    events: mpsc::Receiver<Event>,
    desk: Desk,
}

impl House {
    async fn build(calls: u64) -> Self {
        // The usual ports are enough for forty calls.
        let cheling = match calls {
            0..=35 => Cheling::start().await,
            _ => Cheling::start_for_crowd().await,
        };
        let gateway = cheling.quiet_gateway().await;
        let (phone, events) = cheling.phone("8001", Transport::Udp).await;
        let desk = cheling.desk("agent8001").await;
        Self { cheling, gateway, phone, events, desk }
    }

    async fn talk(&mut self) -> Talk {
        let customer = self.gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
        let agent = incoming(&mut self.events).await;
        agent.answer(Sound::tone(620.0)).await;
        within("the answer", customer.answered()).await.unwrap();
        let call_id = self.desk.next_of("call.offered").await.call_id().to_owned();
        Talk { customer, agent, call_id }
    }

    /// Kills the service once while they talk, and now and then again while it repairs what the
    /// first kill left.
    async fn kill(&mut self, dice: &mut Dice) -> u64 {
        self.cheling.kill().await;
        let mut kills = 1;
        while dice.percent(25) {
            let moment = Duration::from_millis(dice.roll() % 1500);
            self.cheling.run_until_killed(moment).await;
            kills += 1;
        }
        kills
    }

    /// One round: calls, a kill at any moment, and what is left of each call.
    async fn suffer(&mut self, calls: u64, dice: &mut Dice, toll: &mut Toll) {
        let mut talks = Vec::new();
        for _ in 0..calls {
            talks.push(self.talk().await);
        }
        let moment = Duration::from_millis(dice.roll() % 4000);
        within("some talk", talks.last().unwrap().agent.hears(moment)).await.unwrap();
        // Some have just ended: their recordings are being made, or have just landed.
        for talk in talks.iter().filter(|_| dice.percent(20)) {
            talk.agent.hang_up().await;
        }
        toll.kills += self.kill(dice).await;
        let heard: Vec<_> = talks.iter().map(Talk::heard_s).collect();
        self.cheling.run().await;
        // Before the recordings are made as well as after: nothing that was promised is missing.
        self.cheling.check().await;
        self.desk = self.cheling.desk("agent8001").await;
        for (talk, heard_s) in talks.iter().zip(heard) {
            let kept_s = self.kept_s(talk, heard_s).await;
            let lost_s = (heard_s[0] - kept_s[0]).max(heard_s[1] - kept_s[1]);
            toll.calls += 1;
            toll.worst_s = toll.worst_s.max(lost_s);
            toll.hurt += u64::from(lost_s > 0.5);
            let (kills, call_id) = (toll.kills, &talk.call_id);
            assert!(lost_s < MAY_LOSE_S, "kill {kills}: {kept_s:?} of {heard_s:?} s of {call_id}");
            // The restarted service knows nothing of the call: whatever it answers is right.
            talk.customer.hang_up().await;
            talk.agent.hang_up().await;
        }
        self.cheling.check().await;
        within("registration", self.phone.register()).await.unwrap();
    }

    /// How much is left of each lane of a call, which must be that call's.
    async fn kept_s(&self, talk: &Talk, heard_s: [f64; 2]) -> [f64; 2] {
        let call_id = &talk.call_id;
        let recording_id = eventually("the recording's row", || async {
            let answer = self.desk.get(&format!("/calls/{call_id}")).await;
            // Killed within the moment of the answer, nobody may have written that it was answered;
            // or the call at all.
            let call = if answer.status == 404 { Value::Null } else { answer.good() };
            let is_unanswered = call["answered_at"].is_null();
            match call["recording_id"].as_str() {
                None if is_unanswered && heard_s.iter().all(|it| *it < MAY_LOSE_S) => Some(None),
                None => None,
                Some(id) => Some(Some(id.to_owned())),
            }
        });
        let Some(id) = recording_id.await else { return [0.0; 2] };
        let row = self.desk.get(&format!("/recordings/{id}")).await.good();
        let audio = self.desk.get(&format!("/recordings/{id}/audio")).await;
        // Killed within that moment there is nothing to hear, and so no file.
        if audio.status != 200 {
            return [0.0; 2];
        }
        let recording = Recording::read(&audio.body);
        [(CUSTOMER, 440.0, 620.0), (OUR_SIDE, 620.0, 440.0)].map(|(lane, own, other)| {
            // Packets, as what the other side heard is counted: fifty phones on a busy machine
            // falter, and then the same packets fill another time.
            let packets = row["quality"][lane]["received_packets"].as_f64().unwrap();
            let kept_s = packets / 50.0;
            if kept_s > 0.5 {
                let sound_s = recording.seconds_of_sound(lane);
                assert!(sound_s > kept_s / 2.0, "{sound_s} s of {kept_s} s are heard: {row}");
                let share = recording.share_of_tone(lane, own);
                assert!(share > 0.5, "lane {lane} of {call_id}: {share} of it is its own");
                let leaked_s = recording.seconds_of_tone(lane, other);
                assert!(leaked_s < 0.11, "lane {lane} of {call_id}: {leaked_s} s of another");
            }
            kept_s
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_every_call_keeps_all_but_two_seconds() {
    let (kills, calls) = (number("RUIN_KILLS", 4), number("RUIN_CALLS", 3));
    let mut dice = Dice::new(number("RUIN_SEED", 0x5eed_1122));
    let (mut toll, mut round, mut house) = (Toll::default(), 0, None);
    while toll.kills < kills {
        if round % ROUNDS_OF_A_HOUSE == 0 {
            // The old one's ports go before the new one takes its own.
            drop(house.take());
            house = Some(House::build(calls).await);
        }
        round += 1;
        let house = house.as_mut().expect("built in the first round");
        house.suffer(calls, &mut dice, &mut toll).await;
        let Toll { kills, calls, worst_s, hurt } = toll;
        println!(
            "{kills} kills, {calls} calls killed: at most {worst_s:.2} s of a call lost, \
             more than half a second of {hurt}"
        );
    }
}

/// A small disk of its own at a folder, as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where that takes rights that the test does not have.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        mount.is_ok_and(|mount| mount.status.success()).then(|| Self(at.to_owned()))
    }

    /// Leaves no byte free.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        for len in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![7; len]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn recording_is_stopped(cheling: &Cheling, boss: &Desk, is_stopped: bool) {
    let want = format!("cheling_recording_stopped {}", u8::from(is_stopped));
    eventually(&want, || async {
        let metrics = http::request(cheling.web(), "GET", "/metrics", &[], b"").await?;
        String::from_utf8_lossy(&metrics.body).contains(&want).then_some(())
    })
    .await;
    // Monitoring is told, and so is whoever is in charge.
    eventually("the alarm", || async {
        let ready = http::request(cheling.web(), "GET", "/readyz", &[], b"").await?;
        let says = String::from_utf8_lossy(&ready.body).contains("alarm recording_stopped");
        (ready.status == 200 && says == is_stopped).then_some(())
    })
    .await;
    let alarms = boss.get("/alarms").await.json();
    let kinds = alarms["alarms"].as_array().unwrap().iter();
    let kinds: Vec<_> = kinds.map(|alarm| alarm["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.contains(&"recording_stopped"), is_stopped, "{alarms}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_disk_of_everything_full_phones_still_talk_and_recording_resumes() {
    let mut cheling = Cheling::start().await;
    cheling.stop().await;
    let (data, aside) = (cheling.folder().join("data"), cheling.folder().join("data.aside"));
    std::fs::rename(&data, &aside).unwrap();
    std::fs::create_dir(&data).unwrap();
    let Some(disk) = SmallDisk::mount(&data, "48m") else {
        left_out("mounting a small tmpfs needs root");
        return;
    };
    let copied = Command::new("cp").arg("-a").arg(aside.join(".")).arg(&data).status().unwrap();
    assert!(copied.success());
    cheling.run().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(620.0)).await;
    within("the answer", customer.answered()).await.unwrap();
    within("talk", agent.hears(Duration::from_secs(2))).await.unwrap();
    let call_id = desk.next_of("call.offered").await.call_id().to_owned();

    let boss = cheling.desk("boss").await;
    // Journal, recordings and database, all at once.
    let filler = disk.fill();
    recording_is_stopped(&cheling, &boss, true).await;
    agent.forget_heard();
    within("talk goes on", agent.hears(Duration::from_secs(2))).await.unwrap();
    let second = gateway.call_in("13900000000", DID, Sound::tone(440.0)).await.unwrap();
    let other = incoming(&mut events).await;
    other.answer(Sound::tone(620.0)).await;
    within("the answer of a new call", second.answered()).await.unwrap();
    within("its talk", other.hears(Duration::from_secs(1))).await.unwrap();

    std::fs::remove_file(filler).unwrap();
    recording_is_stopped(&cheling, &boss, false).await;
    agent.forget_heard();
    within("talk goes on", agent.hears(Duration::from_secs(2))).await.unwrap();
    second.hang_up().await;
    customer.hang_up().await;
    within("the end", agent.ended()).await;
    let row = cheling.recording_of(&desk, &call_id).await;
    assert_eq!(row["verdict"], "truncated", "{row}");
    let id = row["recording_id"].as_str().unwrap();
    let recording = Recording::read(&desk.get(&format!("/recordings/{id}/audio")).await.body);
    let (kept, all) = (recording.seconds_of_tone(0, 440.0), recording.seconds());
    println!("{kept:.2} s kept of {all:.2} s");
    assert!(kept > 2.5 && kept < all - 1.0, "{kept} of {all} s");
    // What was before the disk was full is in its place, and so is what came after.
    assert!(recording.first_sound_at(0).unwrap() < 0.5);
    let tail = &recording.lanes[0][recording.lanes[0].len() - 8000..];
    assert!(cheling_phone::level_dbfs(tail) > -20.0);
    cheling.check().await;
}
