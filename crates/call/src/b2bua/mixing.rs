//! Who hears whom in a call.
//!
//! Two sides alone pass each other's packets. As soon as somebody hears more or less than the one
//! opposite, or the two share no codec, the relay is given a plan ([`MixPlan`]). What still can be
//! passed across as it came is: a listener changes nothing for the two who talk.
//!
//! | | hears |
//! |---|---|
//! | customer | agent, conference, barge |
//! | agent | customer, conference, barge, whisper |
//! | conference, barge | customer, agent, the other conference and barge |
//! | listen, whisper | customer, agent, conference and barge |
//!
//! While one side has put the other on hold by an order of ours, the one on hold hears nobody and
//! nobody hears it.

use cheling_model::{GuestRole, Lane};

use super::{Call, State, formats};
use crate::core::Core;
use crate::io::{MixPlan, MixSends, MixedVoice, Output, Speaker};

const CUSTOMER: Speaker = Speaker::Side(Lane::Customer);
const AGENT: Speaker = Speaker::Side(Lane::Agent);

impl Call {
    /// Tells the relay who hears whom, if that is news.
    pub(super) fn remix(&mut self, core: &mut Core) {
        let plan = self.mix_plan().map(Box::new);
        if plan != self.guests.plan {
            self.guests.plan.clone_from(&plan);
            core.put(Output::Mix { call_id: self.id, plan });
        }
    }

    /// Has an agent who was fetched hear that the other side rings, where there is nothing else to
    /// be heard: his own phone plays no tone, since it has answered.
    pub(super) fn ring_back(&mut self, core: &mut Core) {
        let sends = match &self.state {
            State::Ringing(ringing) => ringing.rung_back().and_then(formats::sends_of),
            _ => None,
        };
        if sends != self.rung_back {
            self.rung_back = sends;
            if self.is_live() {
                self.remix(core);
            }
        }
    }

    fn ring_back_plan(&self, sends: &MixSends) -> MixPlan {
        let mut forwards = [true, true];
        forwards[self.caller_lane.other().index()] = false;
        let voice = MixedVoice {
            who: Speaker::Side(self.caller_lane),
            formats: Vec::new(),
            sends: Some(sends.clone()),
            hears: Vec::new(),
            is_rung_back: true,
            is_recorded: false,
        };
        MixPlan { forwards, voices: vec![voice], seed: self.stream_seed }
    }

    fn mix_plan(&self) -> Option<MixPlan> {
        if let Some(sends) = &self.rung_back {
            return Some(self.ring_back_plan(sends));
        }
        let media = self.media.as_ref()?;
        let is_special = media.is_transcoding()
            || self.holds_by_order.is_some()
            || self.guests.voices().next().is_some();
        if !is_special {
            return None;
        }
        let waiting = self.holds_by_order.map(Lane::other);
        let is_across = !media.is_transcoding();
        let mut voices: Vec<MixedVoice> = Vec::new();
        let mut forwards = [true, true];
        for lane in Lane::BOTH {
            let hears = self.heard_by(Speaker::Side(lane), waiting);
            let other = lane.other();
            let is_plain = is_across && hears == [Speaker::Side(other)];
            forwards[other.index()] = is_plain;
            let by_mixer = if is_plain { Vec::new() } else { hears };
            let sends = (!by_mixer.is_empty()).then(|| media.sends(lane)).flatten();
            voices.push(MixedVoice {
                who: Speaker::Side(lane),
                formats: media.formats_of(lane).to_vec(),
                sends,
                hears: by_mixer,
                is_rung_back: false,
                is_recorded: false,
            });
        }
        for guest in self.guests.voices() {
            let who = Speaker::Guest(guest.number);
            voices.push(MixedVoice {
                who,
                formats: guest.formats.to_vec(),
                sends: Some(guest.sends.clone()).filter(|_| guest.is_listening),
                hears: self.heard_by(who, waiting),
                is_rung_back: false,
                is_recorded: guest.role.is_heard_by_all(),
            });
        }
        // Who neither speaks to the mixer nor hears by it has no place there.
        let heard: Vec<Speaker> =
            voices.iter().filter(|it| it.sends.is_some()).flat_map(|it| it.hears.clone()).collect();
        voices.retain(|voice| {
            let is_guest = matches!(voice.who, Speaker::Guest(_));
            is_guest || voice.sends.is_some() || heard.contains(&voice.who)
        });
        let is_needed = forwards != [true, true] || !voices.is_empty();
        is_needed.then_some(MixPlan { forwards, voices, seed: self.stream_seed })
    }

    /// Whom this one hears.
    fn heard_by(&self, who: Speaker, waiting: Option<Lane>) -> Vec<Speaker> {
        let is_waiting = |it: Speaker| waiting.is_some_and(|lane| it == Speaker::Side(lane));
        if is_waiting(who) {
            return Vec::new();
        }
        let mut heard = vec![CUSTOMER, AGENT];
        for guest in self.guests.voices() {
            let is_heard = match guest.role {
                GuestRole::Conference | GuestRole::Barge => true,
                GuestRole::Whisper => who == AGENT,
                GuestRole::Listen => false,
            };
            if is_heard {
                heard.push(Speaker::Guest(guest.number));
            }
        }
        heard.retain(|it| *it != who && !is_waiting(*it));
        heard
    }
}
