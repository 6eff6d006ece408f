//! How long one ordinary INVITE takes to read and to write.

use cheling_sip::Message;
use divan::black_box;

const INVITE: &[u8] = b"INVITE sip:01088886666@192.0.2.10:5060 SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds;rport\r\n\
Max-Forwards: 70\r\n\
From: \"13800138000\" <sip:13800138000@192.0.2.1>;tag=1928301774\r\n\
To: <sip:01088886666@192.0.2.10>\r\n\
Call-ID: a84b4c76e66710@192.0.2.1\r\n\
CSeq: 314159 INVITE\r\n\
Contact: <sip:13800138000@192.0.2.1:5060>\r\n\
Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK\r\n\
Supported: timer, 100rel, replaces\r\n\
User-Agent: Gateway 1.0\r\n\
P-Asserted-Identity: <sip:13800138000@192.0.2.1>\r\n\
Session-Expires: 1800\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 227\r\n\r\n\
v=0\r\no=- 20518 0 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
m=audio 40000 RTP/AVP 8 0 18 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:18 G729/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n";

fn main() {
    divan::main();
}

#[divan::bench]
fn parse() -> bool {
    Message::parse(black_box(INVITE)).is_ok()
}

#[divan::bench]
fn parse_and_write() -> usize {
    Message::parse(black_box(INVITE)).map_or(0, |message| message.to_bytes().len())
}
