//! What strangers with scanners learn: sipsak and sipvicious as everybody has them, and the three steps
//! of sipvicious (who speaks SIP here, which extensions are there, which password fits) on the wire as
//! it sends them, under its own name and under an honest one.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Output;
use std::time::Duration;

use cheling_phone::{Dial, Sound, Transport};
use cheling_sip::digest::{Algorithm, Challenge, ha1};
use cheling_sip::{Message, Response};
use cheling_tests::cheling::{Cheling, EXTENSIONS, incoming, secret};
use cheling_tests::{http, within};
use tokio::process::Command;

async fn sipsak(arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new("sipsak");
    let output = command.args(arguments).kill_on_drop(true).output();
    let output =
        within("sipsak", output).await.expect("sipsak; scripts/bootstrap test installs it");
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipsak_is_answered_registers_and_cannot_guess() {
    let cheling = Cheling::start().await;
    let server = format!("sip:{}", cheling.sip());
    for transport in ["udp", "tcp"] {
        let (output, said) = sipsak(&["-vv", "-E", transport, "-s", &server]).await;
        assert!(output.status.success() && said.contains("SIP/2.0 200"), "{transport}: {said}");
    }
    let account = format!("sip:8001@{}", cheling.sip());
    let contact = format!("sip:8001@127.0.0.1:{}", cheling.ports.port(10));
    let register = async |password: &str| {
        sipsak(&[
            "-v", "-U", "-s", &account, "-u", "8001", "-a", password, "-x", "120", "-C", &contact,
        ])
        .await
    };
    let right = secret("8001");
    let (output, said) = register("guessed").await;
    assert!(!output.status.success() && said.contains("SIP/2.0 403"), "{said}");
    let (output, said) = register(&right).await;
    assert!(output.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_and_rubbish_from_sipsak_disturb_nobody() {
    let cheling = Cheling::start().await;
    let (phone, _events) = cheling.phone("8001", Transport::Udp).await;
    let (_other, mut events) = cheling.phone("8002", Transport::Udp).await;
    let server = format!("sip:8001@{}", cheling.sip());
    let (output, said) = sipsak(&["-F", "-e", "2000", "-s", &server]).await;
    assert!(output.status.success(), "{said}");
    // Spoils one character more of its request each time; what it makes of the answers is its own.
    let spoil = ["-R", "-t", "30", "-s", server.as_str()];
    let (rubbish, call) = tokio::join!(sipsak(&spoil), async {
        let call = phone.call(Dial::number("8002"), Sound::tone(440.0)).await.unwrap();
        let agent = incoming(&mut events).await;
        agent.answer(Sound::tone(620.0)).await;
        within("the answer", call.answered()).await.unwrap();
        within("sound", call.hears(Duration::from_secs(1))).await.unwrap();
        call
    });
    assert!(rubbish.0.status.code().is_some());
    call.hang_up().await;
    let (output, said) = sipsak(&["-s", &server]).await;
    assert!(output.status.success(), "{said}");
}

/// A tool of sipvicious; what it says of what it has found.
async fn sipvicious(tool: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(tool);
    // It keeps a diary of its sessions in the home folder.
    command.env("HOME", folder.path()).current_dir(folder.path());
    let output = command.args(arguments).kill_on_drop(true).output();
    let output =
        within(tool, output).await.expect("sipvicious; scripts/bootstrap test installs it");
    assert!(output.status.success(), "{tool}: {output:?}");
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipvicious_finds_a_server_that_answers_everybody() {
    let willing = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    willing.set_read_timeout(Some(cheling_tests::DEADLINE)).unwrap();
    let port = willing.local_addr().unwrap().port();
    let answering = tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 4096];
        let (length, from) = willing.recv_from(&mut buffer).unwrap();
        let Ok(Message::Request(request)) = Message::parse(&buffer[..length]) else { return };
        let answer = Response::to(&request, 200, "", Some("w"));
        willing.send_to(&answer.to_bytes(), from).unwrap();
    });
    let said = sipvicious("svmap", &["-p", &port.to_string(), "127.0.0.1"]).await;
    answering.await.unwrap();
    assert!(said.contains(&format!("127.0.0.1:{port}")), "{said}");
}

/// One tool against a dealership of its own, for it comes from the address that our phones have, too:
/// whoever has proved a password there may call himself what he likes.
async fn finds_nothing(tool: &str, arguments: &[&str]) {
    let mut cheling = Cheling::start().await;
    let right = secret("8001");
    let words = cheling.folder().join("words.txt");
    std::fs::write(&words, format!("1234\n8001\n{right}\n")).unwrap();
    let (port, words) = (cheling.sip().port().to_string(), words.to_str().unwrap().to_owned());
    let mut all: Vec<&str> = vec!["-p", &port];
    all.extend(arguments.iter().map(|it| if *it == "WORDS" { words.as_str() } else { it }));
    all.push("127.0.0.1");
    let said = sipvicious(tool, &all).await;
    let known = [port.as_str(), right.as_str(), "8001"];
    assert!(!known.iter().any(|it| said.contains(it)), "{tool} {arguments:?}: {said}");
    assert_eq!(counter(&cheling, "cheling_sip_shut_out_sources_total").await, 1, "{tool}");
    let log = cheling.process().said();
    assert_eq!(log.lines().filter(|line| line.contains("shut out")).count(), 1, "{tool}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipvicious_finds_no_server() {
    finds_nothing("svmap", &[]).await;
    finds_nothing("svmap", &["-m", "INVITE"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipvicious_finds_no_extension() {
    for method in ["REGISTER", "INVITE", "OPTIONS"] {
        finds_nothing("svwar", &["-m", method, "-e", "8000-8010", "--force"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sipvicious_finds_no_password() {
    finds_nothing("svcrack", &["-u", "8001", "-d", "WORDS"]).await;
}

/// sipvicious as it stands on the wire.
struct Scanner {
    socket: UdpSocket,
    /// Asked after each probe from an honest address: once it is answered, so was the probe.
    fence: UdpSocket,
    target: SocketAddr,
    /// What it calls itself.
    agent: &'static str,
    sent: u32,
}

impl Scanner {
    /// From an address of its own, so that only it is shut out.
    fn new(target: SocketAddr, agent: &'static str) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 66), 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let fence = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        fence.set_read_timeout(Some(cheling_tests::DEADLINE)).unwrap();
        Self { socket, fence, target, agent, sent: 0 }
    }

    /// Sends one probe; the answers to it, without what must differ between any two.
    fn probe(&mut self, method: &str, extension: &str, more: &str) -> Vec<String> {
        let answers = self.ask(method, extension, more);
        answers.iter().map(|answer| plain(answer, extension)).collect()
    }

    /// The same, with the challenge as it came.
    fn challenge(&mut self, extension: &str) -> Option<Challenge> {
        let answers = self.ask("REGISTER", extension, "");
        let line =
            answers.first()?.lines().find_map(|line| line.strip_prefix("WWW-Authenticate: "))?;
        Challenge::parse(line)
    }

    /// The answers as they came. What comes again of earlier ones is passed over: a scanner
    /// acknowledges nothing.
    fn ask(&mut self, method: &str, extension: &str, more: &str) -> Vec<String> {
        self.sent += 1;
        let (n, from, target) = (self.sent, self.socket.local_addr().unwrap(), self.target);
        let agent = self.agent;
        let host = target.ip();
        let uri = match method {
            "REGISTER" => format!("sip:{host}"),
            _ => format!("sip:{extension}@{host}"),
        };
        let request = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK-{n}7712;rport\r\n\
             Content-Length: 0\r\nFrom: \"{extension}\"<sip:{extension}@{host}>; tag=3831{n:06}\r\n\
             Accept: application/sdp\r\nUser-Agent: {agent}\r\n\
             To: \"{extension}\"<sip:{extension}@{host}>\r\nContact: sip:{extension}@{from}\r\n\
             CSeq: 1 {method}\r\nCall-ID: 7{n:09}\r\n{more}Max-Forwards: 70\r\n\r\n"
        );
        self.socket.send_to(request.as_bytes(), target).unwrap();
        let from = self.fence.local_addr().unwrap();
        let fence = format!(
            "OPTIONS sip:{target} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKf{n};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:t@{from}>;tag=f{n}\r\nTo: <sip:{target}>\r\n\
             Call-ID: f{n}@{from}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        self.fence.send_to(fence.as_bytes(), target).unwrap();
        self.fence.recv(&mut [0; 4096]).expect("the fence is answered");
        let mut answers = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.contains(&format!("Call-ID: 7{n:09}")) {
                answers.push(text);
            }
        }
        answers
    }
}

/// An answer without tags, nonce, numbers of the probe and the extension's own name.
fn plain(text: &str, extension: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        match name {
            "Via" | "From" | "Call-ID" | "To" => lines.push(name.to_owned()),
            "WWW-Authenticate" | "Proxy-Authenticate" => {
                let fields = value.split(',').filter(|field| !field.contains("nonce="));
                lines.push(format!("{name}:{}", fields.collect::<Vec<_>>().join(",")));
            }
            _ => lines.push(line.replace(extension, "EXTENSION")),
        }
    }
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scanner_cannot_tell_which_extensions_are_there() {
    let cheling = Cheling::start().await;
    // One is registered, one is not, one does not exist.
    let (_phone, _events) = cheling.phone(EXTENSIONS[0], Transport::Udp).await;
    let mut scanner = Scanner::new(cheling.sip(), "Yealink SIP-T31P");
    let guess = |challenge: &Challenge, extension: &str| {
        let key = ha1(Algorithm::Md5, extension, &challenge.realm, "123456");
        let uri = format!("sip:{}", cheling.sip().ip());
        format!(
            "Authorization: {}\r\n",
            challenge.answer(extension, &key, "REGISTER", &uri, "c", 1)
        )
    };
    for method in ["OPTIONS", "REGISTER", "INVITE", "SUBSCRIBE", "MESSAGE"] {
        let answers: Vec<_> = [EXTENSIONS[0], EXTENSIONS[1], "8999"]
            .map(|extension| scanner.probe(method, extension, ""))
            .into();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{method}: {answers:#?}");
        assert_eq!(answers[0].len(), 1, "{method}: {answers:#?}");
    }
    let mut guessed = Vec::new();
    for extension in [EXTENSIONS[0], EXTENSIONS[1], "8999"] {
        let Some(challenge) = scanner.challenge(extension) else { continue };
        let more = guess(&challenge, extension);
        guessed.push(scanner.probe("REGISTER", extension, &more));
    }
    assert_eq!(guessed.len(), 3);
    assert!(guessed[0][0].starts_with("SIP/2.0 403"), "{guessed:#?}");
    assert!(guessed.iter().all(|answer| *answer == guessed[0]), "{guessed:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_passwords_finds_nothing_and_costs_others_nothing() {
    let cheling = Cheling::start().await;
    let mut scanner = Scanner::new(cheling.sip(), "Yealink SIP-T31P");
    let right = secret("8001");
    let guesses: Vec<String> = (0..40).map(|n| format!("{}", 8000 + n)).collect();
    let mut refused = 0;
    // The right one comes last: by then nobody at this address is heard any more.
    for password in guesses.iter().chain(std::iter::once(&right)) {
        let Some(challenge) = scanner.challenge("8001") else { continue };
        let key = ha1(Algorithm::Md5, "8001", &challenge.realm, password);
        let uri = format!("sip:{}", cheling.sip().ip());
        let answer = challenge.answer("8001", &key, "REGISTER", &uri, "c", 1);
        let more = format!("Authorization: {answer}\r\n");
        for answer in scanner.probe("REGISTER", "8001", &more) {
            assert!(answer.starts_with("SIP/2.0 403"), "{password}:\n{answer}");
            refused += 1;
        }
    }
    assert!((10..guesses.len()).contains(&refused), "{refused} guesses were judged");
    assert!(scanner.challenge("8001").is_none(), "it is shut out");
    let (_phone, _events) = cheling.phone("8001", Transport::Udp).await;
}

/// The value of a counter without labels.
async fn counter(cheling: &Cheling, name: &str) -> u64 {
    let answer = http::request(cheling.web(), "GET", "/metrics", &[], b"").await.unwrap();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scanner_is_shut_out_counted_and_logged_once() {
    let mut cheling = Cheling::start().await;
    let (phone, _events) = cheling.phone(EXTENSIONS[0], Transport::Udp).await;
    assert_eq!(counter(&cheling, "cheling_sip_shut_out_sources_total").await, 0);
    let mut scanner = Scanner::new(cheling.sip(), "friendly-scanner");
    let numbers: Vec<String> = (8000..8050).map(|number| number.to_string()).collect();
    let mut answers = 0;
    for number in &numbers {
        answers += scanner.probe("REGISTER", number, "").len();
    }
    assert_eq!(answers, 0, "not a word to who calls himself a scanner");
    assert_eq!(counter(&cheling, "cheling_sip_shut_out_sources_total").await, 1);
    // The first was found out, the others were not even read.
    assert_eq!(counter(&cheling, "cheling_sip_kept_out_total").await, 49);
    let said = cheling.process().said();
    let told: Vec<&str> = said.lines().filter(|line| line.contains("shut out")).collect();
    assert!(matches!(told[..], [line] if line.contains("127.0.0.66")), "{told:#?}");
    // Its neighbours are heard as before.
    within("a registration", phone.register()).await.unwrap();
    let (_other, _events) = cheling.phone(EXTENSIONS[1], Transport::Udp).await;
}
