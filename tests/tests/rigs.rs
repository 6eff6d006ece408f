//! The real clients against our own phone, without Cheling between them: what the other tests
//! stand on.
#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;

use cheling_phone::{Dial, Event, Phone, PhoneConfig, Sound, dominant_frequency_hz};
use cheling_tests::baresip::{Baresip, BaresipConfig};
use cheling_tests::cheling::incoming;
use cheling_tests::ports::Ports;
use cheling_tests::sipp::{Sipp, SippRun, alaw_tone, local};
use cheling_tests::within;
use tokio::sync::mpsc;

/// Writes a mono tone as WAV.
fn wav_tone(path: &Path, frequency_hz: f32, seconds: usize) {
    let mut pcm = vec![0; seconds * 8000];
    cheling_phone::render(&Sound::tone(frequency_hz), &mut pcm);
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for sample in pcm {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
}

async fn phone(port: u16) -> (Phone, mpsc::Receiver<Event>) {
    let config = PhoneConfig { port, ..PhoneConfig::standalone("8001") };
    Phone::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_calls_our_phone_and_each_hears_the_other() {
    let ports = Ports::claim();
    let folder = tempfile::tempdir().unwrap();
    let (phone, mut events) = phone(ports.port(10)).await;
    let tone = alaw_tone(folder.path(), 500.0, 1);
    let sipp = Sipp::start(
        &SippRun {
            scenario: "gateway_call",
            local: local([127, 0, 0, 2], ports.port(20)),
            rtp_port: ports.port(30),
            remote: phone.local(),
            values: &[
                ("did", "58998000"),
                ("caller", "13812345678"),
                ("tone", tone.to_str().unwrap()),
                ("talk_ms", "1500"),
            ],
            calls: 1,
            more: &[],
        },
        folder.path(),
    );
    let call = incoming(&mut events).await;
    assert_eq!(call.caller().user, "13812345678");
    call.answer(Sound::tone(700.0)).await;
    let ending = within("the end", call.ended()).await;
    assert_eq!(ending.by, cheling_phone::Side::Them);
    sipp.succeeds().await;
    assert_eq!(dominant_frequency_hz(&call.heard()), Some(500.0));
    assert!(call.statistics().packets_received > 60, "{:?}", call.statistics());
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_holds_and_resumes_our_phone() {
    let ports = Ports::claim();
    let folder = tempfile::tempdir().unwrap();
    let (phone, mut events) = phone(ports.port(10)).await;
    let tone = alaw_tone(folder.path(), 500.0, 1);
    let sipp = Sipp::start(
        &SippRun {
            scenario: "gateway_hold",
            local: local([127, 0, 0, 2], ports.port(20)),
            rtp_port: ports.port(30),
            remote: phone.local(),
            values: &[
                ("did", "58998000"),
                ("caller", "13812345678"),
                ("tone", tone.to_str().unwrap()),
                ("talk_ms", "800"),
                ("hold_ms", "600"),
            ],
            calls: 1,
            more: &[],
        },
        folder.path(),
    );
    let call = incoming(&mut events).await;
    call.answer(Sound::tone(700.0)).await;
    within("hold", call.flows(cheling_phone::Direction::RecvOnly)).await.unwrap();
    within("resume", call.flows(cheling_phone::Direction::SendRecv)).await.unwrap();
    within("the end", call.ended()).await;
    sipp.succeeds().await;
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_gives_up_and_is_refused() {
    let ports = Ports::claim();
    let folder = tempfile::tempdir().unwrap();
    let (phone, mut events) = phone(ports.port(10)).await;
    let run = |scenario, offset, status| {
        Sipp::start(
            &SippRun {
                scenario,
                local: local([127, 0, 0, 2], ports.port(offset)),
                rtp_port: ports.port(30),
                remote: phone.local(),
                values: &[("did", "1"), ("caller", "2"), ("ring_ms", "100"), ("status", status)],
                calls: 1,
                more: &[],
            },
            folder.path(),
        )
    };
    let sipp = run("gateway_cancel", 20, "");
    let call = incoming(&mut events).await;
    assert_eq!(within("the end", call.ended()).await.status, Some(487));
    sipp.succeeds().await;

    let sipp = run("gateway_refused", 22, "486");
    incoming(&mut events).await.reject(486).await;
    sipp.succeeds().await;
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_phone_calls_sipp() {
    let ports = Ports::claim();
    let folder = tempfile::tempdir().unwrap();
    let (phone, _events) = phone(ports.port(10)).await;
    let tone = alaw_tone(folder.path(), 500.0, 1);
    let at = local([127, 0, 0, 1], ports.port(20));
    let sipp = Sipp::start(
        &SippRun {
            scenario: "phone_answer",
            local: at,
            rtp_port: ports.port(30),
            remote: phone.local(),
            values: &[("user", "8002"), ("tone", tone.to_str().unwrap()), ("ring_ms", "200")],
            calls: 1,
            more: &[],
        },
        folder.path(),
    );
    let call =
        phone.call(Dial::number(format!("sip:8002@{at}")), Sound::tone(700.0)).await.unwrap();
    within("the answer", call.answered()).await.unwrap();
    within("sound", call.hears(std::time::Duration::from_millis(600))).await.unwrap();
    call.hang_up().await;
    sipp.succeeds().await;
    assert_eq!(dominant_frequency_hz(&call.heard()), Some(500.0));
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_answers_our_phone_over_udp_and_tcp() {
    for transport in [cheling_phone::Transport::Udp, cheling_phone::Transport::Tcp] {
        let ports = Ports::claim();
        let folder = tempfile::tempdir().unwrap();
        let says = folder.path().join("says.wav");
        wav_tone(&says, 600.0, 5);
        let mut baresip = Baresip::start(
            &BaresipConfig {
                registrar: None,
                ..BaresipConfig::softphone(
                    (ports.port(20), ports.port(30)),
                    "127.0.0.1:0".parse().unwrap(),
                    ("8001", "unused"),
                    &says,
                )
            },
            folder.path(),
        );
        baresip.ready().await;
        let caller = PhoneConfig::standalone("13812345678").over(transport);
        let (phone, _events) = Phone::start(caller).await.unwrap();
        let to = Dial::number(format!("sip:8001@127.0.0.1:{}", ports.port(20)));
        let call = phone.call(to, Sound::tone(440.0)).await.unwrap();
        within("the answer", call.answered()).await.unwrap();
        within("sound", call.hears(std::time::Duration::from_millis(600))).await.unwrap();
        assert_eq!(dominant_frequency_hz(&call.heard()), Some(600.0));
        call.hang_up().await;
        within("the end", call.ended()).await;
        phone.stop().await;
        baresip.quit().await;
    }
}
