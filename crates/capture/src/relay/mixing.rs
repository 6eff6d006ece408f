//! Calls in which more is to be done than passing packets across: third parties, and two sides
//! without a codec in common.
//!
//! A call without a plan has none of this and pays nothing for it. With one, what still can be
//! passed across as it came is (`forwards`): who only listens makes no difference to the two who
//! talk. All else goes through [`Mixer`], which makes packets of its own every 20 ms, by the poll
//! loop of the call's relay thread.

use super::call::RelayedCall;
use super::counters::ThreadCounters;
use super::guest::Guest;
use cheling_call::io::{MixPlan, MixSends, MixedVoice, Played, Speaker};
use cheling_media::codec::{Codec, PayloadFormat, PayloadMap};
use cheling_media::mixer::{Mixer, Sends, StreamStart, Voice};
use cheling_media::tone::{Piece, Tone};
use cheling_model::Lane;
use cheling_model::call::Format;
use std::sync::Arc;
use std::time::Instant;

/// Third parties of one call, and its conversation.
pub(super) struct Mixing {
    pub(super) guests: Vec<Guest>,
    forwards: [bool; 2],
    conversation: Option<Conversation>,
    streams: u64,
}

struct Conversation {
    mixer: Mixer,
    recorded: Vec<u8>,
}

impl Mixing {
    pub(super) fn new() -> Self {
        Self { guests: Vec::new(), forwards: [true, true], conversation: None, streams: 0 }
    }

    /// Whether what this side says goes to the other as it came.
    pub(super) fn forwards(&self, lane: Lane) -> bool {
        self.forwards[lane.index()]
    }

    /// Says who hears whom from now on; `music` is what those on hold hear instead of a tone.
    pub(super) fn set(&mut self, plan: Option<&MixPlan>, music: Option<&Arc<[i16]>>, now: Instant) {
        self.forwards = plan.map_or([true, true], |plan| plan.forwards);
        let Some(plan) = plan.filter(|plan| !plan.voices.is_empty()) else {
            self.conversation = None;
            return;
        };
        let conversation = self
            .conversation
            .get_or_insert_with(|| Conversation { mixer: Mixer::new(now), recorded: Vec::new() });
        let guests = plan.voices.iter().filter(|voice| voice.is_recorded);
        conversation.recorded = guests.map(|voice| number_of(voice.who)).collect();
        let streams = &mut self.streams;
        conversation.mixer.set(plan.voices.iter().map(voice).collect(), || {
            *streams += 1;
            start(plan.seed, *streams)
        });
        for voice in &plan.voices {
            let piece = voice.played.map(|played| match (played, music) {
                (Played::RingBack, _) => Piece::Tone(Tone::RingBack),
                (Played::Held, None) => Piece::Tone(Tone::Held),
                (Played::Held, Some(music)) => Piece::Music(Arc::clone(music)),
            });
            conversation.mixer.play(number_of(voice.who), piece);
        }
    }

    /// Whether packets of this payload type of a guest are recorded: its digits never are.
    pub(super) fn is_recorded(&self, guest: u8, payload_type: u8) -> bool {
        let number = number_of(Speaker::Guest(guest));
        let Some(it) = self.conversation.as_ref().filter(|it| it.recorded.contains(&number)) else {
            return false;
        };
        let voice = it.mixer.voices().find(|voice| voice.number == number);
        voice.is_some_and(|it| it.reads.format(payload_type).codec != Codec::TelephoneEvent)
    }

    /// When the next packets are to be made.
    pub(super) fn due(&self) -> Option<Instant> {
        self.conversation.as_ref().map(|conversation| conversation.mixer.due())
    }
}

/// Gives what somebody said to the mixer.
pub(super) fn hear(call: &mut RelayedCall, who: Speaker, bytes: &[u8], totals: &ThreadCounters) {
    let Some(mut mixing) = call.mixing.take() else { return };
    let passes = matches!(who, Speaker::Side(lane) if mixing.forwards(lane));
    if let Some(conversation) = &mut mixing.conversation {
        if let (true, Speaker::Side(lane)) = (passes, who) {
            conversation.mixer.passes_across(number_of(Speaker::Side(lane.other())));
        }
        let guests = &mut mixing.guests;
        conversation.mixer.receive(number_of(who), bytes, |to, packet| {
            send(call, guests, to, packet, totals);
        });
    }
    call.mixing = Some(mixing);
}

/// Makes and sends the packets that are due.
pub(super) fn speak(call: &mut RelayedCall, now: Instant, totals: &ThreadCounters) {
    let Some(mut mixing) = call.mixing.take() else { return };
    if let Some(conversation) = &mut mixing.conversation {
        let guests = &mut mixing.guests;
        conversation.mixer.run(now, |to, packet| send(call, guests, to, packet, totals));
    }
    call.mixing = Some(mixing);
}

fn send(
    call: &mut RelayedCall,
    guests: &mut [Guest],
    to: u8,
    packet: &[u8],
    totals: &ThreadCounters,
) {
    let is_sent = match speaker_of(to) {
        Speaker::Side(lane) => call.send_rtp(lane, packet),
        Speaker::Guest(number) => {
            let guest = guests.iter_mut().find(|guest| guest.number == number);
            guest.is_none_or(|guest| guest.send(packet))
        }
    };
    match is_sent {
        true => totals.relayed_packets.bump(),
        false => totals.unsent_packets.bump(),
    }
}

/// The mixer's numbers: the two sides first, then the guests.
fn number_of(who: Speaker) -> u8 {
    match who {
        Speaker::Side(lane) => lane.index() as u8,
        Speaker::Guest(number) => number.saturating_add(1),
    }
}

fn speaker_of(number: u8) -> Speaker {
    match number {
        0 => Speaker::Side(Lane::Customer),
        1 => Speaker::Side(Lane::Agent),
        guest => Speaker::Guest(guest - 1),
    }
}

fn voice(voice: &MixedVoice) -> Voice {
    let mut reads = PayloadMap::default();
    for Format { payload_type, encoding, clock_hz, channels } in &voice.formats {
        reads.bind(*payload_type, encoding, *clock_hz, *channels);
    }
    let sends = |sends: &MixSends| {
        let Format { payload_type, encoding, clock_hz, channels } = &sends.format;
        let format =
            PayloadFormat { codec: Codec::named(encoding, *channels), clock_rate_hz: *clock_hz };
        Sends { payload_type: *payload_type, format, event_payload_type: sends.event_payload_type }
    };
    Voice {
        number: number_of(voice.who),
        reads,
        sends: voice.sends.as_ref().map(sends),
        hears: voice.hears.iter().map(|who| number_of(*who)).collect(),
    }
}

/// The numbers of the nth stream of a call (SplitMix64).
fn start(seed: u64, nth: u64) -> StreamStart {
    let mut z = seed.wrapping_add(nth.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    StreamStart {
        ssrc: (z >> 32) as u32,
        sequence_number: z as u16,
        timestamp: (z as u32) ^ 0x5a5a_5a5a,
    }
}
