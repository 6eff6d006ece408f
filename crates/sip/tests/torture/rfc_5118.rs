//! RFC 5118: torture test messages with IPv6 addresses.

use cheling_sip::{Message, Uri};

use crate::judge::*;

#[test]
fn section_4_addresses_of_ipv6_are_read_as_it_says() {
    check(&[
        (
            "4.1 in brackets",
            request(
                "REGISTER sip:[2001:db8::10] SIP/2.0",
                "Via: SIP/2.0/UDP [2001:db8::9:1];branch=z9hG4bKas3\nContact: \"Caller\" <sip:caller@[2001:db8::1]>",
            ),
            Valid,
        ),
        ("4.2 without brackets", request("REGISTER sip:2001:db8::10 SIP/2.0", ""), Refused(400)),
        (
            "4.3 a port that is part of the address",
            request("REGISTER sip:[2001:db8::10:5070] SIP/2.0", ""),
            Valid,
        ),
        (
            "4.4 a port behind the bracket",
            request("REGISTER sip:[2001:db8::10]:5070 SIP/2.0", ""),
            Valid,
        ),
        (
            "4.5 received in brackets",
            request(
                "BYE sip:wang@dealer.example SIP/2.0",
                "Via: SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111",
            ),
            Valid,
        ),
        (
            "4.5 received without",
            request(
                "BYE sip:wang@dealer.example SIP/2.0",
                "Via: SIP/2.0/UDP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bKas3-111",
            ),
            Valid,
        ),
        (
            "4.6 in a description",
            request(
                INVITE,
                "Content-Type: application/sdp\n\nv=0\r\no=a 1 1 IN IP6 2001:db8::20\r\ns=-\r\nc=IN IP6 2001:db8::20\r\nt=0 0\r\nm=audio 42334 RTP/AVP 0\r\n",
            ),
            Valid,
        ),
        (
            "4.7 both kinds in one message",
            request(
                INVITE,
                "Via: SIP/2.0/UDP [2001:db8::9:1]:6050;branch=z9hG4bK1\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK2\nRecord-Route: <sip:[2001:db8::9:255];lr>, <sip:192.0.2.7;lr>",
            ),
            Valid,
        ),
        (
            "4.9 IPv4 addresses mapped into it",
            request(
                INVITE,
                "Via: SIP/2.0/UDP [::ffff:192.0.2.10]:19823;branch=z9hG4bKbh19\nContact: \"T. desk phone\" <sip:ted@[::ffff:192.0.2.2]>",
            ),
            Valid,
        ),
        (
            "4.10 three colons",
            request("OPTIONS sip:user@[2001:db8:::192.0.2.1] SIP/2.0", ""),
            Valid,
        ),
    ]);
    let port = |text: &str| Uri::parse(text).unwrap().as_sip().unwrap().port;
    assert_eq!(
        (port("sip:[2001:db8::10:5070]"), port("sip:[2001:db8::10]:5070")),
        (None, Some(5070))
    );
    for received in ["[2001:db8::9:255]", "2001:db8::9:255"] {
        let text =
            request(OPTIONS, &format!("Via: SIP/2.0/UDP [2001:db8::9:1];received={received}"));
        let via = read(&text).headers.via().unwrap();
        assert_eq!(via.received(), Some("2001:db8::9:255".parse().unwrap()));
    }
    let three = Uri::parse("sip:user@[2001:db8:::192.0.2.1]").unwrap();
    let two = Uri::parse("sip:user@[2001:db8::192.0.2.1]").unwrap();
    assert!(three.is_equivalent(&two));
}

#[test]
fn section_4_8_media_go_to_the_address_of_their_own_line() {
    let text = request(
        INVITE,
        "Content-Type: application/sdp\n\nv=0\r\no=bob 280744730 28977631 IN IP4 host.example.com\r\n\
         s=-\r\nt=0 0\r\nm=audio 22334 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\nm=audio 6024 RTP/AVP 107\r\n\
         c=IN IP6 2001:db8::1\r\na=rtpmap:107 opus/48000/2\r\n",
    );
    let sdp = Message::from(read(&text)).sdp().unwrap().unwrap();
    let rtp: Vec<String> = sdp.media().iter().map(|line| line.rtp.unwrap().to_string()).collect();
    assert_eq!(rtp, ["192.0.2.1:22334", "[2001:db8::1]:6024"]);
}
