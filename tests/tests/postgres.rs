//! The same service with its facts in PostgreSQL.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use cheling_phone::{Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, incoming};
use cheling_tests::within;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_popped_and_recorded_with_facts_in_postgresql() {
    let url = cheling_records::testing::postgres_url().await;
    let cheling = Cheling::start_with(&format!("[database]\nurl = {url:?}")).await;
    cheling.customers(&[("王建国", "13812345678")]).await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(440.0)).await.unwrap();
    let agent = incoming(&mut events).await;
    let offered = desk.next_of("call.offered").await;
    assert_eq!(offered.event["card"]["customer"]["name"], "王建国");
    agent.answer(Sound::tone(620.0)).await;
    within("the answer", customer.answered()).await.unwrap();
    within("talk", agent.hears(Duration::from_secs(2))).await.unwrap();
    customer.hang_up().await;
    let row = cheling.recording_of(&desk, offered.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    cheling.check().await;
}
