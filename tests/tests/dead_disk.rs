//! Phones talk whatever becomes of the disk, and of all that needs it: the database, the lookup of
//! callers, the journal.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::time::Duration;

use cheling_phone::{Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, incoming};
use cheling_tests::hanging_disk::HangingDisk;
use cheling_tests::recording::Recording;
use cheling_tests::{eventually, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_lookup_database_and_disk_dead_at_once_phones_still_talk() {
    let mut cheling = Cheling::start().await;
    let disk = HangingDisk::under(&mut cheling, "", Duration::ZERO).await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(620.0)).await;
    within("the answer", customer.answered()).await.unwrap();
    within("talk", agent.hears(Duration::from_secs(1))).await.unwrap();
    let call_id = desk.next_of("call.offered").await.call_id().to_owned();

    disk.hang();
    disk.is_waited_for("/journal/").await;
    // The call that runs goes on; a new one is set up, talks and ends; a phone registers.
    agent.forget_heard();
    within("talk goes on", agent.hears(Duration::from_secs(2))).await.unwrap();
    let second = gateway.call_in("13900000000", DID, Sound::tone(440.0)).await.unwrap();
    let other = incoming(&mut events).await;
    other.answer(Sound::tone(620.0)).await;
    within("the answer of a new call", second.answered()).await.unwrap();
    within("its talk", other.hears(Duration::from_secs(1))).await.unwrap();
    within("its talk", second.hears(Duration::from_secs(1))).await.unwrap();
    disk.is_waited_for("/cheling.db").await;
    within("registration", phone.register()).await.unwrap();
    second.hang_up().await;
    within("its end", other.ended()).await;
    agent.forget_heard();
    within("talk goes on", agent.hears(Duration::from_secs(1))).await.unwrap();
    assert_eq!(cheling_phone::dominant_frequency_hz(&agent.heard()), Some(440.0));
    assert_eq!(agent.statistics().packets_lost, 0, "the relay waited for the disk");

    disk.heal();
    customer.hang_up().await;
    within("the end", agent.ended()).await;
    // What was held up is not lost: queues are longer than that.
    let row = cheling.recording_of(&desk, &call_id).await;
    let id = row["recording_id"].as_str().unwrap();
    let recording = Recording::read(&desk.get(&format!("/recordings/{id}/audio")).await.body);
    assert_eq!(row["verdict"], "ok", "{row}");
    recording.assert_tones(440.0, 620.0, recording.seconds());
    assert!(recording.seconds() > 4.0, "{} s", recording.seconds());
    let late = desk.next_of("call.offered").await.call_id().to_owned();
    eventually("the row of the call that nothing was written of", || async {
        let call = desk.get(&format!("/calls/{late}")).await;
        (call.status == 200).then_some(())
    })
    .await;
    assert_eq!(cheling.recording_of(&desk, &late).await["verdict"], "ok");
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_of_seconds_a_write_delays_no_packet_and_loses_none() {
    let mut cheling = Cheling::start().await;
    let _disk = HangingDisk::under(&mut cheling, "journal", Duration::from_secs(2)).await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(620.0)).await;
    within("the answer", customer.answered()).await.unwrap();
    within("talk", agent.hears(Duration::from_secs(4))).await.unwrap();
    for side in [&customer, &agent] {
        let seen = side.statistics();
        assert_eq!((seen.packets_lost, seen.packets_late), (0, 0), "the relay waited for the disk");
    }
    let call_id = desk.next_of("call.offered").await.call_id().to_owned();
    customer.hang_up().await;
    within("the end", agent.ended()).await;
    let row = cheling.recording_of(&desk, &call_id).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let id = row["recording_id"].as_str().unwrap();
    let recording = Recording::read(&desk.get(&format!("/recordings/{id}/audio")).await.body);
    assert!(recording.seconds() > 3.5, "{} s", recording.seconds());
    recording.assert_tones(440.0, 620.0, recording.seconds());
}
