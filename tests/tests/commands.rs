//! The command line as scripts use it: what it does, and what its exit code says.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddrV4;

use cheling_media::rtp::{RtpHeader, SequenceNumber, Ssrc, Timestamp};
use cheling_phone::{Law, Sound, render};
use cheling_tests::cheling::Cheling;
use cheling_tests::pcap::Capture;
use cheling_tests::recording::Recording;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text.trim()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_becomes_one_recording_however_often_it_is_imported() {
    let cheling = Cheling::idle().await;
    let path = cheling.folder().join("call.pcap");
    captured_call().write(&path);
    for _ in 0..2 {
        let said = cheling.must(&["import-pcap", path.to_str().unwrap(), "--json"], "").await;
        assert_eq!(json(&said)[0]["answered_calls"], 1, "{said}");
    }
    let list = json(&cheling.must(&["recording", "list", "--json"], "").await);
    let rows = list.as_array().unwrap();
    assert_eq!(rows.len(), 1, "{list}");
    assert_eq!(rows[0]["verdict"], "ok");
    let file = cheling.folder().join("data/recordings").join(rows[0]["path"].as_str().unwrap());
    let recording = Recording::read(&std::fs::read(&file).unwrap());
    assert!((recording.seconds() - 3.0).abs() < 0.1, "{}", recording.seconds());
    // Lost packets leave silence where they were; what comes after them does not move.
    let lanes = [recording.seconds_of_tone(0, 500.0), recording.seconds_of_tone(0, 700.0)];
    let (caller, called) = if lanes[0] > lanes[1] { (0, 1) } else { (1, 0) };
    assert!((recording.seconds_of_tone(caller, 500.0) - 2.5).abs() < 0.2, "{lanes:?}");
    assert!((recording.seconds_of_tone(called, 700.0) - 3.0).abs() < 0.2, "{lanes:?}");
    let middle = &recording.lanes[caller][11_000..13_000];
    assert!(cheling_phone::level_dbfs(middle) < -60.0);
    cheling.check().await;

    // What `check` is for: a file that is gone has a name and a failing exit code.
    std::fs::remove_file(&file).unwrap();
    let output = cheling.command(&["check", "--json"], "").await;
    assert_eq!(output.status.code(), Some(1));
    let found = json(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(found["failures"].as_array().unwrap().len(), 1, "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_recordings_become_opus_and_a_dealership_has_its_own_format() {
    let cheling = Cheling::idle().await;
    let path = cheling.folder().join("call.pcap");
    captured_at(1_700_000_000_000_000).write(&path);
    cheling.must(&["import-pcap", path.to_str().unwrap()], "").await;
    let listed = async || {
        let list = json(&cheling.must(&["recording", "list", "--json"], "").await);
        let row = &list.as_array().unwrap()[0];
        let path = row["path"].as_str().unwrap().to_owned();
        (cheling.folder().join("data/recordings").join(&path), path)
    };
    let (wav, _) = listed().await;
    // Far too young, then old enough.
    let report = cheling.must(&["recording", "convert", "--older-than", "36500d", "--json"], "");
    assert_eq!(json(&report.await)["converted"], 0);
    let report = cheling.must(&["recording", "convert", "--older-than", "0d", "--json"], "").await;
    assert_eq!(json(&report)["converted"], 1);
    let (file, name) = listed().await;
    assert!(name.ends_with(".opus") && file.is_file() && !wav.exists(), "{name}");
    assert!(file.with_extension("peaks").is_file());
    cheling.check().await;
    let wrong = cheling.command(&["recording", "convert", "--older-than", "soon"], "").await;
    assert_eq!(wrong.status.code(), Some(2));

    assert_eq!(cheling.must(&["recording", "format"], "").await.trim(), "wav (the default)");
    let said = cheling.must(&["recording", "format", "ogg_opus"], "").await;
    assert_eq!(said.trim(), "ogg_opus");
    let wrong = cheling.command(&["recording", "format", "mp3"], "").await;
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("not wav, ogg_opus or default"));
    let other = cheling.folder().join("other.pcap");
    captured_at(1_700_100_000_000_000).write(&other);
    cheling.must(&["import-pcap", other.to_str().unwrap()], "").await;
    let (file, name) = listed().await;
    assert!(name.ends_with(".opus") && file.is_file(), "{name}");
    cheling.check().await;
}

/// Three seconds of talk; of the caller's, the packets from 1.25 s to 1.75 s are lost.
fn captured_call() -> Capture {
    captured_at(1_795_300_000_000_000)
}

/// The same, begun `start` microseconds after 1970.
fn captured_at(start: u64) -> Capture {
    let caller: SocketAddrV4 = "10.1.0.1:5060".parse().unwrap();
    let called: SocketAddrV4 = "10.1.0.2:5060".parse().unwrap();
    let caller_rtp: SocketAddrV4 = "10.1.0.1:4000".parse().unwrap();
    let called_rtp: SocketAddrV4 = "10.1.0.2:4002".parse().unwrap();
    let headers = |tag: &str, sequence: &str| {
        format!(
            "Via: SIP/2.0/UDP 10.1.0.1:5060;branch=z9hG4bK{}\r\nFrom: <sip:13812345678@10.1.0.1>;tag=a\r\n\
             To: <sip:58998000@10.1.0.2>{tag}\r\nCall-ID: {start}@10.1.0.1\r\nCSeq: {sequence}\r\n",
            sequence.replace(' ', "")
        )
    };
    let description = |rtp: SocketAddrV4| {
        let (ip, port) = (rtp.ip(), rtp.port());
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
        )
    };
    let with_body = |start_line: &str, head: String, body: String| {
        format!(
            "{start_line}\r\n{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let bare =
        |start_line: &str, head: String| format!("{start_line}\r\n{head}Content-Length: 0\r\n\r\n");
    let uri = "sip:58998000@10.1.0.2 SIP/2.0";
    let mut capture = Capture::default();
    let mut say = |at_us: u64, from_caller: bool, text: String| {
        let (from, to) = if from_caller { (caller, called) } else { (called, caller) };
        capture.datagram(start + at_us, from, to, text.as_bytes());
    };
    let invite =
        with_body(&format!("INVITE {uri}"), headers("", "1 INVITE"), description(caller_rtp));
    say(0, true, invite);
    say(1_000, false, bare("SIP/2.0 180 Ringing", headers(";tag=b", "1 INVITE")));
    let ok = with_body("SIP/2.0 200 OK", headers(";tag=b", "1 INVITE"), description(called_rtp));
    say(2_000_000, false, ok);
    say(2_001_000, true, bare(&format!("ACK {uri}"), headers(";tag=b", "1 ACK")));
    say(5_002_000, true, bare(&format!("BYE {uri}"), headers(";tag=b", "2 BYE")));
    say(5_003_000, false, bare("SIP/2.0 200 OK", headers(";tag=b", "2 BYE")));

    for (from, to, hz, ssrc) in
        [(caller_rtp, called_rtp, 500.0, 1), (called_rtp, caller_rtp, 700.0, 2)]
    {
        let mut pcm = vec![0; 3 * 8000];
        render(&Sound::tone(hz), &mut pcm);
        for (index, frame) in pcm.chunks(160).enumerate() {
            let at_us = 20_000 * index as u64;
            if ssrc == 1 && (1_250_000..1_750_000).contains(&at_us) {
                continue;
            }
            let (mut payload, mut packet) = (Vec::new(), Vec::new());
            Law::A.encode(frame, &mut payload);
            let header = RtpHeader {
                payload_type: 8,
                marker: index == 0,
                sequence_number: SequenceNumber(65_500_u16.wrapping_add(index as u16)),
                timestamp: Timestamp(4_294_960_000_u32.wrapping_add(160 * index as u32)),
                ssrc: Ssrc(ssrc),
            };
            header.write(&payload, &mut packet).unwrap();
            capture.datagram(start + 2_002_000 + at_us, from, to, &packet);
        }
    }
    capture
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_row_in_the_middle_is_named_and_the_good_ones_are_kept() {
    let cheling = Cheling::idle().await;
    let path = cheling.folder().join("bad.csv");
    std::fs::write(&path, "姓名,电话\n张三,13800000001\n李四,12\n王五,13800000002\n").unwrap();
    let import = ["customer", "import", path.to_str().unwrap()];
    let output = cheling.command(&import, "").await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("row 3") && said.contains("2 new"), "{said}");
    // The same file again changes nothing.
    let output = cheling.command(&import, "").await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("0 new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_explained_with_exit_code_2() {
    let cheling = Cheling::idle().await;
    cheling.must(&["config", "check"], "").await;
    let shown = cheling.must(&["config", "show"], "").await;
    assert!(shown.contains("data_dir"), "{shown}");
    let path = cheling.folder().join("cheling.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    for (wrong, named) in [
        (good.replace("[sip]", "[sip]\nudpp = 1"), "udpp"),
        (good.replace("threads = 1", "threads = \"many\""), "threads"),
        (good.replace("first_port = ", "first_port = 9"), "first_port"),
    ] {
        std::fs::write(&path, wrong).unwrap();
        let output = cheling.command(&["run"], "").await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{named}: {said}");
        assert!(said.contains(named), "{said}");
    }
}
