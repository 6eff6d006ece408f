//! SIPp and baresip through the running binary, compared with what they played.
#![allow(clippy::unwrap_used, missing_docs)]

use cheling_phone::{Sound, Transport, level_dbfs, render};
use cheling_tests::baresip::{Baresip, BaresipConfig};
use cheling_tests::cheling::{Cheling, DID, GATEWAY_IP, incoming, secret};
use cheling_tests::recording::{CUSTOMER, OUR_SIDE, Recording, write_wav};
use cheling_tests::sipp::{Sipp, SippRun, alaw_tone, local};

fn gateway_run<'a>(
    cheling: &Cheling,
    scenario: &'a str,
    values: &'a [(&'a str, &'a str)],
) -> SippRun<'a> {
    SippRun {
        scenario,
        local: local(GATEWAY_IP.octets(), cheling.ports.port(6)),
        rtp_port: cheling.ports.port(20),
        remote: cheling.sip(),
        values,
        calls: 1,
        more: &[],
    }
}

async fn audio(cheling: &Cheling, desk: &cheling_tests::desk::Desk, call_id: &str) -> Recording {
    let row = cheling.recording_of(desk, call_id).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    Recording::read(&desk.get(&path).await.body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_calls_baresip_and_both_are_on_the_recording() {
    let cheling = Cheling::start().await;
    let mut desk = cheling.desk("agent8001").await;
    let mut pcm = vec![0; 30 * 8000];
    render(&Sound::tone(600.0), &mut pcm);
    let says = cheling.folder().join("says.wav");
    write_wav(&says, &pcm);
    let secret = secret("8001");
    let mut baresip = Baresip::start(
        &BaresipConfig::softphone(
            (cheling.ports.port(10), cheling.ports.port(12)),
            cheling.sip(),
            ("8001", &secret),
            &says,
        ),
        cheling.folder(),
    );
    baresip.registered().await;
    let tone = alaw_tone(cheling.folder(), 500.0, 1);
    let values = [
        ("did", DID),
        ("caller", "13812345678"),
        ("tone", tone.to_str().unwrap()),
        ("talk_ms", "3000"),
    ];
    Sipp::start(&gateway_run(&cheling, "gateway_call", &values), cheling.folder()).succeeds().await;
    let ended = desk.next_of("call.ended").await;
    let recording = audio(&cheling, &desk, ended.call_id()).await;
    assert!((recording.seconds() - 3.0).abs() < 0.6, "{}", recording.seconds());
    recording.assert_tones(500.0, 600.0, recording.seconds());
    baresip.quit().await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speech_comes_out_as_it_went_in() {
    let cheling = Cheling::start().await;
    let gateway = cheling
        .gateway(|_: &_| cheling_phone::AnswerPlan::Refuse {
            after: std::time::Duration::ZERO,
            status: 486,
        })
        .await;
    let mut desk = cheling.desk("agent8001").await;
    let clip = cheling_phone::speech::clips(cheling_phone::speech::Role::Agent).swap_remove(0);
    let says = cheling.folder().join("speech.wav");
    // baresip hangs up when its file ends.
    let padded: Vec<i16> = clip.iter().copied().chain(std::iter::repeat_n(0, 20 * 8000)).collect();
    write_wav(&says, &padded);
    let secret = secret("8001");
    let mut baresip = Baresip::start(
        &BaresipConfig {
            transport: "tcp",
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
    let customer =
        cheling_phone::speech::clips(cheling_phone::speech::Role::Customer).swap_remove(0);
    let call = gateway.call_in("13812345678", DID, Sound::once(customer.clone())).await.unwrap();
    cheling_tests::within("the answer", call.answered()).await.unwrap();
    let length = std::time::Duration::from_millis(7500);
    cheling_tests::within("speech", call.hears(length)).await.unwrap();
    call.hang_up().await;
    let ended = desk.next_of("call.ended").await;
    let recording = audio(&cheling, &desk, ended.call_id()).await;
    for (lane, spoken) in [(CUSTOMER, &customer), (OUR_SIDE, &clip)] {
        let sameness = likeness(spoken, &recording.lanes[lane]);
        assert!(sameness > 0.9, "lane {lane}: correlation {sameness}");
        assert!(level_dbfs(&recording.lanes[lane]) > -45.0);
    }
    baresip.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opus_recording_is_read_by_another_decoder() {
    let mut cheling = Cheling::start().await;
    cheling.stop().await;
    cheling.environment.push(("CHELING_RECORDING__CONTAINER", "ogg_opus".into()));
    cheling.run().await;
    let gateway = cheling
        .gateway(|_: &_| cheling_phone::AnswerPlan::Refuse {
            after: std::time::Duration::ZERO,
            status: 486,
        })
        .await;
    let mut desk = cheling.desk("agent8001").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", DID, Sound::tone(500.0)).await.unwrap();
    let agent = incoming(&mut events).await;
    agent.answer(Sound::tone(700.0)).await;
    cheling_tests::within("the answer", customer.answered()).await.unwrap();
    let length = std::time::Duration::from_secs(3);
    cheling_tests::within("talk", agent.hears(length)).await.unwrap();
    customer.hang_up().await;
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(&desk, ended.call_id()).await;
    assert_eq!((&row["container"], &row["verdict"]), (&"ogg_opus".into(), &"ok".into()), "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let answer = desk.get(&path).await;
    assert_eq!(answer.header("content-type"), Some("audio/ogg"));
    let (ogg, wav) = (cheling.folder().join("a.ogg"), cheling.folder().join("a.wav"));
    std::fs::write(&ogg, &answer.body).unwrap();
    let status = tokio::process::Command::new("opusdec")
        .args(["--quiet", "--rate", "48000"])
        .args([&ogg, &wav])
        .status()
        .await
        .expect("opusdec; scripts/bootstrap test installs it");
    assert!(status.success());
    let recording = Recording::read(&std::fs::read(&wav).unwrap());
    let said = row["duration_ms"].as_f64().unwrap() / 1000.0;
    assert!((recording.seconds() - said).abs() < 0.1, "{} {said}", recording.seconds());
    // The codec codes both lanes together: in talk at the same time a lane carries a little of the
    // other. Its own tone is the strongest in it by far; WAV is where lanes are held apart exactly.
    for (lane, own, other) in [(CUSTOMER, 500.0, 700.0), (OUR_SIDE, 700.0, 500.0)] {
        let (own, other) =
            (recording.share_of_tone(lane, own), recording.share_of_tone(lane, other));
        assert!(
            own > 0.7 && other < own / 3.0,
            "lane {lane}: {own} of its own, {other} of the other's"
        );
    }
    cheling.check().await;
}

/// The best correlation of the middle second of `spoken` with any place in `recorded`.
fn likeness(spoken: &[i16], recorded: &[i16]) -> f64 {
    let middle = spoken.len() / 2;
    let pattern = &spoken[middle - 4000..middle + 4000];
    let own: f64 = pattern.iter().map(|&s| f64::from(s).powi(2)).sum();
    recorded
        .windows(pattern.len())
        .step_by(1)
        .map(|window| {
            let (mut product, mut energy) = (0.0, 0.0);
            for (&a, &b) in pattern.iter().zip(window).step_by(8) {
                product += f64::from(a) * f64::from(b);
                energy += f64::from(b).powi(2);
            }
            product * 8.0 / (own * (energy * 8.0).max(1.0)).sqrt()
        })
        .fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_registers_answers_and_is_refused_with_a_wrong_password() {
    let cheling = Cheling::start().await;
    let phone_port = cheling.ports.port(14);
    let right = secret("8002");
    let register = |password: &str, status: &str| {
        let values = [("user", "8002"), ("password", password), ("status", status)];
        let run = SippRun {
            scenario: "phone_register",
            local: local([127, 0, 0, 1], phone_port),
            rtp_port: cheling.ports.port(30),
            remote: cheling.sip(),
            values: &values,
            calls: 1,
            more: &[],
        };
        Sipp::start(&run, cheling.folder())
    };
    register("wrong", "403").succeeds().await;
    register(&right, "200").succeeds().await;

    let mut desk = cheling.desk("agent8002").await;
    let agent_tone = alaw_tone(cheling.folder(), 600.0, 1);
    let values = [("user", "8002"), ("ring_ms", "300"), ("tone", agent_tone.to_str().unwrap())];
    let answering = Sipp::start(
        &SippRun {
            scenario: "phone_answer",
            local: local([127, 0, 0, 1], phone_port),
            rtp_port: cheling.ports.port(30),
            remote: cheling.sip(),
            values: &values,
            calls: 1,
            more: &[],
        },
        cheling.folder(),
    );
    let tone = alaw_tone(cheling.folder(), 500.0, 1);
    let values = [
        ("did", DID),
        ("caller", "13812345678"),
        ("tone", tone.to_str().unwrap()),
        ("talk_ms", "2000"),
    ];
    Sipp::start(&gateway_run(&cheling, "gateway_call", &values), cheling.folder()).succeeds().await;
    answering.succeeds().await;
    let ended = desk.next_of("call.ended").await;
    let recording = audio(&cheling, &desk, ended.call_id()).await;
    recording.assert_tones(500.0, 600.0, recording.seconds());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipp_holds_gives_up_and_dials_wrong() {
    let cheling = Cheling::start().await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let tone = alaw_tone(cheling.folder(), 500.0, 1);
    let values = [
        ("did", DID),
        ("caller", "13812345678"),
        ("tone", tone.to_str().unwrap()),
        ("talk_ms", "800"),
        ("hold_ms", "800"),
    ];
    let sipp = Sipp::start(&gateway_run(&cheling, "gateway_hold", &values), cheling.folder());
    let call = incoming(&mut events).await;
    call.answer(Sound::tone(600.0)).await;
    sipp.succeeds().await;

    let values = [("did", DID), ("caller", "13812345678"), ("ring_ms", "200")];
    let sipp = Sipp::start(&gateway_run(&cheling, "gateway_cancel", &values), cheling.folder());
    let call = incoming(&mut events).await;
    assert_eq!(cheling_tests::within("CANCEL", call.ended()).await.status, Some(487));
    sipp.succeeds().await;

    let values = [("did", "11112222"), ("caller", "13812345678"), ("status", "404")];
    Sipp::start(&gateway_run(&cheling, "gateway_refused", &values), cheling.folder())
        .succeeds()
        .await;
}
