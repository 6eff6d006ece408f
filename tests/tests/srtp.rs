//! SRTP with a real softphone through the running binary: what was said is on the recording, and on
//! the wire there was none of it in clear.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use cheling_phone::{AnswerPlan, Sound, render};
use cheling_tests::baresip::{Baresip, BaresipConfig};
use cheling_tests::cheling::{Cheling, DID, secret};
use cheling_tests::recording::Recording;
use cheling_tests::within;

/// A file in which `tone` sounds for half a minute.
fn says(cheling: &Cheling, tone: f32) -> std::path::PathBuf {
    let mut pcm = vec![0; 30 * 8000];
    render(&Sound::tone(tone), &mut pcm);
    let path = cheling.folder().join("says.wav");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    for sample in pcm {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
    path
}

async fn baresip(cheling: &Cheling, encryption: &str, dials: Option<&str>) -> Baresip {
    let (says, secret) = (says(cheling, 600.0), secret("8001"));
    let mut baresip = Baresip::start(
        &BaresipConfig {
            dials,
            media_encryption: Some(encryption),
            ..BaresipConfig::softphone(
                (cheling.ports.port(10), cheling.ports.port(12)),
                cheling.sip(),
                ("8001", &secret),
                &says,
            )
        },
        cheling.folder(),
    );
    baresip.registered().await;
    baresip
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_softphone_that_must_have_srtp_is_called_and_both_are_on_the_recording() {
    let mut cheling = Cheling::start().await;
    cheling.stop().await;
    cheling.environment.push(("CHELING_MEDIA__SRTP", "required".into()));
    cheling.run().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let mut softphone = baresip(&cheling, "srtp-mand", None).await;
    let call = gateway.call_in("13812345678", DID, Sound::tone(500.0)).await.unwrap();
    within("the answer", call.answered()).await.unwrap();
    softphone.encrypts().await;
    within("talk", call.hears(Duration::from_secs(3))).await.unwrap();
    call.hang_up().await;
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(&desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let recording = Recording::read(&desk.get(&path).await.body);
    recording.assert_tones(500.0, 600.0, recording.seconds());
    softphone.quit().await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_softphone_that_offers_srtp_gets_it_though_the_gateway_speaks_none() {
    let cheling = Cheling::start().await;
    let answer = |_: &_| AnswerPlan::Answer {
        after: Duration::ZERO,
        sound: Sound::tone(500.0),
        talk: Some(Duration::from_secs(4)),
    };
    let _gateway = cheling.gateway(answer).await;
    let mut desk = cheling.desk("agent8001").await;
    let mut softphone = baresip(&cheling, "srtp", Some("13812345678")).await;
    softphone.encrypts().await;
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(&desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let recording = Recording::read(&desk.get(&path).await.body);
    recording.assert_tones(500.0, 600.0, recording.seconds());
    softphone.quit().await;
}
