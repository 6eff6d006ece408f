//! Whose recordings one may hear, and their bytes by range.

use crate::house::{audio_bytes, house};
use cheling_media::ogg_opus::OggOpusReader;
use serde_json::json;
use std::io::Cursor;
use std::sync::Arc;

/// A WAV of 16-bit stereo at 8 kHz: a tone left, half as loud right.
fn wav(frames: u32) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + frames * 4).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    for field in [1_u16, 2] {
        file.extend(field.to_le_bytes());
    }
    for field in [8000_u32, 32_000] {
        file.extend(field.to_le_bytes());
    }
    for field in [4_u16, 16] {
        file.extend(field.to_le_bytes());
    }
    file.extend(b"data");
    file.extend((frames * 4).to_le_bytes());
    for n in 0..frames {
        let sample = (f64::from(n) * 0.345).sin() * 8000.0;
        file.extend((sample as i16).to_le_bytes());
        file.extend((sample as i16 / 2).to_le_bytes());
    }
    file
}

#[tokio::test]
async fn nobody_hears_what_is_not_theirs_to_hear() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let recording = house.recorded(house.dealership, call).await;
    for (name, is_allowed) in
        [("a1", true), ("boss", true), ("qa", true), ("admin", true), ("a2", false), ("b1", false)]
    {
        let cookie = house.sign_in(name).await;
        let want = if is_allowed { 200 } else { 404 };
        for path in ["", "/audio", "/peaks"] {
            let answer = house.get(&cookie, &format!("/recordings/{recording}{path}")).await;
            assert_eq!(answer.status, want, "{name} {path}");
        }
        assert_eq!(house.get(&cookie, &format!("/calls/{call}")).await.status, want, "{name}");
        for list in ["/recordings", "/calls"] {
            let rows = house.get(&cookie, list).await.json();
            let rows = rows["items"].as_array().unwrap().len();
            assert_eq!(rows, usize::from(is_allowed), "{name} {list}");
        }
    }
    let path = format!("/api/v1/recordings/{recording}/audio");
    assert_eq!(house.send("GET", &path, &[], b"").await.status, 401);
    house.close().await;
}

#[tokio::test]
async fn audio_comes_by_range() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let recording = house.recorded(house.dealership, call).await;
    let cookie = house.sign_in("qa").await;
    let path = format!("/api/v1/recordings/{recording}/audio");
    let whole = house.send("GET", &path, &[("Cookie", &cookie)], b"").await;
    assert_eq!(whole.body, audio_bytes());
    assert_eq!(whole.headers["accept-ranges"], "bytes");
    assert_eq!(whole.headers["content-type"], "audio/wav");
    let etag = whole.headers["etag"].clone();
    let date = whole.headers["last-modified"].clone();
    let audio = audio_bytes();
    for (range, if_range, status, content_range, body) in [
        ("bytes=0-99", None, 206, "bytes 0-99/1000", &audio[..100]),
        ("bytes=990-", None, 206, "bytes 990-999/1000", &audio[990..]),
        ("bytes=-10", None, 206, "bytes 990-999/1000", &audio[990..]),
        ("bytes=0-", Some(etag.as_str()), 206, "bytes 0-999/1000", &audio[..]),
        ("bytes=5-6", Some(date.as_str()), 206, "bytes 5-6/1000", &audio[5..7]),
        ("bytes=5-6", Some("\"older\""), 200, "", &audio[..]),
        ("bytes=0-1,5-6", None, 200, "", &audio[..]),
    ] {
        let mut headers = vec![("Cookie", cookie.as_str()), ("Range", range)];
        headers.extend(if_range.map(|value| ("If-Range", value)));
        let answer = house.send("GET", &path, &headers, b"").await;
        assert_eq!(answer.status, status, "{range}");
        let got = answer.headers.get("content-range").map_or("", String::as_str);
        assert_eq!(got, content_range, "{range}");
        assert_eq!(answer.headers["content-length"], body.len().to_string(), "{range}");
        assert_eq!(answer.body, body, "{range}");
    }
    let headers = [("Cookie", cookie.as_str()), ("Range", "bytes=1000-")];
    let beyond = house.send("GET", &path, &headers, b"").await;
    assert_eq!((beyond.status, beyond.headers["content-range"].as_str()), (416, "bytes */1000"));
    let head = house.send("HEAD", &path, &[("Cookie", &cookie)], b"").await;
    assert_eq!((head.status, head.headers["content-length"].as_str()), (200, "1000"));
    assert!(head.body.is_empty());
    let headers = [("Cookie", cookie.as_str()), ("If-None-Match", etag.as_str())];
    assert_eq!(house.send("GET", &path, &headers, b"").await.status, 304);
    house.close().await;
}

#[tokio::test]
async fn a_wav_is_downloaded_as_opus_and_that_is_audited() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let recording = house.recorded(house.dealership, call).await;
    let file = house.folder.path().join(format!("recordings/2026/11/22/{recording}.wav"));
    // More than the encoder may be ahead of the client.
    std::fs::write(&file, wav(400_000)).unwrap();
    let cookie = house.sign_in("qa").await;
    let path = format!("/api/v1/recordings/{recording}/audio?format=opus&download=1");
    let signed_in = [("Cookie", cookie.as_str()), ("Range", "bytes=5-6")];

    let head = house.send("HEAD", &path, &signed_in, b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let opus = house.send("GET", &path, &signed_in, b"").await;
    assert_eq!(opus.status, 200);
    assert_eq!(opus.headers["content-type"], "audio/ogg");
    assert_eq!(opus.headers["accept-ranges"], "none");
    let disposition = &opus.headers["content-disposition"];
    assert!(disposition.contains("-8001.opus\""), "{disposition}");
    let mut reader = OggOpusReader::new(Cursor::new(opus.body), 8000).unwrap();
    let (mut samples, mut frames, mut squares) = (Vec::new(), 0, [0.0, 0.0]);
    while reader.read(&mut samples).unwrap() {
        for frame in samples.chunks_exact(2) {
            frames += 1;
            for lane in 0..2 {
                squares[lane] += f64::from(frame[lane]) * f64::from(frame[lane]);
            }
        }
        samples.clear();
    }
    assert_eq!(frames, 400_000);
    assert!(squares[0] > 2.0 * squares[1] && squares[1] > 0.0, "{squares:?}");

    let etag = opus.headers["etag"].as_str();
    let headers = [("Cookie", cookie.as_str()), ("If-None-Match", etag)];
    assert_eq!(house.send("GET", &path, &headers, b"").await.status, 304);
    let detail = house.get(&cookie, &format!("/recordings/{recording}")).await.json();
    let actions: Vec<_> =
        detail["listeners"].as_array().unwrap().iter().map(|line| &line["action"]).collect();
    assert_eq!(actions, ["download"]);
    house.close().await;
}

#[tokio::test]
async fn only_some_recordings_are_encoded_at_a_time() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let recording = house.recorded(house.dealership, call).await;
    let cookie = house.sign_in("qa").await;
    let path = format!("/recordings/{recording}/audio?format=opus");
    let turns = Arc::clone(&house.app.conversions).acquire_many_owned(2).await.unwrap();
    let busy = house.get(&cookie, &path).await;
    assert_eq!((busy.status, busy.code().as_str()), (503, "unavailable"));
    assert_eq!(busy.headers["retry-after"], "10");
    drop(turns);
    // No WAV: it fails, is not audited, and its turn is free again.
    for _ in 0..3 {
        assert_eq!(house.get(&cookie, &path).await.status, 500);
    }
    let detail = house.get(&cookie, &format!("/recordings/{recording}")).await.json();
    assert_eq!(detail["listeners"], json!([]));
    let lane = &detail["quality"][0];
    assert_eq!((&lane["mos"], &lane["round_trip_us"]), (&json!(null), &json!(null)));
    assert_eq!(lane["concealed_ms"], 0);
    house.close().await;
}

#[tokio::test]
async fn one_play_is_one_line_of_the_audit_log_and_each_download_another() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let recording = house.recorded(house.dealership, call).await;
    let cookie = house.sign_in("qa").await;
    let path = format!("/api/v1/recordings/{recording}/audio");
    for range in ["bytes=0-", "bytes=500-", "bytes=100-200"] {
        let headers = [("Cookie", cookie.as_str()), ("Range", range)];
        house.send("GET", &path, &headers, b"").await;
    }
    house.send("HEAD", &path, &[("Cookie", &cookie)], b"").await;
    let download =
        house.send("GET", &format!("{path}?download=1"), &[("Cookie", &cookie)], b"").await;
    let disposition = &download.headers["content-disposition"];
    assert!(disposition.starts_with("attachment; filename=\"20"), "{disposition}");
    assert!(disposition.contains("-8001.wav\""), "{disposition}");
    let detail = house.get(&cookie, &format!("/recordings/{recording}")).await.json();
    let actions: Vec<_> = detail["listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["user_name"].as_str().unwrap()))
        .collect();
    assert_eq!(actions, [("download", "QA"), ("play", "QA")]);
    house.close().await;
}

#[tokio::test]
async fn a_recording_is_attached_by_hand_and_detached() {
    let house = house().await;
    let call = house.inbound(house.dealership, "13812345678", "8001").await;
    let recording = house.recorded(house.dealership, call).await;
    let cookie = house.sign_in("a1").await;
    let draft = json!({ "type": "service_3dc", "due_on": "2026-11-22", "subject": "回访" });
    let task = house.call("POST", &cookie, "/follow-ups", draft).await.json();
    let path = format!("/recordings/{recording}/follow-up");
    let body = json!({ "follow_up_id": task["follow_up_id"] });
    let attached = house.call("PUT", &cookie, &path, body).await;
    assert_eq!(attached.status, 200, "{attached:?}");
    assert_eq!(attached.json()["attach_method"], "manual");
    assert_eq!(attached.json()["follow_up_type"], "service_3dc");
    assert_eq!(attached.json()["call"]["follow_up_id"], task["follow_up_id"]);
    let path2 = format!("/follow-ups/{}", task["follow_up_id"].as_str().unwrap());
    let shown = house.get(&cookie, &path2).await.json();
    assert_eq!(shown["recording_ids"], json!([recording.to_string()]));
    let body = json!({ "follow_up_id": null });
    let detached = house.call("PUT", &cookie, &path, body).await.json();
    assert_eq!(detached["attach_method"], "");
    let rows = house.get(&cookie, "/recordings?attached=false").await.json();
    assert_eq!(rows["items"].as_array().unwrap().len(), 1);
    let body = json!({ "follow_up_id": "0199d7a4-0000-7000-8000-000000000001" });
    assert_eq!(house.call("PUT", &cookie, &path, body).await.status, 422);
    house.close().await;
}
