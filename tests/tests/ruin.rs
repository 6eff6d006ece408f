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

use cheling_phone::{AnswerPlan, Call, Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, incoming};
use cheling_tests::desk::Desk;
use cheling_tests::recording::Recording;
use cheling_tests::{eventually, http, within};

/// What a crash may cost a call.
const MAY_LOSE_S: f64 = 2.0;

fn busy(_: &Call) -> AnswerPlan {
    AnswerPlan::Refuse { after: Duration::ZERO, status: 486 }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_every_call_keeps_all_but_two_seconds() {
    let (kills, calls) = (number("RUIN_KILLS", 4), number("RUIN_CALLS", 3));
    let mut dice = Dice(number("RUIN_SEED", 0x5eed_1122).max(1));
    // The usual ports are enough for forty calls.
    let mut cheling = match calls {
        0..=35 => Cheling::start().await,
        _ => Cheling::start_for_load().await,
    };
    let gateway = cheling.gateway(busy).await;
    let (phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut worst = 0.0_f64;
    for round in 0..kills {
        let mut desk = cheling.desk("agent8001").await;
        let mut talks = Vec::new();
        for _ in 0..calls {
            let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
            let agent = incoming(&mut events).await;
            agent.answer(Sound::tone(620.0)).await;
            within("the answer", customer.answered()).await.unwrap();
            let call_id = desk.next_of("call.offered").await.call_id().to_owned();
            talks.push((customer, agent, call_id));
        }
        let (_, last, _) = talks.last().unwrap();
        let moment = Duration::from_millis(dice.below(4000));
        within("some talk", last.hears(moment)).await.unwrap();
        cheling.kill().await;
        drop(desk);
        let heard: Vec<f64> = talks
            .iter()
            .map(|(_, agent, _)| agent.statistics().packets_received as f64 / 50.0)
            .collect();
        cheling.run().await;
        // Before the recordings are made as well as after: nothing that was promised is missing.
        cheling.check().await;
        let desk = cheling.desk("agent8001").await;
        for ((customer, agent, call_id), heard) in talks.into_iter().zip(heard) {
            let row = cheling.recording_of(&desk, &call_id).await;
            let id = row["recording_id"].as_str().unwrap();
            let audio = desk.get(&format!("/recordings/{id}/audio")).await;
            // Killed within the moment of the answer there is nothing to hear, and so no file.
            let seconds = if audio.status == 200 {
                let recording = Recording::read(&audio.body);
                // Nobody else's sound, on neither lane.
                if recording.seconds() > 1.0 {
                    recording.assert_tones(440.0, 620.0, recording.seconds());
                }
                recording.seconds()
            } else {
                0.0
            };
            worst = worst.max(heard - seconds);
            assert!(seconds > heard - MAY_LOSE_S, "round {round}: {seconds} of {heard} s: {row}");
            // The restarted service knows nothing of the call: whatever it answers is right.
            customer.hang_up().await;
            agent.hang_up().await;
        }
        cheling.check().await;
        within("registration", phone.register()).await.unwrap();
    }
    println!("{kills} kills during {calls} calls: at most {worst:.2} s of a call lost");
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
        println!("skipped: mounting a small tmpfs needs root");
        return;
    };
    let copied = Command::new("cp").arg("-a").arg(aside.join(".")).arg(&data).status().unwrap();
    assert!(copied.success());
    cheling.run().await;
    let gateway = cheling.gateway(busy).await;
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

/// The library that gives a process another wall clock, if it is installed.
fn other_clock() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    folders.map(|it| it.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_stepped_by_an_hour_moves_no_sound() {
    let library = other_clock().expect("scripts/bootstrap test brings libfaketime");
    let mut cheling = Cheling::idle_with("").await;
    let clock = cheling.folder().join("clock");
    let step = |by: &str| {
        let new = clock.with_extension("new");
        std::fs::write(&new, format!("{by}\n")).unwrap();
        std::fs::rename(&new, &clock).unwrap();
    };
    step("+0");
    cheling.environment.extend([
        ("LD_PRELOAD", library.to_str().unwrap().to_owned()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap().to_owned()),
        ("FAKETIME_CACHE_DURATION", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ]);
    cheling.run().await;
    let gateway = cheling.gateway(busy).await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(620.0)).await;
    within("the answer", customer.answered()).await.unwrap();
    let call_id = desk.next_of("call.offered").await.call_id().to_owned();
    // What the service's own clock says, as the header `Date` of its answers shows it.
    let date = async || {
        let answer = http::request(cheling.web(), "GET", "/healthz", &[], b"").await?;
        answer.header("date").map(str::to_owned)
    };
    let hour = |date: &str| date.split(' ').nth(4).map(|time| time[..2].to_owned());
    for by in ["+3600s", "+7200s"] {
        agent.forget_heard();
        within("talk", agent.hears(Duration::from_secs(1))).await.unwrap();
        let before = date().await.unwrap();
        step(by);
        let step_is_seen = async || (hour(&date().await?) != hour(&before)).then_some(());
        eventually("the step", step_is_seen).await;
        agent.forget_heard();
        within("talk goes on", agent.hears(Duration::from_secs(1))).await.unwrap();
    }
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
    cheling.check().await;
}
