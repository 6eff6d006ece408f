//! The two lanes of a running call in stereo, a moment behind, for somebody who listens in.
//!
//! Packets are placed by their timestamps, tied to their arrival: a stream that falls behind or
//! runs ahead is moved to where it arrives. What is [`HOLD_US`] older than the newest arrival is
//! handed out and final. It is all at [`RATE_HZ`], as a telephone carries it; the recording keeps
//! what is wider.
//!
//! Belongs here: packets and arrival times in, samples out. Does not: the recording's time line,
//! which is judged with the whole call in view (`timeline`).

use std::collections::HashMap;

use crate::RATE_HZ;
use crate::codec::{Codec, PayloadFormat};
use crate::decoder::Decoder;
use crate::dtmf_tones::{InbandDigits, ToneMute};
use crate::half_band::Halver;
use crate::lane::{Before, Lane};
use crate::rtp::{ExtendedTimestamp, RtpPacket, Ssrc};
use crate::timeline::Placement;

/// How long a packet may come behind a later one, of either lane, and is still heard.
pub const HOLD_US: i64 = 60_000;
/// A stream this far behind its arrival is moved there: 100 ms.
const MAX_BEHIND_SAMPLES: i64 = RATE_HZ as i64 / 10;
/// More silence than this is left out, and more sound that was not taken.
const LONGEST_US: i64 = 1_000_000;
/// Streams of one lane that are heard; the ones that were silent for longest give way.
const MAX_STREAMS: usize = 8;
/// Microseconds of one sample.
const SAMPLE_US: i64 = 1_000_000 / RATE_HZ as i64;

/// A call being listened to.
pub struct LiveStereo {
    started_us: i64,
    newest_us: i64,
    handed_out: u64,
    lanes: [LiveLane; 2],
    planar: [Vec<i16>; 2],
    digits: InbandDigits,
    tones: Option<[ToneMute; 2]>,
    toned: Vec<i16>,
}

struct LiveLane {
    samples: Lane,
    streams: HashMap<(u8, Ssrc), LiveStream>,
    pcm: Vec<i16>,
    narrow: Vec<i16>,
}

struct LiveStream {
    number: u16,
    format: PayloadFormat,
    decoder: Option<Decoder>,
    halver: Option<Halver>,
    timestamp: ExtendedTimestamp,
    /// Added to a timestamp, in samples, it is a place.
    offset: i64,
    heard_us: i64,
    /// Where what it sent last ends.
    end: i64,
}

impl LiveStereo {
    /// Begins to listen at this moment; digits that are sent as tones are heard or not.
    pub fn new(now_us: i64, digits: InbandDigits) -> Self {
        Self {
            started_us: now_us,
            newest_us: now_us,
            handed_out: 0,
            lanes: [LiveLane::new(), LiveLane::new()],
            planar: Default::default(),
            digits,
            tones: digits.mutes(RATE_HZ),
            toned: Vec::new(),
        }
    }

    /// Takes a packet of a lane, 0 for left and 1 for right, and of which voice there. What cannot
    /// be decoded, or came before the beginning, is silence.
    pub fn push(
        &mut self,
        lane: usize,
        voice: u8,
        arrival_us: i64,
        rtp: &RtpPacket<'_>,
        format: &PayloadFormat,
    ) {
        let arrival = arrival_us.saturating_sub(self.started_us);
        // A clock that leaps must not make hours of silence.
        if !(0..=48 * 3600 * 1_000_000).contains(&arrival) {
            return;
        }
        if arrival_us.saturating_sub(self.newest_us) > LONGEST_US {
            // After a pause or a hold it begins anew.
            *self = Self::new(arrival_us, self.digits);
        }
        let arrival = arrival_us.saturating_sub(self.started_us);
        self.newest_us = self.newest_us.max(arrival_us);
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.push(voice, arrival / SAMPLE_US, arrival_us, rtp, format);
        }
    }

    /// Appends what is ready, left and right in turn, and says when its first sample was spoken;
    /// `None` if nothing is.
    pub fn take(&mut self, out: &mut Vec<i16>) -> Option<i64> {
        let ready_us = self.newest_us - HOLD_US - self.started_us;
        let until = u64::try_from(ready_us / SAMPLE_US).unwrap_or(0);
        if until <= self.handed_out {
            return None;
        }
        let longest = (LONGEST_US / SAMPLE_US) as u64;
        let mut from = self.handed_out.max(until.saturating_sub(longest));
        if from > self.handed_out {
            self.tones = self.digits.mutes(RATE_HZ);
        }
        for (lane, planar) in self.lanes.iter_mut().zip(&mut self.planar) {
            planar.clear();
            lane.samples.advance(from, planar);
            planar.clear();
            lane.samples.advance(until, planar);
        }
        self.handed_out = until;
        if let Some(tones) = &mut self.tones {
            // What waited to be judged comes first.
            from = from.saturating_sub(tones[0].waiting() as u64);
            for (tones, planar) in tones.iter_mut().zip(&mut self.planar) {
                std::mem::swap(planar, &mut self.toned);
                planar.clear();
                tones.push(&self.toned, planar);
            }
            if self.planar[0].is_empty() {
                return None;
            }
        }
        let [left, right] = &self.planar;
        out.extend(left.iter().zip(right).flat_map(|(&left, &right)| [left, right]));
        Some(self.started_us + from as i64 * SAMPLE_US)
    }
}

impl LiveLane {
    fn new() -> Self {
        Self {
            samples: Lane::new(RATE_HZ, u64::MAX),
            streams: HashMap::new(),
            pcm: Vec::new(),
            narrow: Vec::new(),
        }
    }

    fn push(
        &mut self,
        voice: u8,
        arrival: i64,
        arrival_us: i64,
        rtp: &RtpPacket<'_>,
        format: &PayloadFormat,
    ) {
        let key = (voice, rtp.header.ssrc);
        // They come between the packets of a stream, whose decoder goes on after them.
        if !format.codec.is_audio() && !self.streams.contains_key(&key) {
            return;
        }
        if !self.streams.contains_key(&key) {
            self.make_room();
            let number = (0..).find(|it| self.streams.values().all(|used| used.number != *it));
            let timestamp = ExtendedTimestamp::first(rtp.header.timestamp);
            let stream = LiveStream::new(number.unwrap_or(0), format, timestamp, arrival);
            self.streams.insert(key, stream);
        }
        let Some(stream) = self.streams.get_mut(&key) else { return };
        if let Some(noise) = format.codec.comfort_noise(rtp.payload) {
            let at = Placement { position: arrival.max(stream.end), stream: stream.number };
            return self.samples.comfort_noise(at, &noise);
        }
        if !format.codec.is_audio() {
            return;
        }
        if stream.format != *format {
            let timestamp = ExtendedTimestamp::first(rtp.header.timestamp);
            *stream = LiveStream::new(stream.number, format, timestamp, arrival);
        }
        stream.heard_us = arrival_us;
        let position = stream.place(rtp, arrival);
        let Some(decoder) = &mut stream.decoder else { return };
        self.pcm.clear();
        decoder.decode(rtp.payload, &mut self.pcm);
        let pcm = match &mut stream.halver {
            Some(halver) => {
                self.narrow.clear();
                halver.push(&self.pcm, &mut self.narrow);
                &self.narrow
            }
            None => &self.pcm,
        };
        let place = Placement { position, stream: stream.number };
        stream.end = position.saturating_add(pcm.len() as i64);
        self.samples.place(place, Before::Pause, pcm);
    }

    fn make_room(&mut self) {
        if self.streams.len() < MAX_STREAMS {
            return;
        }
        let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.heard_us);
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.streams.remove(&key);
        }
    }
}

impl LiveStream {
    fn new(
        number: u16,
        format: &PayloadFormat,
        timestamp: ExtendedTimestamp,
        arrival: i64,
    ) -> Self {
        let decoder = match format.codec {
            Codec::Opus => Decoder::at_rate(format, RATE_HZ),
            _ => Decoder::new(format),
        };
        let rate_hz = decoder.as_ref().map(Decoder::rate_hz);
        let mut stream = Self {
            number,
            format: format.clone(),
            decoder: decoder.filter(|it| matches!(it.rate_hz(), RATE_HZ | 16_000)),
            halver: (rate_hz == Some(2 * RATE_HZ)).then(Halver::default),
            timestamp,
            offset: 0,
            heard_us: 0,
            end: 0,
        };
        stream.offset = arrival.saturating_sub(stream.samples(timestamp));
        stream
    }

    fn samples(&self, timestamp: ExtendedTimestamp) -> i64 {
        let clock_hz = i128::from(self.format.clock_rate_hz.max(1));
        (i128::from(timestamp.0) * i128::from(RATE_HZ) / clock_hz) as i64
    }

    /// Where a packet that arrives at `arrival` goes.
    fn place(&mut self, rtp: &RtpPacket<'_>, arrival: i64) -> i64 {
        self.timestamp = self.timestamp.nearest(rtp.header.timestamp);
        let samples = self.samples(self.timestamp);
        let behind = arrival.saturating_sub(samples.saturating_add(self.offset));
        if !(0..=MAX_BEHIND_SAMPLES).contains(&behind) {
            self.offset = self.offset.saturating_add(behind);
        }
        samples.saturating_add(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;
    use crate::codec::PayloadMap;
    use crate::g711::Law;
    use crate::g722;
    use crate::rtp::{RtpHeader, SequenceNumber, Timestamp};

    fn tone(hz: f64, rate: f64, from: usize, samples: usize) -> Vec<i16> {
        let sample = |n: usize| (8000.0 * (n as f64 * hz * TAU / rate).sin()) as i16;
        (from..from + samples).map(sample).collect()
    }

    fn amplitude(pcm: &[i16], hz: f64) -> f64 {
        let (mut re, mut im) = (0.0, 0.0);
        for (n, &sample) in pcm.iter().enumerate() {
            let angle = n as f64 * hz * TAU / 8000.0;
            re += f64::from(sample) * angle.cos();
            im += f64::from(sample) * angle.sin();
        }
        2.0 * f64::hypot(re, im) / pcm.len().max(1) as f64
    }

    fn packet(payload_type: u8, ssrc: u32, n: u32, payload: &[u8]) -> Vec<u8> {
        let header = RtpHeader {
            payload_type,
            marker: false,
            sequence_number: SequenceNumber(n as u16),
            timestamp: Timestamp(0xffff_f000_u32.wrapping_add(n * 160)),
            ssrc: Ssrc(ssrc),
        };
        let mut bytes = Vec::new();
        header.write(payload, &mut bytes).unwrap();
        bytes
    }

    fn push(live: &mut LiveStereo, lane: usize, at_us: i64, bytes: &[u8]) {
        let rtp = RtpPacket::parse(bytes).unwrap();
        let formats = PayloadMap::default();
        live.push(lane, 0, at_us, &rtp, formats.format(rtp.header.payload_type));
    }

    fn alaw(hz: f64, n: u32) -> Vec<u8> {
        let mut payload = Vec::new();
        Law::A.encode(&tone(hz, 8000.0, n as usize * 160, 160), &mut payload);
        payload
    }

    fn split(stereo: &[i16]) -> [Vec<i16>; 2] {
        [0, 1].map(|lane| stereo.iter().skip(lane).step_by(2).copied().collect())
    }

    #[test]
    fn each_lane_is_heard_on_its_side_a_moment_behind() {
        let mut live = LiveStereo::new(0, InbandDigits::Kept);
        let (mut heard, mut next_us) = (Vec::new(), 0);
        for n in 0..100_u32 {
            // Jitter of up to 40 ms, and every seventh packet behind the next.
            let late_us = i64::from(n * 7919 % 40) * 1000 + if n % 7 == 0 { 15_000 } else { 0 };
            let at_us = i64::from(n) * 20_000 + late_us;
            push(&mut live, 0, at_us, &packet(8, 1, n, &alaw(440.0, n)));
            push(&mut live, 1, at_us, &packet(8, 2, n, &alaw(1000.0, n)));
            let before = heard.len();
            if let Some(from_us) = live.take(&mut heard) {
                assert_eq!(from_us, next_us, "without a gap");
                next_us += (heard.len() - before) as i64 / 2 * 125;
            }
            assert!(next_us >= at_us - HOLD_US - 40_000, "{next_us} at {at_us}");
        }
        let [left, right] = split(&heard);
        for (lane, own, other) in [(&left, 440.0, 1000.0), (&right, 1000.0, 440.0)] {
            // The first second shows by its earliest packet what the jitter is.
            let lane = &lane[8000..];
            assert!(amplitude(lane, own) > 7000.0, "{}", amplitude(lane, own));
            assert!(amplitude(lane, other) < 200.0);
        }
    }

    #[test]
    fn a_wide_codec_is_heard_and_what_cannot_be_read_is_silence() {
        let mut live = LiveStereo::new(0, InbandDigits::Kept);
        let (mut encoder, mut heard) = (g722::Encoder::default(), Vec::new());
        for n in 0..100_u32 {
            let mut payload = Vec::new();
            encoder.encode(&tone(600.0, 16_000.0, n as usize * 320, 320), &mut payload);
            push(&mut live, 0, i64::from(n) * 20_000, &packet(9, 1, n, &payload));
            push(&mut live, 1, i64::from(n) * 20_000, &packet(15, 2, n, &[7; 20]));
        }
        live.take(&mut heard);
        let [left, right] = split(&heard);
        assert!(amplitude(&left[800..], 600.0) > 6500.0, "{}", amplitude(&left[800..], 600.0));
        assert!(right.iter().all(|it| *it == 0));
    }

    #[test]
    fn digits_sent_as_tones_are_silence_and_time_goes_on() {
        for digits in [InbandDigits::Kept, InbandDigits::Silenced] {
            let mut live = LiveStereo::new(0, digits);
            let (mut heard, mut next_us) = (Vec::new(), 0);
            for n in 0..100_u32 {
                let at_us = i64::from(n) * 20_000;
                let mut payload = alaw(440.0, n);
                if (40..45).contains(&n) {
                    let tones = tone(852.0, 8000.0, n as usize * 160, 160).into_iter();
                    let tones = tones.zip(tone(1336.0, 8000.0, n as usize * 160, 160));
                    let tones: Vec<_> = tones.map(|(low, high)| (low + high) / 2).collect();
                    payload.clear();
                    Law::A.encode(&tones, &mut payload);
                }
                push(&mut live, 0, at_us, &packet(8, 1, n, &payload));
                push(&mut live, 1, at_us, &packet(8, 2, n, &alaw(1000.0, n)));
                let before = heard.len();
                if let Some(from_us) = live.take(&mut heard) {
                    assert_eq!(from_us, next_us, "without a gap");
                    next_us += (heard.len() - before) as i64 / 2 * 125;
                }
                assert!(next_us >= at_us - HOLD_US - 60_000, "{next_us} at {at_us}");
            }
            let [left, right] = split(&heard);
            let loudest = left[6480..7120].iter().map(|it| it.abs()).max().unwrap_or(0);
            assert_eq!(loudest == 0, digits == InbandDigits::Silenced, "{loudest}");
            assert!(amplitude(&left[3200..6300], 440.0) > 7000.0);
            assert!(amplitude(&left[7300..12_000], 440.0) > 7000.0);
            assert!(amplitude(&right[3200..12_000], 1000.0) > 7000.0);
        }
    }

    #[test]
    fn the_silence_of_a_sender_is_heard_as_loud_as_it_says() {
        let mut live = LiveStereo::new(0, InbandDigits::Kept);
        let mut heard = Vec::new();
        for n in 0..100_u32 {
            let at_us = i64::from(n) * 20_000;
            match n {
                0..30 | 70.. => push(&mut live, 0, at_us, &packet(8, 1, n, &alaw(440.0, n))),
                30 => push(&mut live, 0, at_us, &packet(13, 1, n, &[60])),
                _ => {}
            }
            push(&mut live, 1, at_us, &packet(8, 2, n, &alaw(1000.0, n)));
            live.take(&mut heard);
        }
        let [left, _] = split(&heard);
        let squares: f64 = left[5000..11_000].iter().map(|it| f64::from(*it).powi(2)).sum();
        let level_db = 10.0 * (squares / 6000.0 / (32_768.0 * 32_768.0)).log10();
        assert!((level_db + 60.0).abs() < 0.5, "{level_db}");
        assert!(amplitude(&left[11_400..14_000], 440.0) > 7000.0);
    }

    #[test]
    fn a_long_silence_is_not_waited_for_and_a_leap_of_timestamps_is_followed() {
        let mut live = LiveStereo::new(1_000_000_000, InbandDigits::Kept);
        let at_us = |n: u32| 1_000_000_000 + i64::from(n) * 20_000;
        let mut heard = Vec::new();
        for n in 0..10 {
            push(&mut live, 0, at_us(n), &packet(8, 1, n, &alaw(440.0, n)));
        }
        live.take(&mut heard);
        heard.clear();
        // Ten minutes on hold, and then the timestamps go on as if nothing had been.
        for n in 30_000..30_050_u32 {
            push(&mut live, 0, at_us(n), &packet(8, 1, n - 29_000, &alaw(440.0, n)));
        }
        let from_us = live.take(&mut heard).unwrap();
        assert_eq!(from_us, at_us(30_000), "from where it begins anew");
        assert_eq!(heard.len() as i64 / 2 * 125, at_us(30_049) - HOLD_US - from_us);
        assert!(amplitude(&split(&heard)[0], 440.0) > 7000.0);
        assert_eq!(live.take(&mut heard), None);
    }

    #[test]
    fn no_packet_makes_it_hold_much() {
        let mut live = LiveStereo::new(0, InbandDigits::Kept);
        let mut heard = Vec::new();
        for n in 0..20_000_u32 {
            let bytes =
                packet(8, n.wrapping_mul(2_654_435_761), n.wrapping_mul(77), &alaw(440.0, n));
            push(&mut live, 0, i64::from(n % 977) * 1_000_000, &bytes);
            push(&mut live, 0, i64::MAX, &bytes);
        }
        live.take(&mut heard);
        assert!(live.lanes[0].streams.len() <= MAX_STREAMS);
        assert!(heard.len() <= 2 * 8000);
    }
}
