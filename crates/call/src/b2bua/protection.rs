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
mod tests;
