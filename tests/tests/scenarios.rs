//! What carriers and gateways do to a call beside the ordinary, by SIPp through the running binary:
//! forks, reliable ringing, answers that cross a CANCEL, glare, late offers, UPDATE.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use cheling_phone::{Dial, Side, Sound, Transport};
use cheling_tests::cheling::{Cheling, DID, GATEWAY_IP, incoming, secret};
use cheling_tests::sipp::{Sipp, SippRun, alaw_tone, local};
use cheling_tests::within;

/// SIPp at the trunk's address.
fn trunk(cheling: &Cheling, scenario: &str, values: &[(&str, &str)]) -> Sipp {
    let run = SippRun {
        scenario,
        local: local(GATEWAY_IP.octets(), cheling.ports.port(6)),
        rtp_port: cheling.ports.port(20),
        remote: cheling.sip(),
        values,
        calls: 1,
        more: &[],
    };
    Sipp::start(&run, cheling.folder())
}

/// A phone calls out through a carrier that behaves like this, hangs up once it is answered, and
/// SIPp has seen what it wanted to see.
async fn calls_out(scenario: &str) {
    let cheling = Cheling::start().await;
    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let carrier = trunk(&cheling, scenario, &[]);
    carrier.listens().await;
    let call = phone.call(Dial::number("13912345678"), Sound::tone(600.0)).await.unwrap();
    within("the answer", call.answered()).await.unwrap();
    call.hang_up().await;
    carrier.succeeds().await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_phones_behind_a_fork_the_one_that_answers_has_the_dialog() {
    calls_out("network_fork").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reliable_183_is_acknowledged() {
    calls_out("network_prack").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_crosses_the_cancel_is_hung_up() {
    let cheling = Cheling::start().await;
    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let carrier = trunk(&cheling, "network_cancel_race", &[]);
    carrier.listens().await;
    let call = phone.call(Dial::number("13912345678"), Sound::tone(600.0)).await.unwrap();
    within("ringing", call.rings()).await.unwrap();
    call.hang_up().await;
    assert_eq!(within("the end", call.ended()).await.status, Some(487));
    carrier.succeeds().await;
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_offers_that_cross_the_later_gets_491() {
    let cheling = Cheling::start().await;
    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let mut desk = cheling.desk("agent8001").await;
    let carrier = trunk(&cheling, "network_glare", &[]);
    carrier.listens().await;
    let call = phone.call(Dial::number("13912345678"), Sound::tone(600.0)).await.unwrap();
    within("the answer", call.answered()).await.unwrap();
    desk.next_of("call.answered").await;
    call.hold().await;
    loop {
        if desk.next_of("call.updated").await.event["held"] == true {
            break;
        }
    }
    call.hang_up().await;
    carrier.succeeds().await;
}

/// A gateway calls in like this, our phone answers, and the gateway hangs up.
async fn calls_in(scenario: &str) {
    let cheling = Cheling::start().await;
    let (_phone, mut events) = cheling.phone("8001", Transport::Udp).await;
    let mut desk = cheling.desk("agent8001").await;
    let tone = alaw_tone(cheling.folder(), 500.0, 1);
    let values = [
        ("did", DID),
        ("caller", "13812345678"),
        ("tone", tone.to_str().unwrap()),
        ("talk_ms", "1500"),
    ];
    let gateway = trunk(&cheling, scenario, &values);
    let call = incoming(&mut events).await;
    call.answer(Sound::tone(600.0)).await;
    within("sound", call.hears(Duration::from_secs(1))).await.unwrap();
    assert_eq!(within("the end", call.ended()).await.by, Side::Them);
    gateway.succeeds().await;
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(&desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_without_an_offer_gets_ours() {
    calls_in("gateway_late_offer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_holds_by_update() {
    calls_in("gateway_update").await;
}

/// SIPp at the place of a desk phone, which has registered before.
async fn desk_phone(cheling: &Cheling, user: &str, scenario: &str, more: &[(&str, &str)]) -> Sipp {
    let run = |scenario, values| SippRun {
        scenario,
        local: local([127, 0, 0, 1], cheling.ports.port(14)),
        rtp_port: cheling.ports.port(30),
        remote: cheling.sip(),
        values,
        calls: 1,
        more: &[],
    };
    let password = secret(user);
    let values = [("user", user), ("password", &password), ("status", "200")];
    Sipp::start(&run("phone_register", &values), cheling.folder()).succeeds().await;
    let phone = Sipp::start(&run(scenario, more), cheling.folder());
    phone.listens().await;
    phone
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_says_302_has_the_call_ring_where_it_says() {
    let cheling = Cheling::start().await;
    let gateway = cheling.quiet_gateway().await;
    let moved = desk_phone(&cheling, "8001", "phone_moved", &[("moved_to", "8002")]).await;
    // The line rings 8002 as well; the extension alone is what is dialled here.
    let (_phone, mut events) = cheling.phone("8002", Transport::Udp).await;
    let customer = gateway.call_in("13812345678", "8001", Sound::tone(500.0)).await.unwrap();
    let colleague = incoming(&mut events).await;
    colleague.answer(Sound::tone(600.0)).await;
    within("the answer", customer.answered()).await.unwrap();
    within("sound", customer.hears(Duration::from_millis(500))).await.unwrap();
    moved.succeeds().await;
    customer.hang_up().await;
    assert_eq!(within("the end", colleague.ended()).await.by, Side::Them);
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_sipsak_reaches_the_phone_it_is_for() {
    let cheling = Cheling::start().await;
    let text = [("text", "customer waits at the gate"), ("from", "8001")];
    let phone = desk_phone(&cheling, "8002", "phone_message", &text).await;
    let from = format!("sip:8001@{}", cheling.sip().ip());
    // Its own -M ends with a segmentation fault where it is packaged (0.9.8.1); its -f does not.
    let send = async |to: &str, password: &str| {
        let (to, length) = (format!("sip:{to}@{}", cheling.sip()), text[0].1.len());
        let file = cheling.folder().join("message.sip");
        let message = format!(
            "MESSAGE {to} SIP/2.0\r\nFrom: <{from}>;tag=s1\r\nTo: <{to}>\r\n\
             Call-ID: {length}-{}@sipsak\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\n\
             Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{}",
            password.len(),
            text[0].1,
        );
        std::fs::write(&file, message).unwrap();
        let mut command = tokio::process::Command::new("sipsak");
        command.args(["-vvv", "-f", file.to_str().unwrap(), "-s", &to]);
        command.args(["-u", "8001", "-a", password]).kill_on_drop(true);
        let output = within("sipsak", command.output()).await;
        let output = output.expect("sipsak; scripts/bootstrap test installs it");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let (is_taken, said) = send("8002", "guessed").await;
    assert!(!is_taken, "not without the password: {said}");
    let (is_taken, said) = send("8002", &secret("8001")).await;
    assert!(is_taken, "{said}");
    phone.succeeds().await;
    let (is_taken, said) = send("8003", &secret("8001")).await;
    assert!(!is_taken && said.contains("480"), "nobody is there: {said}");
}
