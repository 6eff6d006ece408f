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
//! nobody hears it; something of ours is played to it. So it is to who is held by a phone of ours,
//! for as long as that phone sends nothing: its music, if it has any, goes across as it came. Nothing
//! that is played is recorded: nobody in the call has said it.

use cheling_model::{GuestRole, Lane};

use super::{Call, State, formats};
use crate::core::Core;
use crate::io::{MixPlan, MixSends, MixedVoice, Output, Played, Speaker};

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
            played: Some(Played::RingBack),
            is_recorded: false,
        };
        MixPlan { forwards, voices: vec![voice], seed: self.stream_seed }
    }

    fn mix_plan(&self) -> Option<MixPlan> {
        if let Some(sends) = &self.rung_back {
            return Some(self.ring_back_plan(sends));
        }
        let media = self.media.as_ref()?;
        let played_to = self.played_to();
        let is_special = media.is_transcoding()
            || self.holds_by_order.is_some()
            || played_to.is_some()
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
            let played = (played_to == Some(lane)).then_some(Played::Held);
            let has_any = !by_mixer.is_empty() || played.is_some();
            voices.push(MixedVoice {
                who: Speaker::Side(lane),
                formats: media.formats_of(lane).to_vec(),
                sends: has_any.then(|| media.sends(lane)).flatten(),
                hears: by_mixer,
                played,
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
                played: None,
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

    /// Notes which sides' holds are ours to fill: those of our phones, but not towards a telephone
    /// system, which has music of its own for whoever waits there.
    pub(super) fn note_sides(&mut self, core: &Core) {
        let State::Talking(talk) = &self.state else { return };
        self.fills_hold_of = Lane::BOTH.map(|lane| {
            let [by, waits] = [lane, lane.other()].map(|lane| &talk.legs[lane.index()].side);
            core.settings.plays_on_hold && by.extension().is_some() && !core.is_pbx(waits)
        });
    }

    /// The side that is on hold and hears something of ours while the other sends nothing.
    fn played_to(&self) -> Option<Lane> {
        let media = self.media.as_ref()?;
        let is_held_by = |lane: &Lane| self.holds_by_order == Some(*lane) || media.is_held(*lane);
        let by = Lane::BOTH.into_iter().find(is_held_by)?;
        let is_listening = !media.is_held(by.other());
        (is_listening && self.fills_hold_of[by.index()]).then(|| by.other())
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
