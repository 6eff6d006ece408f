//! What phones and carriers do beside plain calls, by SIPp through the running binary: session
//! timers, busy lamps, picking up, another media profile after 488, offers in PRACK.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::time::Duration;

use cheling_phone::{Call, Dial, Phone, Side, Sound, Transport};
use cheling_sip::sdp::Sdp;
use cheling_sip::{Method, Name};
use cheling_tests::cheling::{Cheling, DID, GATEWAY_IP, incoming, secret};
use cheling_tests::clock::{Clock, Moves};
use cheling_tests::recording::Recording;
use cheling_tests::sipp::{Sipp, SippRun, alaw_tone, local};
use cheling_tests::wire::Wire;
use cheling_tests::{eventually, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_that_insists_on_session_timers_gets_them() {
    let cheling = Cheling::start().await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let tone = alaw_tone(cheling.folder(), 500.0, 1);
    let values = [
        ("did", DID),
        ("caller", "13812345678"),
        ("tone", tone.to_str().unwrap()),
        ("talk_ms", "500"),
    ];
    let sipp = Sipp::start(
        &SippRun {
            scenario: "gateway_timer",
            local: local(GATEWAY_IP.octets(), cheling.ports.port(6)),
            rtp_port: cheling.ports.port(20),
            remote: cheling.sip(),
            values: &values,
            calls: 1,
            more: &[],
        },
        cheling.folder(),
    );
    let call = incoming(&mut events).await;
    call.answer(Sound::tone(600.0)).await;
    sipp.succeeds().await;
    within("the end", call.ended()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_watches_a_colleague_picks_its_call_up() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut desk = cheling.desk("agent8002").await;
    let tone = alaw_tone(cheling.folder(), 600.0, 1);
    let password = secret("8002");
    let values = [
        ("user", "8002"),
        ("watched", "8001"),
        ("password", password.as_str()),
        ("tone", tone.to_str().unwrap()),
    ];
    // SIPp would leave the number out of what it proves.
    let address = format!("8001@{}", cheling.sip());
    let picking = Sipp::start(
        &SippRun {
            scenario: "phone_pickup",
            local: local([127, 0, 0, 1], cheling.ports.port(14)),
            rtp_port: cheling.ports.port(30),
            remote: cheling.sip(),
            values: &values,
            calls: 1,
            more: &["-auth_uri", &address],
        },
        cheling.folder(),
    );
    let customer = gateway.call_in("13812345678", DID, Sound::tone(500.0)).await.unwrap();
    let rung = incoming(&mut events).await;
    rung.ring().await;
    within("the pick-up", customer.answered()).await.unwrap();
    assert_eq!(within("the ringing's end", rung.ended()).await.status, Some(487));
    within("speech", customer.hears(Duration::from_secs(2))).await.unwrap();
    customer.hang_up().await;
    picking.succeeds().await;
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(&desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let recording = Recording::read(&desk.get(&path).await.body);
    recording.assert_tones(500.0, 600.0, recording.seconds());
}

/// A dealership whose time can be moved, a gateway by hand, and 8001 in a call with it. The gateway
/// agrees on a session of 90 s that this side keeps up.
async fn timed_call(refresher: &str) -> (Cheling, Clock, Wire, Call, Phone) {
    let mut cheling = Cheling::idle_with("ping_seconds = 0").await;
    let clock = Clock::of(&mut cheling, Moves::All);
    cheling.run().await;
    let (phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut gateway = Wire::udp(cheling.gateway_address(), cheling.sip()).await;
    let mut invite = gateway.new_call("13812345678", &format!("sip:{DID}@{}", cheling.sip()));
    for (name, value) in [
        (Name::Supported, "timer"),
        (Name::SessionExpires, &format!("90;refresher={refresher}")),
        (Name::Allow, "INVITE, ACK, BYE, CANCEL, UPDATE"),
    ] {
        invite.headers.push(name, value);
    }
    gateway.say(&invite).await;
    let call = incoming(&mut events).await;
    call.answer(Sound::tone(600.0)).await;
    let answer = loop {
        let response = gateway.response(&Method::Invite).await;
        if response.status >= 200 {
            break response;
        }
    };
    assert_eq!(answer.status, 200);
    let agreed = answer.headers.get(Name::SessionExpires).unwrap().into_owned();
    assert_eq!(agreed, format!("90;refresher={refresher}"));
    let ack = gateway.within_dialog(&invite, &answer, Method::Ack, 1);
    gateway.say(&ack).await;
    (cheling, clock, gateway, call, phone)
}

/// The call is given up at both ends, and has its row and its recording.
async fn is_given_up(cheling: &mut Cheling, gateway: &mut Wire, call: &Call) {
    let bye = gateway.request(Method::Bye).await;
    let reason = bye.headers.get(Name::Reason).unwrap().into_owned();
    assert!(reason.contains("cause=408"), "{reason}");
    gateway.answer(&bye, 200, |_| {}).await;
    assert_eq!(within("the agent's end", call.ended()).await.by, Side::Them);
    // Threads that wait by the kernel's own clock know nothing of ours: they go on after a restart.
    cheling.kill().await;
    cheling.environment.clear();
    cheling.run().await;
    let desk = cheling.desk("agent8001").await;
    let call_id = eventually("the call's row", || async {
        let calls = desk.get("/calls").await.good();
        Some(calls["items"].get(0)?["call_id"].as_str()?.to_owned())
    })
    .await;
    let recording = cheling.recording_of(&desk, &call_id).await;
    assert!(recording["verdict"].is_string(), "{recording}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_to_give_signs_of_life_and_gives_none_has_its_call_ended() {
    let (mut cheling, clock, mut gateway, call, _phone) = timed_call("uac").await;
    clock.set("+65s");
    is_given_up(&mut cheling, &mut gateway, &call).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_refreshed_by_us_and_dies_is_found_out() {
    let (mut cheling, clock, mut gateway, call, _phone) = timed_call("uas").await;
    clock.set("+46s");
    let update = gateway.request(Method::Update).await;
    let asked = update.headers.get(Name::SessionExpires).unwrap().into_owned();
    assert_eq!(asked, "90;refresher=uac");
    gateway
        .answer(&update, 200, |response| {
            response.headers.push(Name::SessionExpires, "90;refresher=uac");
            response.headers.push(Name::Require, "timer");
        })
        .await;
    clock.set("+92s");
    gateway.request(Method::Update).await;
    // From here on it says nothing. The transaction gives up after 32 s.
    clock.set("+130s");
    is_given_up(&mut cheling, &mut gateway, &call).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_picks_up_without_an_offer_gets_ours() {
    let cheling = Cheling::start_with("ping_seconds = 0").await;
    let port = |offset| SocketAddr::new([127, 0, 0, 1].into(), cheling.ports.port(offset));
    let gateway = cheling.quiet_gateway().await;
    let mut rung = Wire::udp(port(10), cheling.sip()).await;
    let mut picker = Wire::udp(port(12), cheling.sip()).await;
    for (phone, user) in [(&mut rung, "8001"), (&mut picker, "8002")] {
        assert_eq!(phone.register(user, "", &[]).await.status, 200);
    }
    let customer = gateway.call_in("13812345678", "8001", Sound::tone(500.0)).await.unwrap();
    let ring = rung.request(Method::Invite).await;
    rung.answer(&ring, 180, |_| {}).await;
    within("ringing", customer.rings()).await.unwrap();

    // The dialog as a busy lamp would name it, seen from the phone that rings.
    let ours = ring.headers.from().unwrap().tag().unwrap().to_owned();
    let (call_id, theirs) = (ring.headers.call_id().unwrap(), format!("t{}", rung.local().port()));
    let mut invite = picker.new_request(Method::Invite, "8002", "sip:8001@127.0.0.1");
    let replaces = format!("{call_id};to-tag={ours};from-tag={theirs};early-only");
    invite.headers.push("Replaces", replaces);
    invite.headers.push(Name::Require, "replaces");
    let (invite, answer) = picker.ask(invite, &secret("8002")).await;
    assert_eq!(answer.status, 200);
    let offer = Sdp::parse(&answer.body).unwrap();
    let audio = offer.audio().unwrap();
    assert!(audio.formats.iter().any(|format| format.payload_type == 8), "{audio:?}");
    let cseq = invite.headers.cseq().unwrap().number;
    let mut ack = picker.within_dialog(&invite, &answer, Method::Ack, cseq);
    ack.set_body("application/sdp", picker.offer().to_bytes());
    picker.say(&ack).await;
    within("the answer", customer.answered()).await.unwrap();
    let cancel = rung.request(Method::Cancel).await;
    rung.answer(&cancel, 200, |_| {}).await;
    rung.answer(&ring, 487, |_| {}).await;
    customer.hang_up().await;
    let bye = picker.request(Method::Bye).await;
    picker.answer(&bye, 200, |_| {}).await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_that_takes_srtp_alone_and_says_488_is_offered_it() {
    let cheling = Cheling::start_with("srtp = \"optional\"\nping_seconds = 0").await;
    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let carrier = Sipp::start(
        &SippRun {
            scenario: "network_srtp_only",
            local: local(GATEWAY_IP.octets(), cheling.ports.port(6)),
            rtp_port: cheling.ports.port(20),
            remote: cheling.sip(),
            values: &[],
            calls: 1,
            more: &[],
        },
        cheling.folder(),
    );
    carrier.listens().await;
    let call = phone.call(Dial::number("13912345678"), Sound::tone(600.0)).await.unwrap();
    within("the answer", call.answered()).await.unwrap();
    call.hang_up().await;
    carrier.succeeds().await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_carrier_without_an_offer_answers_ours_in_its_prack_and_offers_anew_in_the_next() {
    let cheling = Cheling::start_with("ping_seconds = 0").await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut desk = cheling.desk("agent8001").await;
    let tone = alaw_tone(cheling.folder(), 500.0, 1);
    let values = [
        ("did", DID),
        ("caller", "13812345678"),
        ("tone", tone.to_str().unwrap()),
        ("talk_ms", "2500"),
    ];
    let carrier = Sipp::start(
        &SippRun {
            scenario: "gateway_prack_offer",
            local: local(GATEWAY_IP.octets(), cheling.ports.port(6)),
            rtp_port: cheling.ports.port(20),
            remote: cheling.sip(),
            values: &values,
            calls: 1,
            more: &[],
        },
        cheling.folder(),
    );
    let call = incoming(&mut events).await;
    call.ring().await;
    // The card is there while all that is said.
    desk.next_of("call.offered").await;
    call.answer(Sound::tone(600.0)).await;
    within("speech", call.hears(Duration::from_secs(1))).await.unwrap();
    carrier.succeeds().await;
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(&desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let recording = Recording::read(&desk.get(&path).await.body);
    recording.assert_tones(500.0, 600.0, recording.seconds());
    cheling.check().await;
}
