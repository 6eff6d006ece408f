//! kamailio as the provider behind a trunk: it stays in the path with Record-Route, and Cheling
//! speaks to it over UDP, TCP and TLS.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use cheling_phone::{AnswerPlan, Call, Dial, Gateway, Sound, Transport, dominant_frequency_hz};
use cheling_tests::cheling::{Cheling, DID, GATEWAY_IP, incoming};
use cheling_tests::kamailio::{Kamailio, preamble};
use cheling_tests::recording::Recording;
use cheling_tests::within;
use tokio::process::Command;

const CUSTOMER_HZ: f32 = 440.0;
const AGENT_HZ: f32 = 620.0;

/// The provider: what comes from the public network goes to Cheling, anything else out.
fn provider(listen: &[String], network: SocketAddr, cheling: &str, more: &str) -> String {
    format!(
        "{}{more}\
         request_route {{\n\
         if (!mf_process_maxfwd_header(\"10\")) {{ sl_send_reply(\"483\", \"Too Many Hops\"); exit; }}\n\
         if (is_method(\"OPTIONS\")) {{ sl_send_reply(\"200\", \"OK\"); exit; }}\n\
         if (has_totag()) {{\n\
           if (loose_route()) {{ xlog(\"L_ALERT\", \"routed $rm from $si by $proto\\n\"); t_relay(); exit; }}\n\
           if (is_method(\"ACK\")) {{ if (t_check_trans()) t_relay(); exit; }}\n\
           sl_send_reply(\"404\", \"Not here\"); exit;\n\
         }}\n\
         if (is_method(\"CANCEL\")) {{ if (t_check_trans()) t_relay(); exit; }}\n\
         t_check_trans();\n\
         xlog(\"L_ALERT\", \"new $rm from $si by $proto to $rU\\n\");\n\
         if ($rU == \"13800000503\") {{ sl_send_reply(\"503\", \"Full\"); exit; }}\n\
         record_route();\n\
         if ($sp == {port}) {{ $du = \"{cheling}\"; $fs = \"{listener}\"; }}\n\
         else {{ $du = \"sip:{network}\"; $fs = \"{first}\"; }}\n\
         t_relay();\n\
         }}\n",
        preamble(listen),
        port = network.port(),
        first = listen[0],
        listener = listen[listen.len() - 1],
    )
}

/// A certificate that signs itself, for kamailio.
async fn certificate(folder: &Path) -> (String, String) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("provider.pem"), path("provider.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=provider.test"])
        .args(["-addext", "subjectAltName=DNS:provider.test"])
        .args(["-keyout", &key, "-out", &certificate])
        .output()
        .await
        .expect("openssl; scripts/bootstrap test installs it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

/// Customer and agent hear each other, and the recording has each on its own side.
async fn talk(customer: &Call, agent: &Call) {
    let length = Duration::from_secs(2);
    within("the agent hears", agent.hears(length)).await.unwrap();
    within("the customer hears", customer.hears(length)).await.unwrap();
    assert_eq!(dominant_frequency_hz(&agent.heard()), Some(CUSTOMER_HZ));
    assert_eq!(dominant_frequency_hz(&customer.heard()), Some(AGENT_HZ));
}

async fn recorded(cheling: &Cheling, desk: &mut cheling_tests::desk::Desk) {
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let recording = Recording::read(&desk.get(&path).await.body);
    recording.assert_tones(CUSTOMER_HZ, AGENT_HZ, recording.seconds());
}

/// A call in, hung up by the agent, and a call out, hung up by the customer.
async fn calls_both_ways(transport: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path()).await;
    let mut keys = format!("transport = \"{transport}\"\n");
    if transport == "tls" {
        keys.push_str(&format!("tls_name = \"provider.test\"\ntls_ca = \"{certificate}\"\n"));
    }
    let mut cheling = Cheling::start_with(&keys).await;
    let own_tls = SocketAddr::new(cheling.sip().ip(), cheling.ports.port(8));
    if transport == "tls" {
        cheling.stop().await;
        cheling.environment.push(("CHELING_SIP__TLS", own_tls.to_string()));
        cheling.run().await;
    }

    let address = cheling.gateway_address();
    let network = SocketAddr::new(GATEWAY_IP.into(), cheling.ports.port(7));
    let mut listen = vec![format!("udp:{address}")];
    let mut more = String::new();
    let target = match transport {
        "udp" => format!("sip:{}", cheling.sip()),
        "tcp" => {
            listen.push(format!("tcp:{address}"));
            format!("sip:{};transport=tcp", cheling.sip())
        }
        _ => {
            listen.push(format!("tls:{address}"));
            more = format!(
                "enable_tls=yes\nloadmodule \"tls.so\"\nmodparam(\"tls\", \"certificate\", \"{certificate}\")\n\
                 modparam(\"tls\", \"private_key\", \"{key}\")\nmodparam(\"tls\", \"verify_certificate\", 0)\nmodparam(\"tls\", \"tls_method\", \"TLSv1.2+\")\n"
            );
            format!("sip:{own_tls};transport=tls")
        }
    };
    let config = provider(&listen, network, &target, &more);
    let mut kamailio = Kamailio::start(&config, address, cheling.folder()).await;
    let answer = |_: &Call| AnswerPlan::Answer {
        after: Duration::from_millis(200),
        sound: Sound::tone(CUSTOMER_HZ),
        talk: Some(Duration::from_secs(3)),
    };
    let customers = Gateway::start(network, address, answer).await.unwrap();
    let mut desk = cheling.desk("agent8001").await;
    let (phone, mut events) = cheling.phone("8001", Transport::Udp).await;

    let customer = customers.call_in("13812345678", DID, Sound::tone(CUSTOMER_HZ)).await.unwrap();
    let agent = incoming(&mut events).await;
    assert_eq!(agent.caller().user, "13812345678");
    agent.answer(Sound::tone(AGENT_HZ)).await;
    within("the answer", customer.answered()).await.unwrap();
    talk(&customer, &agent).await;
    agent.hang_up().await;
    within("the end", customer.ended()).await;
    recorded(&cheling, &mut desk).await;
    // Who is called takes the way that the INVITE came by (RFC 3261 §12.1.1).
    kamailio.says(&format!("routed BYE from 127.0.0.1 by {transport}")).await;

    let agent = phone.call(Dial::number("13987654321"), Sound::tone(AGENT_HZ)).await.unwrap();
    within("the answer", agent.answered()).await.unwrap();
    within("the agent hears", agent.hears(Duration::from_secs(2))).await.unwrap();
    assert_eq!(dominant_frequency_hz(&agent.heard()), Some(CUSTOMER_HZ));
    within("the customer hangs up", agent.ended()).await;
    recorded(&cheling, &mut desk).await;
    // Who calls takes the way back of the answer (§12.1.2).
    kamailio.says(&format!("new INVITE from 127.0.0.1 by {transport} to 13987654321")).await;
    kamailio.says(&format!("routed ACK from 127.0.0.1 by {transport}")).await;
    drop(kamailio);
    cheling.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_both_ways_through_kamailio_over_udp() {
    calls_both_ways("udp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_both_ways_through_kamailio_over_tcp() {
    calls_both_ways("tcp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_both_ways_through_kamailio_over_tls() {
    calls_both_ways("tls").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_full_or_gone_leaves_the_call_to_the_next_trunk() {
    let second = Ipv4Addr::new(127, 0, 0, 3);
    let port = cheling_tests::ports::Ports::claim();
    let backup = SocketAddr::new(second.into(), port.port(6));
    let more = format!("[[trunk]]\nname = \"backup\"\naddress = \"{backup}\"\n");
    let cheling = Cheling::start_with(&more).await;
    let address = cheling.gateway_address();
    let network = SocketAddr::new(GATEWAY_IP.into(), cheling.ports.port(7));
    let config = provider(&[format!("udp:{address}")], network, "sip:127.0.0.1:9", "");
    let kamailio = Kamailio::start(&config, address, cheling.folder()).await;
    let (taken, mut takes) = tokio::sync::mpsc::unbounded_channel();
    let answer = move |call: &Call| {
        taken.send(call.dialled().to_owned()).unwrap();
        AnswerPlan::Answer { after: Duration::ZERO, sound: Sound::tone(CUSTOMER_HZ), talk: None }
    };
    let _backup = Gateway::start(backup, cheling.sip(), answer).await.unwrap();
    let mut desk = cheling.desk("agent8001").await;
    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let agent = phone.call(Dial::number("13800000503"), Sound::tone(AGENT_HZ)).await.unwrap();
    within("the answer of the second trunk", agent.answered()).await.unwrap();
    within("sound", agent.hears(Duration::from_secs(2))).await.unwrap();
    agent.hang_up().await;
    let ended = desk.next_of("call.ended").await;
    assert_eq!(cheling.recording_of(&desk, ended.call_id()).await["verdict"], "ok");
    assert_eq!(takes.recv().await.as_deref(), Some("13800000503"));
    assert!(kamailio.said().contains("new INVITE from 127.0.0.1 by udp to 13800000503"));

    // Nobody at the address any more: the kernel says so at once.
    drop(kamailio);
    let agent = phone.call(Dial::number("13811110000"), Sound::tone(AGENT_HZ)).await.unwrap();
    within("the answer of the second trunk", agent.answered()).await.unwrap();
    assert_eq!(takes.recv().await.as_deref(), Some("13811110000"));
    agent.hang_up().await;
    desk.next_of("call.ended").await;
}
