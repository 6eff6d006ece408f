//! The jitter buffer of one voice: packets in as they come, 20 ms of samples out at each tick.
//!
//! It waits for [`LEAST_DELAY_SAMPLES`] before a voice begins, waits longer for one that stutters,
//! and throws away what would make it lag: a live conversation cares for now.

use std::collections::VecDeque;

use crate::codec::{Codec, PayloadFormat};
use crate::decoder::Decoder;
use crate::encoder::{FRAME_SAMPLES, RATE_HZ};
use crate::half_band::Doubler;
use crate::rtp::{ExtendedSequence, RtpPacket, Ssrc};

/// What lies ready before a voice begins: 40 ms.
const LEAST_DELAY_SAMPLES: usize = 2 * FRAME_SAMPLES;
/// The most that a stuttering voice is delayed: 120 ms.
const MOST_DELAY_SAMPLES: usize = 6 * FRAME_SAMPLES;
/// More than this beyond the delay is too old to be heard: 60 ms.
const SLACK_SAMPLES: usize = 3 * FRAME_SAMPLES;
/// Frames without a stutter after which the delay shrinks again: 10 s.
const CALM_FRAMES: u32 = 500;
/// Packets that came before their turn.
const MAX_WAITING: usize = 16;
/// A gap of more packets than this is a jump, not a loss.
const MAX_LOST: u64 = 5;

/// One voice's packets on their way to the mix.
pub(super) struct Playout {
    format: Option<PayloadFormat>,
    decoder: Option<Decoder>,
    doubler: Option<Doubler>,
    ssrc: Option<Ssrc>,
    next: Option<ExtendedSequence>,
    /// Sorted by number.
    waiting: VecDeque<(ExtendedSequence, Vec<u8>)>,
    ready: VecDeque<i16>,
    decoded: Vec<i16>,
    wide: Vec<i16>,
    /// Samples of the last packet, for one that is lost.
    packet_samples: usize,
    is_playing: bool,
    delay_samples: usize,
    calm_frames: u32,
}

impl Default for Playout {
    fn default() -> Self {
        Self {
            format: None,
            decoder: None,
            doubler: None,
            ssrc: None,
            next: None,
            waiting: VecDeque::new(),
            ready: VecDeque::new(),
            decoded: Vec::new(),
            wide: Vec::new(),
            packet_samples: FRAME_SAMPLES,
            is_playing: false,
            delay_samples: LEAST_DELAY_SAMPLES,
            calm_frames: 0,
        }
    }
}

impl Playout {
    /// Takes a packet whose payload is in this format. What cannot be decoded is silence.
    pub(super) fn push(&mut self, packet: &RtpPacket<'_>, format: &PayloadFormat) {
        if self.ssrc != Some(packet.header.ssrc) {
            self.ssrc = Some(packet.header.ssrc);
            self.next = None;
            self.waiting.clear();
            self.format = None;
        }
        if self.format.as_ref() != Some(format) {
            self.decoder = Decoder::at_rate(format, RATE_HZ);
            let is_narrow = self.decoder.as_ref().is_some_and(|it| it.rate_hz() * 2 == RATE_HZ);
            self.doubler = is_narrow.then(Doubler::default);
            self.format = Some(format.clone());
            // What waited was of the format before.
            self.waiting.clear();
            self.next = None;
        }
        let wire = packet.header.sequence_number;
        let number = match self.next {
            Some(next) => next.nearest(wire),
            None => ExtendedSequence::first(wire),
        };
        let next = *self.next.get_or_insert(number);
        if number < next {
            if next.0 - number.0 <= 1000 {
                return;
            }
            // It has begun to count anew.
            self.waiting.clear();
            self.next = Some(number);
        }
        let at = self.waiting.partition_point(|(waiting, _)| *waiting < number);
        if self.waiting.get(at).is_some_and(|(waiting, _)| *waiting == number) {
            return;
        }
        self.waiting.insert(at, (number, packet.payload.to_vec()));
        self.decode_in_turn();
        if self.waiting.len() > MAX_WAITING {
            self.pass_over();
        }
        let most = self.delay_samples + SLACK_SAMPLES;
        if self.ready.len() > most {
            self.ready.drain(..self.ready.len() - self.delay_samples);
        }
    }

    /// Fills `frame` with what is heard in the next 20 ms; false if that is nothing.
    pub(super) fn pull(&mut self, frame: &mut [i16; FRAME_SAMPLES]) -> bool {
        if !self.is_playing {
            self.is_playing = self.ready.len() >= self.delay_samples;
        }
        if !self.is_playing {
            return false;
        }
        while self.ready.len() < FRAME_SAMPLES && !self.waiting.is_empty() {
            self.pass_over();
        }
        let count = self.ready.len().min(FRAME_SAMPLES);
        for (sample, ready) in frame.iter_mut().zip(self.ready.drain(..count)) {
            *sample = ready;
        }
        frame[count..].fill(0);
        if count < FRAME_SAMPLES {
            self.is_playing = false;
            self.calm_frames = 0;
            self.delay_samples = (self.delay_samples + FRAME_SAMPLES).min(MOST_DELAY_SAMPLES);
            return count > 0;
        }
        self.calm_frames += 1;
        if self.calm_frames >= CALM_FRAMES {
            self.calm_frames = 0;
            self.delay_samples = (self.delay_samples - FRAME_SAMPLES).max(LEAST_DELAY_SAMPLES);
        }
        true
    }

    /// Decodes what is in turn.
    fn decode_in_turn(&mut self) {
        while let (Some(next), Some((number, _))) = (self.next, self.waiting.front())
            && *number == next
            && let Some((_, payload)) = self.waiting.pop_front()
        {
            self.next = Some(ExtendedSequence(next.0 + 1));
            self.decoded.clear();
            if let Some(decoder) = &mut self.decoder {
                decoder.decode(&payload, &mut self.decoded);
            }
            self.append();
        }
    }

    /// Makes up for the packet whose turn it is and which has not come.
    fn pass_over(&mut self) {
        let (Some(next), Some((number, payload))) = (self.next, self.waiting.front()) else {
            return;
        };
        let number = *number;
        let lost = number.0.saturating_sub(next.0);
        if (1..=MAX_LOST).contains(&lost) {
            self.decoded.clear();
            if let Some(decoder) = &mut self.decoder {
                decoder.recover(lost, payload, &mut self.decoded);
            }
            if self.decoded.is_empty() {
                self.ready.extend(std::iter::repeat_n(0, self.packet_samples * lost as usize));
            } else {
                self.append();
            }
        }
        self.next = Some(number);
        self.decode_in_turn();
    }

    fn append(&mut self) {
        let samples = match &mut self.doubler {
            Some(doubler) => {
                self.wide.clear();
                doubler.push(&self.decoded, &mut self.wide);
                &self.wide
            }
            None => &self.decoded,
        };
        if !samples.is_empty() {
            self.packet_samples = samples.len().min(MOST_DELAY_SAMPLES);
        }
        self.ready.extend(samples);
    }
}

/// Whether such packets can be played: they decode to 8 or 16 kHz, or to any rate.
pub(super) fn can_play(format: &PayloadFormat) -> bool {
    match format.codec {
        Codec::Opus => true,
        _ => matches!(format.sample_rate_hz(), Some(8000 | RATE_HZ)),
    }
}
