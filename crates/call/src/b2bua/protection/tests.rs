use super::*;
use crate::io::DtlsSide;
use cheling_media::dtls::{Fingerprint, Hash, Role};
use cheling_sip::sdp::dtls::Setup;

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const OTHER: &str = "AVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

fn random() -> Random {
    Random::new(&[3; 32], 1)
}

fn sdp(protocol: &str, crypto: &[&str]) -> Sdp {
    let lines: String = crypto.iter().map(|line| format!("a=crypto:{line}\r\n")).collect();
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
         m=audio 4000 {protocol} 8\r\n{lines}"
    );
    Sdp::parse(body.as_bytes()).unwrap()
}

fn sha1_80(tag: u32, key: &str) -> String {
    format!("{tag} AES_CM_128_HMAC_SHA1_80 inline:{key}")
}

impl Protection {
    fn keys(&self) -> Option<&SrtpKeys> {
        match &self.agreed {
            Some(Agreed::Keys { keys, .. }) => Some(keys),
            _ => None,
        }
    }
}

fn protocol(sdp: &Sdp) -> String {
    sdp.audio().unwrap().protocol
}

#[test]
fn what_is_offered_follows_from_policy_and_transport() {
    for (policy, is_private, want) in [
        (SrtpPolicy::Off, true, ("RTP/AVP", 0)),
        (SrtpPolicy::Optional, false, ("RTP/AVP", 0)),
        (SrtpPolicy::Optional, true, ("RTP/AVP", 4)),
        (SrtpPolicy::Required, false, ("RTP/SAVP", 4)),
        (SrtpPolicy::Required, true, ("RTP/SAVP", 4)),
    ] {
        let mut offer = sdp("RTP/AVP", &[]);
        Protection::new(policy, is_private).write_offer(&mut offer, &mut random());
        assert_eq!((protocol(&offer).as_str(), offer.crypto().len()), want, "{policy:?}");
    }
}

#[test]
fn who_refuses_an_offer_is_made_the_others_that_the_policy_allows() {
    for (policy, is_private, want) in [
        (SrtpPolicy::Off, true, vec![("RTP/AVP", 0)]),
        (SrtpPolicy::Required, true, vec![("RTP/SAVP", 4)]),
        (SrtpPolicy::Optional, false, vec![("RTP/AVP", 0), ("RTP/SAVP", 4)]),
        (SrtpPolicy::Optional, true, vec![("RTP/AVP", 4), ("RTP/SAVP", 4), ("RTP/AVP", 0)]),
    ] {
        let mut side = Protection::new(policy, is_private);
        let mut made = Vec::new();
        loop {
            let mut offer = sdp("RTP/AVP", &[]);
            side.take_back();
            side.write_offer(&mut offer, &mut random());
            made.push((protocol(&offer), offer.crypto().len()));
            if !side.offer_otherwise() {
                break;
            }
        }
        let made: Vec<_> = made.iter().map(|(it, keys)| (it.as_str(), *keys)).collect();
        assert_eq!(made, want, "{policy:?}");
    }
}

#[test]
fn an_answer_chooses_and_the_keys_are_of_the_chosen_suite() {
    let mut random = random();
    let mut side = Protection::new(SrtpPolicy::Optional, true);
    let mut offer = sdp("RTP/AVP", &[]);
    side.write_offer(&mut offer, &mut random);
    let ours = offer.crypto().into_iter().find(|c| c.suite.ends_with("SHA1_80")).unwrap();
    side.hear(&sdp("RTP/AVP", &[&sha1_80(ours.tag, KEY)]), &mut random).unwrap();
    let keys = side.keys().unwrap().clone();
    assert_eq!(keys.ours.key_and_salt(), ours.key_and_salt);
    assert_eq!(keys.theirs.suite(), Suite::AesCm128HmacSha1Tag80);
    // A later offer of ours is of the same key, and so is our answer to theirs.
    let mut again = sdp("RTP/AVP", &[]);
    side.write_offer(&mut again, &mut random);
    assert_eq!(again.crypto(), std::slice::from_ref(&ours));
    side.take_back();
    side.hear(&sdp("RTP/SAVP", &[&sha1_80(7, OTHER)]), &mut random).unwrap();
    let mut answer = sdp("RTP/AVP", &[]);
    side.write_answer(&mut answer);
    assert_eq!(protocol(&answer), "RTP/SAVP");
    assert_eq!(answer.crypto(), [Crypto { tag: 7, ..ours }]);
    assert_ne!(side.keys().unwrap().theirs, keys.theirs);
    assert_eq!(side.keys().unwrap().ours, keys.ours);
}

#[test]
fn a_phone_without_srtp_answers_plain_and_stays_so() {
    let mut side = Protection::new(SrtpPolicy::Optional, true);
    side.write_offer(&mut sdp("RTP/AVP", &[]), &mut random());
    side.hear(&sdp("RTP/AVP", &[]), &mut random()).unwrap();
    assert_eq!(side.keys(), None);
    let mut later = sdp("RTP/AVP", &[]);
    side.write_offer(&mut later, &mut random());
    assert!(later.crypto().is_empty());
}

#[test]
fn a_side_that_offers_srtp_gets_srtp_by_its_own_order() {
    for (policy, offered, want) in [
        (SrtpPolicy::Optional, "RTP/AVP", true),
        (SrtpPolicy::Optional, "RTP/SAVP", true),
        (SrtpPolicy::Required, "RTP/SAVP", true),
        (SrtpPolicy::Off, "RTP/SAVP", true),
        (SrtpPolicy::Off, "RTP/AVP", false),
    ] {
        let mut side = Protection::new(policy, false);
        let lines = ["1 F8_128_HMAC_SHA1_80 inline:AAAA", &sha1_80(2, KEY), &sha1_80(3, OTHER)];
        side.hear(&sdp(offered, &lines), &mut random()).unwrap();
        let mut answer = sdp("RTP/AVP", &[]);
        side.write_answer(&mut answer);
        let tags: Vec<u32> = answer.crypto().iter().map(|crypto| crypto.tag).collect();
        assert_eq!(tags, if want { vec![2] } else { vec![] }, "{policy:?} {offered}");
        assert_eq!(protocol(&answer), offered);
        // The same again is no change.
        let before = side.keys().cloned();
        side.hear(&sdp(offered, &lines), &mut random()).unwrap();
        assert_eq!(side.keys().cloned(), before);
    }
}

#[test]
fn too_little_protection_is_refused() {
    let mut random = random();
    for (policy, theirs, want) in [
        (SrtpPolicy::Required, sdp("RTP/AVP", &[]), Unprotected::Required),
        (SrtpPolicy::Optional, sdp("RTP/SAVP", &[]), Unprotected::Unknown),
        (SrtpPolicy::Off, sdp("UDP/TLS/RTP/SAVPF", &[]), Unprotected::Unknown),
        (
            SrtpPolicy::Optional,
            sdp("RTP/SAVP", &["1 AES_CM_128_HMAC_SHA1_80 inline:AAAA"]),
            Unprotected::Unknown,
        ),
    ] {
        let mut side = Protection::new(policy, true);
        assert_eq!(side.check(&theirs), Err(want));
        assert_eq!(side.hear(&theirs, &mut random), Err(want));
        assert_eq!(side.keys(), None);
    }
}

#[test]
fn a_side_in_another_call_gets_a_key_that_was_never_used() {
    let mut random = random();
    let mut side = Protection::new(SrtpPolicy::Optional, false);
    side.hear(&sdp("RTP/SAVP", &[&sha1_80(1, KEY)]), &mut random).unwrap();
    let before = side.keys().unwrap().clone();
    let after = side.renewed(&mut random).keys().unwrap().clone();
    assert_eq!(after.theirs, before.theirs);
    assert_ne!(after.ours, before.ours);
}

/// What a browser says: `name` is its name in ICE, `key` stands for its certificate.
fn browser(setup: &str, name: &str, key: u8) -> Sdp {
    let fingerprint = vec![format!("{key:02X}"); 32].join(":");
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 8\r\nc=IN IP4 0.0.0.0\r\na=mid:a1\r\na=rtcp-mux\r\n\
         a=ice-ufrag:{name}\r\na=ice-pwd:0123456789abcdefghijklmn\r\na=setup:{setup}\r\n\
         a=fingerprint:sha-256 {fingerprint}\r\n"
    );
    Sdp::parse(body.as_bytes()).unwrap()
}

fn beside_a_browser(is_browser: bool) -> Protection {
    let certificates = [1, 2].map(|it| Fingerprint::of(Hash::Sha256, &[it]));
    let mut handshake = Handshake::new(certificates.into());
    if is_browser {
        handshake.offer_first();
    }
    Protection { handshake, ..Protection::new(SrtpPolicy::Optional, false) }
}

fn side(protection: &Protection) -> DtlsSide {
    match protection.of_relay() {
        Some(RelayProtection::Dtls(side)) => side,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_browser_that_calls_begins_the_handshake_and_is_answered_by_its_own_names() {
    let mut random = random();
    let mut protection = beside_a_browser(true);
    protection.hear(&browser("actpass", "abcd", 7), &mut random).unwrap();
    let mut answer = sdp("RTP/AVP", &[]);
    protection.write_answer(&mut answer);
    assert_eq!(protocol(&answer), "UDP/TLS/RTP/SAVPF");
    assert_eq!(answer.setup(), Some(Setup::Passive));
    assert_eq!(answer.mid().as_deref(), Some("a1"));
    assert!(answer.audio().unwrap().has_rtcp_mux);
    let (said, told) = (answer.ice().unwrap(), side(&protection));
    assert_eq!((told.role, told.identity), (Role::Server, 0));
    assert_eq!(told.theirs.bytes(), [7; 32]);
    let ice = told.ice.clone().unwrap();
    assert_eq!((ice.ufrag, ice.password), (said.ufrag, said.pwd.clone()));
    assert!(said.pwd.len() >= 22);
    let ours = Fingerprint::of(Hash::Sha256, &[1]);
    assert_eq!(answer.fingerprints()[0].bytes, ours.bytes());
    // Hold, and every other offer that names the same: nothing changes.
    protection.hear(&browser("actpass", "abcd", 7), &mut random).unwrap();
    assert_eq!(side(&protection), told);
    // It looks for the way anew: a new name for a new name, and the keys stay.
    protection.hear(&browser("actpass", "efgh", 7), &mut random).unwrap();
    let after = side(&protection);
    assert_ne!(after.ice, told.ice);
    assert_eq!(DtlsSide { ice: told.ice.clone(), ..after }, told);
}

#[test]
fn a_browser_that_is_called_is_offered_nothing_but_a_handshake() {
    let mut random = random();
    let mut protection = beside_a_browser(true);
    let mut offer = sdp("RTP/AVP", &[]);
    protection.write_offer(&mut offer, &mut random);
    assert_eq!(protocol(&offer), "UDP/TLS/RTP/SAVPF");
    assert_eq!(offer.setup(), Some(Setup::ActPass));
    assert!(offer.crypto().is_empty() && offer.mid().is_some());
    for (setup, role) in [("active", Role::Server), ("passive", Role::Client)] {
        let mut protection = protection.clone();
        protection.hear(&browser(setup, "abcd", 7), &mut random).unwrap();
        let told = side(&protection);
        assert_eq!((told.role, told.ice.unwrap().ufrag), (role, offer.ice().unwrap().ufrag));
        // A later offer of theirs that leaves it to us leaves it as it is.
        protection.hear(&browser("actpass", "abcd", 7), &mut random).unwrap();
        assert_eq!(side(&protection).role, role);
    }
    // A phone that comes by WebSocket and has plain RTP only refuses, and is offered that.
    assert!(protection.offer_otherwise());
    let mut offer = sdp("RTP/AVP", &[]);
    protection.write_offer(&mut offer, &mut random);
    assert_eq!(protocol(&offer), "RTP/AVP");
    protection.hear(&sdp("RTP/AVP", &[]), &mut random).unwrap();
    assert_eq!(protection.of_relay(), None);
}

#[test]
fn a_browser_that_goes_on_in_another_call_meets_somebody_else_there() {
    let mut random = random();
    let mut protection = beside_a_browser(true);
    protection.hear(&browser("actpass", "abcd", 7), &mut random).unwrap();
    let before = side(&protection);
    let mut after = protection.renewed(&mut random);
    let mut offer = sdp("RTP/AVP", &[]);
    after.write_offer(&mut offer, &mut random);
    let ours = Fingerprint::of(Hash::Sha256, &[2]);
    assert_eq!(offer.fingerprints()[0].bytes, ours.bytes());
    assert_eq!(offer.mid().as_deref(), Some("a1"));
    after.hear(&browser("active", "efgh", 7), &mut random).unwrap();
    let after = side(&after);
    assert_ne!((after.identity, &after.ice), (before.identity, &before.ice));
    assert_eq!(after.ice.unwrap().ufrag, offer.ice().unwrap().ufrag);
}

#[test]
fn a_browser_is_known_by_its_transport_and_by_not_knowing_its_address() {
    let flow = |transport| {
        let address = "192.0.2.1:5080".parse().unwrap();
        Flow { transport, ..Flow::udp(address, address) }
    };
    for (transport, contact, want) in [
        (Transport::Wss, "sip:k3jd8@df7jal23ls0d.invalid;transport=wss", true),
        (Transport::Ws, "sip:8001@phone.example.com;transport=ws", true),
        (Transport::Ws, "sip:8001@10.0.0.9:5060;transport=ws", false),
        (Transport::Wss, "sip:8001@[2001:db8::9];transport=ws", false),
        (Transport::Udp, "sip:8001@df7jal23ls0d.invalid", false),
    ] {
        let contact = contact.parse().unwrap();
        assert_eq!(is_browser(flow(transport), &contact), want, "{contact}");
    }
}

#[test]
fn a_handshake_needs_a_certificate_that_can_be_known() {
    let mut random = random();
    let weak = browser("actpass", "abcd", 7).to_bytes();
    let weak = String::from_utf8(weak.to_vec()).unwrap().replace("sha-256", "md5");
    let weak = Sdp::parse(weak.as_bytes()).unwrap();
    assert_eq!(beside_a_browser(true).hear(&weak, &mut random), Err(Unprotected::Unknown));
    // Nobody has made certificates of ours.
    let mut without = Protection::new(SrtpPolicy::Optional, true);
    let theirs = browser("actpass", "abcd", 7);
    assert_eq!(without.hear(&theirs, &mut random), Err(Unprotected::Unknown));
    // No browser, but it asks for it: it gets it.
    let mut phone = beside_a_browser(false);
    phone.hear(&theirs, &mut random).unwrap();
    assert_eq!(side(&phone).role, Role::Server);
    let mut offer = sdp("RTP/AVP", &[]);
    beside_a_browser(false).write_offer(&mut offer, &mut random);
    assert_eq!(protocol(&offer), "RTP/AVP");
}
