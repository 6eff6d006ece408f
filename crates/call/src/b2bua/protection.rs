//! SRTP with one side of a call: what we offer it, what it chose, and the keys that follow: at once
//! (SDES, RFC 4568), or by a handshake of its own (`handshake`).
//!
//! Each side is protected, or not, whatever the other does: the relay opens what comes in and seals
//! what goes out. Keys are of the side's own dialog; no key ever crosses a call.

use std::sync::Arc;

use cheling_media::srtp::{MasterKey, Suite};
use cheling_model::directory::SrtpPolicy;
use cheling_sip::sdp::{Crypto, MediaLine, Sdp};
use cheling_sip::uri::host_ip;
use cheling_sip::{Flow, Transport, Uri};

use super::handshake::{Handshake, Met};
use super::leg::Side;
use crate::core::Core;
use crate::io::{RelayProtection, SrtpKeys};
use crate::random::Random;

/// The protocol of a line whose keys, if it has any, may be passed over.
const PLAIN: &str = "RTP/AVP";
/// The protocol of a line that cannot be taken without its keys (RFC 3711).
const SECURE: &str = "RTP/SAVP";

/// Why a description is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unprotected {
    /// This side must be protected, and is not.
    #[error("the media has to be SRTP here, and the description has no keys")]
    Required,
    /// It wants to be protected in no way that we know.
    #[error("the description has no SRTP keys that can be used")]
    Unknown,
}

/// The protection of one side.
#[derive(Clone, Debug)]
pub(crate) struct Protection {
    policy: SrtpPolicy,
    /// Whether nobody on the way can read the descriptions, and with them the keys.
    is_private: bool,
    /// Our offer that has no answer yet: what we would send with, by tag.
    offered: Vec<(u32, MasterKey)>,
    /// What we say of ourselves where keys come of a handshake.
    handshake: Handshake,
    /// What holds; `None` before the first answer.
    agreed: Option<Agreed>,
    /// The protocol of the side's last offer, which our answer repeats (RFC 3264 §6).
    asked: Option<String>,
    /// In which way an offer is made that has nothing to hold to.
    manner: Manner,
}

/// How we offer to a side that may have SRTP or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Keys beside a plain line, where nobody on the way can read them; else none.
    Open,
    /// Keys that must be taken: `RTP/SAVP`.
    Secure,
    /// None.
    Plain,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Agreed {
    Plain,
    Keys { tag: u32, protocol: String, keys: SrtpKeys },
    Handshake(Met),
}

impl Default for Protection {
    /// None at all.
    fn default() -> Self {
        Self::new(SrtpPolicy::Off, false)
    }
}

impl Protection {
    pub(crate) fn new(policy: SrtpPolicy, is_private: bool) -> Self {
        let (offered, handshake, manner) = (Vec::new(), Handshake::default(), Manner::Open);
        Self { policy, is_private, offered, handshake, agreed: None, asked: None, manner }
    }

    /// As the config has it for who is there.
    pub(crate) fn of(core: &Core, side: &Side, flow: Flow) -> Self {
        let policy = match side {
            Side::Phone { .. } => core.settings.srtp,
            Side::Trunk { name } => {
                let trunk = core.settings.trunks.iter().find(|trunk| trunk.name == *name);
                trunk.map_or(core.settings.srtp, |trunk| trunk.srtp)
            }
        };
        let is_private = matches!(flow.transport, Transport::Tls | Transport::Wss);
        let handshake = Handshake::new(Arc::clone(&core.settings.dtls));
        Self { handshake, ..Self::new(policy, is_private) }
    }

    /// The same, of who is called at this contact: what a browser is offered, it can take.
    pub(crate) fn towards(core: &Core, side: &Side, flow: Flow, contact: &Uri) -> Self {
        let mut protection = Self::of(core, side, flow);
        if side.extension().is_some() && is_browser(flow, contact) {
            protection.handshake.offer_first();
        }
        protection
    }

    /// What the relay needs; `None` if nothing is protected.
    pub(crate) fn of_relay(&self) -> Option<RelayProtection> {
        match &self.agreed {
            Some(Agreed::Keys { keys, .. }) => Some(RelayProtection::Srtp(keys.clone())),
            Some(Agreed::Handshake(met)) => {
                Some(RelayProtection::Dtls(self.handshake.of_relay(met)))
            }
            Some(Agreed::Plain) | None => None,
        }
    }

    fn met(&self) -> Option<&Met> {
        match &self.agreed {
            Some(Agreed::Handshake(met)) => Some(met),
            Some(Agreed::Plain | Agreed::Keys { .. }) | None => None,
        }
    }

    /// Protects an offer of ours to this side: with the keys that hold, else as the policy says.
    pub(crate) fn write_offer(&mut self, offer: &mut Sdp, random: &mut Random) {
        let (protocol, offered) = match &self.agreed {
            Some(Agreed::Keys { tag, protocol, keys }) => {
                (protocol.clone(), vec![(*tag, keys.ours.clone())])
            }
            Some(Agreed::Plain) => return,
            Some(Agreed::Handshake(met)) => {
                return self.handshake.write_offer(Some(met), offer, random);
            }
            None if self.handshake.is_offered_first() => {
                return self.handshake.write_offer(None, offer, random);
            }
            None => {
                let protocol = match (self.policy, self.manner) {
                    (SrtpPolicy::Off, _) | (SrtpPolicy::Optional, Manner::Plain) => return,
                    // Keys in clear protect from nobody, and old phones stumble over them.
                    (SrtpPolicy::Optional, Manner::Open) if !self.is_private => return,
                    (SrtpPolicy::Optional, Manner::Open) => PLAIN,
                    (SrtpPolicy::Optional, Manner::Secure) | (SrtpPolicy::Required, _) => SECURE,
                };
                // An offer that is made again, before it had an answer, is the same offer.
                if self.offered.is_empty() {
                    self.offered = Suite::ALL
                        .into_iter()
                        .zip(1..)
                        .map(|(suite, tag)| (tag, fresh(suite, random)))
                        .collect();
                }
                (protocol.to_owned(), self.offered.clone())
            }
        };
        let lines: Vec<Crypto> = offered.iter().map(|(tag, key)| line(*tag, key)).collect();
        offer.set_crypto(&protocol, &lines);
        self.offered = offered;
    }

    /// Has the next offer to who has refused one be made in another way that the policy allows;
    /// false if there is none left.
    ///
    /// What was taken for a browser and is none has what other phones have. Some take keys in an `RTP/SAVP` line alone, some no line with keys in it at all, and none of
    /// them says which.
    pub(crate) fn offer_otherwise(&mut self) -> bool {
        if self.agreed.is_none() && self.handshake.give_up() {
            return true;
        }
        let is_open = self.policy == SrtpPolicy::Optional && self.agreed.is_none();
        self.manner = match self.manner {
            Manner::Open if is_open => Manner::Secure,
            Manner::Secure if is_open && self.is_private => Manner::Plain,
            _ => return false,
        };
        true
    }

    /// Protects our answer to what this side has said last.
    pub(crate) fn write_answer(&self, answer: &mut Sdp) {
        let Some(asked) = &self.asked else { return };
        self.write(asked, answer);
    }

    /// Leaves of what we offered what was chosen: said again, it is an answer, or an offer that
    /// leaves no choice.
    pub(crate) fn narrow(&self, sent: &mut Sdp) {
        let Some(audio) = sent.audio() else { return };
        self.write(&audio.protocol, sent);
    }

    fn write(&self, protocol: &str, sdp: &mut Sdp) {
        match &self.agreed {
            Some(Agreed::Handshake(met)) => self.handshake.write(met, protocol, sdp),
            Some(Agreed::Keys { tag, keys, .. }) => {
                sdp.set_crypto(protocol, &[line(*tag, &keys.ours)]);
            }
            Some(Agreed::Plain) | None => sdp.set_crypto(protocol, &[]),
        }
    }

    /// Our offer was refused: what held before holds.
    pub(crate) fn take_back(&mut self) {
        self.offered.clear();
        self.handshake.take_back();
    }

    /// Keys that have never been used, for a side that goes on in another call.
    pub(crate) fn renewed(mut self, random: &mut Random) -> Self {
        if let Some(Agreed::Keys { keys, .. }) = &mut self.agreed {
            keys.ours = fresh(keys.ours.suite(), random);
        }
        self.handshake.renew();
        self.offered.clear();
        self
    }

    /// Whether this side may say so.
    ///
    /// # Errors
    /// [`Unprotected`] if it asks for less than it must have, or for what we do not know.
    pub(crate) fn check(&self, theirs: &Sdp) -> Result<(), Unprotected> {
        let Some(audio) = theirs.audio() else { return Ok(()) };
        if self.handshake.read(&audio, theirs, self.met()).is_some() {
            return Ok(());
        }
        match self.choose(&audio, theirs) {
            Some(_) => Ok(()),
            None if audio.is_secure() => Err(Unprotected::Unknown),
            None if self.policy == SrtpPolicy::Required => Err(Unprotected::Required),
            None => Ok(()),
        }
    }

    /// Takes what this side says: its answer, if an offer of ours waits for one, else its offer.
    /// The same again changes nothing.
    ///
    /// # Errors
    /// As [`Protection::check`]; what held before holds.
    pub(crate) fn hear(&mut self, theirs: &Sdp, random: &mut Random) -> Result<(), Unprotected> {
        self.check(theirs)?;
        let Some(audio) = theirs.audio() else { return Ok(()) };
        let chosen = self.choose(&audio, theirs);
        let met = self.handshake.read(&audio, theirs, self.met());
        let is_answer = !self.offered.is_empty() || self.handshake.is_waiting();
        let offered = std::mem::take(&mut self.offered);
        if !is_answer {
            self.asked = Some(audio.protocol.clone());
        }
        if let Some(met) = met {
            let before = self.agreed.take();
            let before = match &before {
                Some(Agreed::Handshake(before)) => Some(before),
                _ => None,
            };
            self.handshake.hear(&met, before, random);
            self.agreed = Some(Agreed::Handshake(met));
            return Ok(());
        }
        self.handshake.take_back();
        let Some((tag, theirs)) = chosen else {
            self.agreed = Some(Agreed::Plain);
            return Ok(());
        };
        let suite = theirs.suite();
        let of_offer = offered.into_iter().find(|(_, key)| key.suite() == suite);
        let ours = match (&self.agreed, of_offer) {
            (_, Some((_, key))) => key,
            (Some(Agreed::Keys { keys, .. }), None) if keys.ours.suite() == suite => {
                keys.ours.clone()
            }
            _ => fresh(suite, random),
        };
        let protocol = audio.protocol;
        self.agreed = Some(Agreed::Keys { tag, protocol, keys: SrtpKeys { theirs, ours } });
        Ok(())
    }

    /// The first of its keys that can be used; in an answer, one of a suite that was offered.
    fn choose(&self, audio: &MediaLine, theirs: &Sdp) -> Option<(u32, MasterKey)> {
        let is_known = self.policy != SrtpPolicy::Off || audio.is_secure();
        if !is_known || self.handshake.is_waiting() {
            return None;
        }
        theirs.crypto().into_iter().find_map(|crypto| {
            let suite = Suite::named(&crypto.suite)?;
            let is_offered = self.offered.iter().any(|(_, key)| key.suite() == suite);
            let key = MasterKey::new(suite, &crypto.key_and_salt)?.with_mki(crypto.mki_bytes);
            (self.offered.is_empty() || is_offered).then_some((crypto.tag, key))
        })
    }
}

/// Whether a browser registered so. It comes by WebSocket, and does not know its address (RFC 7118
/// §5); an app that names one has sockets of its own.
fn is_browser(flow: Flow, contact: &Uri) -> bool {
    matches!(flow.transport, Transport::Ws | Transport::Wss)
        && contact.host().is_some_and(|host| host_ip(host).is_none())
}

fn line(tag: u32, key: &MasterKey) -> Crypto {
    Crypto {
        tag,
        suite: key.suite().name().to_owned(),
        key_and_salt: key.key_and_salt().to_vec(),
        mki_bytes: 0,
    }
}

fn fresh(suite: Suite, random: &mut Random) -> MasterKey {
    let bytes = [random.bytes::<32>(), random.bytes()].concat();
    MasterKey::new(suite, &bytes[..suite.key_bytes()]).expect("of the suite's length")
}

#[cfg(test)]
mod tests {
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
}
