//! Several people in one conversation: each hears the others, and nobody himself.
//!
//! Every voice is decoded, kept in a short jitter buffer (`playout`), and each 20 ms summed with
//! the others that its receiver hears; the sum is limited, encoded in the receiver's codec and put
//! into packets of a stream of our own. Two voices that share no codec are the smallest such
//! conversation: that is transcoding.
//!
//! Digits (RFC 4733) are passed on as packets, renumbered into the receiver's stream, so that a
//! menu at the far end hears them.
//!
//! Belongs here: packets and times in, packets out. Does not: sockets, who may hear whom.

mod playout;

use std::time::{Duration, Instant};

use crate::codec::{Codec, PayloadFormat, PayloadMap};
use crate::encoder::{Encoder, FRAME_SAMPLES};
use crate::rtp::{RtpHeader, RtpPacket, SequenceNumber, Ssrc, Timestamp};
use crate::tone::{Piece, Player};
use playout::Playout;

/// What one tick is worth.
pub const TICK: Duration = Duration::from_millis(20);
/// Voices in one conversation, at most.
pub const MAX_VOICES: usize = 16;
/// What is played to a voice is silent for so long after others were heard.
const PLAYER_YIELDS_FOR: Duration = Duration::from_millis(400);
/// Ticks that are made up for after a stall; more are left out, as if the packets had been lost.
const MAX_TICKS_BEHIND: u32 = 5;

/// What a receiver wants to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sends {
    /// The payload type of its sound.
    pub payload_type: u8,
    /// The codec of its sound.
    pub format: PayloadFormat,
    /// The payload type of its digits, if it takes any.
    pub event_payload_type: Option<u8>,
}

/// One voice of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voice {
    /// Its number, below [`MAX_VOICES`].
    pub number: u8,
    /// How to read its packets.
    pub reads: PayloadMap,
    /// What it is sent; `None` if somebody else sends to it, or nobody.
    pub sends: Option<Sends>,
    /// The numbers of the voices it hears; its own does not count.
    pub hears: Vec<u8>,
}

/// Where a stream of ours begins: random numbers (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// Its source.
    pub ssrc: u32,
    /// Its first sequence number.
    pub sequence_number: u16,
    /// Its first timestamp.
    pub timestamp: u32,
}

/// Whether a side that speaks this can take part: it can be heard and can be spoken to.
pub fn can_mix(format: &PayloadFormat) -> bool {
    Encoder::can_encode(format) && playout::can_play(format)
}

/// One conversation.
pub struct Mixer {
    voices: Vec<Mixed>,
    due: Instant,
    payload: Vec<u8>,
    packet: Vec<u8>,
}

struct Mixed {
    voice: Voice,
    playout: Playout,
    stream: Option<Stream>,
    frame: [i16; FRAME_SAMPLES],
    is_heard: bool,
    /// What it hears while nobody else is heard.
    player: Option<Player>,
    /// Until when others count as heard.
    others_until: Option<Instant>,
}

/// A stream that we send.
struct Stream {
    encoder: Encoder,
    next: RtpHeader,
    /// The digit under way: whose it is, its timestamp there and here.
    digit: Option<(u8, Timestamp, Timestamp)>,
}

impl Mixer {
    /// A conversation of nobody.
    pub fn new(now: Instant) -> Self {
        Self { voices: Vec::new(), due: now + TICK, payload: Vec::new(), packet: Vec::new() }
    }

    /// Says who is in it from now on. Streams go on for those whose formats stay; `start` gives the
    /// numbers of new ones. Voices beyond [`MAX_VOICES`] are left out.
    pub fn set(&mut self, voices: Vec<Voice>, mut start: impl FnMut() -> StreamStart) {
        let mut before = std::mem::take(&mut self.voices);
        for voice in voices.into_iter().take(MAX_VOICES) {
            let known = before.iter().position(|it| it.voice.number == voice.number);
            let known = known.map(|at| before.swap_remove(at));
            let (playout, stream, player, others_until) = match known {
                Some(known) => {
                    let is_same = known.voice.sends == voice.sends;
                    let stream = known.stream.filter(|_| is_same);
                    (known.playout, stream, known.player, known.others_until)
                }
                None => (Playout::default(), None, None, None),
            };
            let new = || Stream::new(voice.sends.as_ref()?, start());
            let stream = stream.or_else(new);
            let (frame, is_heard) = ([0; FRAME_SAMPLES], false);
            let mixed = Mixed { voice, playout, stream, frame, is_heard, player, others_until };
            self.voices.push(mixed);
        }
    }

    /// Plays something to a voice while it hears nobody, from the beginning if it is another piece
    /// than before; `None`: nothing.
    pub fn play(&mut self, number: u8, piece: Option<Piece>) {
        let Some(mixed) = self.voices.iter_mut().find(|it| it.voice.number == number) else {
            return;
        };
        if mixed.player.as_ref().map(Player::piece) != piece.as_ref() {
            mixed.player = piece.map(Player::new);
        }
    }

    /// A packet of another goes to this voice past the mixer: what is played to it is silent for a
    /// while, and nothing is sent.
    pub fn passes_across(&mut self, number: u8) {
        let until = self.due + PLAYER_YIELDS_FOR;
        if let Some(mixed) = self.voices.iter_mut().find(|it| it.voice.number == number) {
            mixed.others_until = Some(until);
        }
    }

    /// Who is in it.
    pub fn voices(&self) -> impl Iterator<Item = &Voice> {
        self.voices.iter().map(|mixed| &mixed.voice)
    }

    /// When [`Mixer::run`] wants to be called.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Takes a packet of a voice. Digits are passed on at once, to `send` with the receiver's
    /// number; sound waits for its tick. What is not RTP, or of nobody here, is dropped.
    pub fn receive(&mut self, number: u8, bytes: &[u8], mut send: impl FnMut(u8, &[u8])) {
        let Ok(packet) = RtpPacket::parse(bytes) else { return };
        let Some(at) = self.voices.iter().position(|it| it.voice.number == number) else { return };
        let mixed = &mut self.voices[at];
        let format = mixed.voice.reads.format(packet.header.payload_type);
        if format.codec != Codec::TelephoneEvent {
            if format.codec.is_audio() {
                let format = format.clone();
                mixed.playout.push(&packet, &format);
            }
            return;
        }
        for receiver in &mut self.voices {
            if receiver.voice.number == number || !receiver.voice.hears.contains(&number) {
                continue;
            }
            let Some(sends) = &receiver.voice.sends else { continue };
            let (Some(payload_type), Some(stream)) =
                (sends.event_payload_type, &mut receiver.stream)
            else {
                continue;
            };
            let header = stream.digit(number, payload_type, &packet.header);
            self.packet.clear();
            if header.write(packet.payload, &mut self.packet).is_ok() {
                send(receiver.voice.number, &self.packet);
            }
        }
    }

    /// Makes the packets that are due by `now`, each given to `send` with its receiver's number.
    pub fn run(&mut self, now: Instant, mut send: impl FnMut(u8, &[u8])) {
        let behind = now.saturating_duration_since(self.due).as_micros() / TICK.as_micros();
        let behind = u32::try_from(behind).unwrap_or(u32::MAX);
        if behind > MAX_TICKS_BEHIND {
            self.due += TICK * behind;
            for stream in self.voices.iter_mut().filter_map(|it| it.stream.as_mut()) {
                stream.pass(behind);
            }
        }
        while self.due <= now {
            self.due += TICK;
            self.tick(&mut send);
        }
    }

    fn tick(&mut self, send: &mut impl FnMut(u8, &[u8])) {
        for mixed in &mut self.voices {
            mixed.is_heard = mixed.playout.pull(&mut mixed.frame);
        }
        for at in 0..self.voices.len() {
            let (mut sum, are_heard) = self.sum(at);
            if are_heard {
                self.voices[at].others_until = Some(self.due + PLAYER_YIELDS_FOR);
            }
            let Mixed { voice, stream: Some(stream), player, others_until, .. } =
                &mut self.voices[at]
            else {
                continue;
            };
            if let Some(player) = player {
                if others_until.is_none_or(|until| until <= self.due) {
                    player.add_to(&mut sum);
                } else {
                    player.restart();
                    if voice.hears.is_empty() {
                        stream.pass(1);
                        continue;
                    }
                }
            }
            self.payload.clear();
            self.packet.clear();
            stream.encoder.encode(&sum, &mut self.payload);
            let header = stream.next;
            stream.next.timestamp = header.timestamp.plus(stream.encoder.ticks());
            if self.payload.is_empty() {
                continue;
            }
            stream.next.sequence_number = header.sequence_number.next();
            stream.next.marker = false;
            if header.write(&self.payload, &mut self.packet).is_ok() {
                send(voice.number, &self.packet);
            }
        }
    }

    /// What the voice at this place hears, and whether that is anybody.
    fn sum(&self, at: usize) -> ([i16; FRAME_SAMPLES], bool) {
        let Voice { number, hears, .. } = &self.voices[at].voice;
        let (mut sum, mut are_heard) = ([0_i32; FRAME_SAMPLES], false);
        let heard = self.voices.iter().filter(|it| {
            it.is_heard && it.voice.number != *number && hears.contains(&it.voice.number)
        });
        for mixed in heard {
            are_heard = true;
            for (sum, sample) in sum.iter_mut().zip(&mixed.frame) {
                *sum += i32::from(*sample);
            }
        }
        (sum.map(|sum| sum.clamp(i16::MIN.into(), i16::MAX.into()) as i16), are_heard)
    }
}

impl Stream {
    fn new(sends: &Sends, start: StreamStart) -> Option<Self> {
        let next = RtpHeader {
            payload_type: sends.payload_type,
            marker: true,
            sequence_number: SequenceNumber(start.sequence_number),
            timestamp: Timestamp(start.timestamp),
            ssrc: Ssrc(start.ssrc),
        };
        Some(Self { encoder: Encoder::new(&sends.format)?, next, digit: None })
    }

    /// Leaves out this many frames.
    fn pass(&mut self, frames: u32) {
        let ticks = self.encoder.ticks().wrapping_mul(frames);
        self.next.timestamp = self.next.timestamp.plus(ticks);
        self.next.marker = true;
    }

    /// The header of a packet of a digit: all packets of one digit bear the time it began
    /// (RFC 4733 §2.5.1.2).
    fn digit(&mut self, from: u8, payload_type: u8, theirs: &RtpHeader) -> RtpHeader {
        let timestamp = match self.digit {
            Some((whose, there, here)) if (whose, there) == (from, theirs.timestamp) => here,
            _ => self.next.timestamp,
        };
        self.digit = Some((from, theirs.timestamp, timestamp));
        let sequence_number = self.next.sequence_number;
        self.next.sequence_number = sequence_number.next();
        RtpHeader { payload_type, marker: theirs.marker, timestamp, sequence_number, ..self.next }
    }
}

#[cfg(test)]
mod tests;
