use super::*;

fn media() -> Media {
    Media::new(
        ["192.0.2.1:30000".parse().unwrap(), "192.0.2.1:30002".parse().unwrap()],
        [9, 11],
        Random::new(&[1; 32], 1),
    )
}

fn sdp(address: &str, port: u16, formats: &str, extra: &str) -> Sdp {
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {formats}\r\na=rtpmap:101 telephone-event/8000\r\n{extra}"
    );
    Sdp::parse(body.as_bytes()).unwrap()
}

fn taps(changes: &[Change]) -> Vec<&TapKind> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::Tap(tap) => Some(tap),
            Change::Point(..) | Change::Protect(..) => None,
        })
        .collect()
}

#[test]
fn each_side_sees_our_port_and_the_version_moves_only_with_the_content() {
    let mut media = media();
    let theirs = sdp("10.0.0.1", 4000, "8 101", "");
    let first = media.pass_offer(Lane::Agent, &theirs);
    assert_eq!(first.audio().unwrap().rtp, Some("192.0.2.1:30002".parse().unwrap()));
    assert_eq!(first.version(), 1);
    assert_eq!(media.pass_offer(Lane::Agent, &theirs).version(), 1);
    // Their move to another port is no change to the side that only sees ours.
    assert_eq!(media.pass_offer(Lane::Agent, &sdp("10.0.0.1", 4002, "8 101", "")).version(), 1);
    let held = sdp("10.0.0.1", 4000, "8 101", "a=sendonly\r\n");
    assert_eq!(media.pass_offer(Lane::Agent, &held).version(), 2);
    assert_eq!(media.pass_offer(Lane::Customer, &held).version(), 1);
}

#[test]
fn an_agreement_points_the_relay_and_names_the_formats_once() {
    let mut media = media();
    let offer = sdp("10.0.0.1", 4000, "8 0 101", "");
    let answer = sdp("10.0.0.2", 5000, "8", "a=rtcp-mux\r\n");
    let changes = media.agree(Lane::Customer, &offer, &answer);
    assert_eq!(changes.len(), 4);
    assert!(matches!(changes[0], Change::Point(Lane::Customer, Some(r)) if r.rtp.port() == 4000));
    assert!(matches!(changes[1], Change::Point(Lane::Agent, Some(r)) if r.rtp == r.rtcp));
    let Change::Tap(TapKind::Formats { lane: Lane::Customer, formats, .. }) = &changes[2] else {
        panic!("{changes:?}");
    };
    let names: Vec<_> = formats.iter().map(|f| f.encoding.as_str()).collect();
    assert_eq!(names, ["PCMA", "PCMU", "TELEPHONE-EVENT"]);
    assert!(media.agree(Lane::Customer, &offer, &answer).is_empty());
}

#[test]
fn payload_types_are_read_as_the_receiver_numbered_them() {
    let receiver = sdp("10.0.0.1", 1, "8 96", "a=rtpmap:96 opus/48000/2\r\n");
    let sender =
        sdp("10.0.0.2", 1, "8 96 97", "a=rtpmap:96 G722/8000\r\na=rtpmap:97 iLBC/8000\r\n");
    let read: Vec<_> =
        formats(&receiver, &sender).into_iter().map(|f| (f.payload_type, f.encoding)).collect();
    assert_eq!(read, [(8, "PCMA".into()), (96, "OPUS".into()), (97, "ILBC".into())]);
}

#[test]
fn a_description_is_found_among_other_parts() {
    let body = "--b\r\nContent-Type: application/isup\r\n\r\n\x01\r\n--b\r\n\
         Content-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\n\
         c=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n\r\n--b--\r\n";
    let without = "--b\r\nContent-Type: text/plain\r\n\r\nhello\r\n--b--\r\n";
    for (content_type, body, want) in [
        ("multipart/mixed;boundary=b", body, Ok(Some(4000))),
        ("multipart/mixed;boundary=b", without, Err(415)),
        ("multipart/mixed", body, Err(415)),
        ("text/plain", body, Err(415)),
        ("multipart/mixed;boundary=b", "", Ok(None)),
    ] {
        let mut headers = Headers::default();
        headers.push(Name::ContentType, content_type);
        let read = read_body(&headers, &Bytes::from_static(body.as_bytes()));
        let port = read.map(|sdp| sdp.and_then(|sdp| sdp.audio()).map(|audio| audio.port));
        assert_eq!(port.map_err(|err| err.status()), want, "{content_type}");
    }
}

#[test]
fn hold_and_resume_are_told_in_every_style() {
    let plain = sdp("10.0.0.2", 5000, "8", "");
    for (style, address) in
        [("a=sendonly\r\n", "10.0.0.1"), ("a=inactive\r\n", "10.0.0.1"), ("", "0.0.0.0")]
    {
        let mut media = media();
        media.agree(Lane::Agent, &sdp("10.0.0.1", 4000, "8", ""), &plain);
        let held = sdp(address, 4000, "8", style);
        let answer = sdp("10.0.0.2", 5000, "8", "a=recvonly\r\n");
        let changes = media.agree(Lane::Agent, &held, &answer);
        assert_eq!(taps(&changes), [&TapKind::Held { by: Lane::Agent }], "{style}{address}");
        assert_eq!(changes.contains(&Change::Point(Lane::Agent, None)), address == "0.0.0.0");
        assert!(taps(&media.agree(Lane::Agent, &held, &answer)).is_empty());
        let changes = media.agree(Lane::Agent, &sdp("10.0.0.1", 4000, "8", ""), &plain);
        assert_eq!(taps(&changes), [&TapKind::Resumed { by: Lane::Agent }]);
    }
}

#[test]
fn the_second_leg_is_offered_what_the_first_chose_first() {
    let mut media = media();
    let chosen = sdp("10.0.0.2", 5000, "13 0 8 101", "");
    let offer = media.narrow_offer(Lane::Customer, &chosen);
    let numbers: Vec<_> = offer.audio().unwrap().formats.iter().map(|f| f.payload_type).collect();
    assert_eq!(numbers, [0, 101]);
}
