//! First look at a call's packets: headers and arrival times only.

use std::collections::BTreeMap;

use cheling_media::codec::{Codec, PayloadFormat};
use cheling_media::keyed::Keyed;
use cheling_media::quality::{Conditions, Impairment};
use cheling_media::reception::Reception;
use cheling_media::rtp::{RtpPacket, Ssrc};
use cheling_media::timeline::{PacketTime, Timeline};
use cheling_model::recording::LaneQuality;
use cheling_model::tap::{PacketKind, TapPacket};
use cheling_model::{Lane, Timestamp};

use super::RenderError;
use super::mixer::{LanePlan, VoicePlan};
use super::reports::{LaneReports, take_reports};
use crate::facts::CallFacts;
use crate::journal::CallRecords;

/// Streams whose reception is counted, per lane.
const MAX_STREAMS: usize = 1024;

/// Packets of one rate that count whatever share of the lane they are (1 s).
const FEW_PACKETS: u64 = 50;

/// Codecs that are counted, per lane.
const MAX_CODECS: usize = 16;

/// What is to be done with a packet with sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// Decode it.
    Decodable,
    /// Decode it, and keep it raw too.
    DecodableKeptRaw,
    /// It can only be kept raw.
    Undecodable,
}

impl Sound {
    /// `None` for digits, which are silence, and for comfort noise.
    pub fn of(format: &PayloadFormat) -> Option<Self> {
        match format.sample_rate_hz() {
            _ if !format.codec.is_audio() => None,
            Some(_) if format.codec.is_kept_raw() => Some(Self::DecodableKeptRaw),
            Some(_) => Some(Self::Decodable),
            None => Some(Self::Undecodable),
        }
    }
}

/// What one voice of a lane sent that can be decoded.
struct VoiceScan {
    /// Its packets, in the order of the journal.
    timeline: Timeline,
    /// How many they are, by the rate of their codec.
    rates_hz: BTreeMap<u32, u64>,
}

/// What one lane sent.
pub struct LaneScan {
    started_at: Timestamp,
    voices: BTreeMap<u8, VoiceScan>,
    /// Packets with sound that can be decoded.
    pub decodable_packets: u64,
    /// Packets with sound that cannot be decoded.
    pub undecodable_packets: u64,
    /// By voice, stream, and the pauses before it.
    receptions: Keyed<(u8, Ssrc, u32), Reception>,
    codecs: Keyed<Codec, u64>,
    reports: LaneReports,
}

impl LaneScan {
    fn new(started_at: Timestamp) -> Self {
        Self {
            started_at,
            voices: BTreeMap::new(),
            decodable_packets: 0,
            undecodable_packets: 0,
            receptions: Keyed::default(),
            codecs: Keyed::default(),
            reports: LaneReports::default(),
        }
    }

    /// The highest rate that the lane was really sent at; 0 if nothing can be decoded.
    ///
    /// A few stray packets do not make a file wide.
    pub fn rate_hz(&self) -> u32 {
        let enough = FEW_PACKETS.min(self.decodable_packets.div_ceil(10));
        let mut rates_hz = BTreeMap::<u32, u64>::new();
        for (&rate_hz, packets) in self.voices.values().flat_map(|voice| &voice.rates_hz) {
            *rates_hz.entry(rate_hz).or_default() += packets;
        }
        let used = rates_hz.iter().rev().find(|(_, packets)| **packets >= enough);
        used.map_or(0, |(rate_hz, _)| *rate_hz)
    }

    /// What the mixer needs: each voice that can be decoded.
    pub fn plan(self) -> LanePlan {
        let plan = |(voice, scan): (u8, VoiceScan)| VoicePlan {
            voice,
            places: scan.timeline.finish(),
            rates_hz: scan.rates_hz.into_keys().collect(),
        };
        self.voices.into_iter().map(plan).collect()
    }

    /// The codec of most of the sound.
    fn main_codec(&self) -> Option<&Codec> {
        let most =
            self.codecs.iter().max_by_key(|(codec, packets)| (**packets, codec.encoding_name()));
        most.map(|(codec, _)| codec)
    }

    /// The encoding name of most of the sound; empty if there was none.
    pub fn encoding(&self) -> String {
        self.main_codec().map_or_else(String::new, |codec| codec.encoding_name().to_owned())
    }

    /// How the lane's packets arrived, over all its voices and streams, and how that sounded.
    pub fn quality(&self) -> LaneQuality {
        let mut quality = LaneQuality::default();
        let mut conditions = Conditions::default();
        let mut main = 0;
        for reception in self.receptions.values() {
            quality.received_packets += reception.received();
            quality.lost_packets += reception.lost();
            quality.reordered_packets += reception.reordered();
            quality.duplicate_packets += reception.duplicates();
            conditions.expected_packets += reception.expected();
            conditions.loss_bursts += reception.loss_bursts();
            if reception.received() > main {
                main = reception.received();
                quality.jitter_us = u32::try_from(reception.jitter_us()).unwrap_or(u32::MAX);
                conditions.jitter_us = reception.jitter_us();
            }
        }
        conditions.lost_packets = quality.lost_packets;
        self.reports.add_to(&mut quality);
        conditions.network_delay_us = quality.round_trip_us.map(|trip| u64::from(trip) / 2);
        let impairment = self.main_codec().and_then(Impairment::of);
        quality.mos = impairment.and_then(|impairment| conditions.mos(impairment));
        quality
    }

    fn count(
        &mut self,
        packet: &TapPacket<'_>,
        pauses: u32,
        clock_rate_hz: u32,
        rtp: &RtpPacket<'_>,
    ) {
        let (header, arrival_us) = (&rtp.header, packet.at.as_micros());
        let stream = (packet.voice, header.ssrc, pauses);
        let new = || Reception::new(clock_rate_hz);
        if let Some(reception) = self.receptions.get_or_add(stream, MAX_STREAMS, new) {
            reception.push(arrival_us, header.sequence_number, header.timestamp);
        }
    }

    /// Takes a packet with sound that can be decoded.
    fn place(&mut self, packet: &TapPacket<'_>, format: &PayloadFormat, rtp: &RtpPacket<'_>) {
        self.decodable_packets += 1;
        let started_at = self.started_at.as_micros();
        let voice = self.voices.entry(packet.voice).or_insert_with(|| VoiceScan {
            timeline: Timeline::new(started_at),
            rates_hz: BTreeMap::new(),
        });
        if let Some(rate_hz) = format.sample_rate_hz() {
            *voice.rates_hz.entry(rate_hz).or_default() += 1;
        }
        voice.timeline.push(PacketTime {
            arrival_us: packet.at.as_micros(),
            ssrc: rtp.header.ssrc,
            clock_rate_hz: format.clock_rate_hz,
            timestamp: rtp.header.timestamp,
        });
    }
}

/// What a call's packets are.
pub struct Scan {
    /// [customer, agent].
    pub lanes: [LaneScan; 2],
    /// When the last packet came; the answer if none did.
    pub last_arrival: Timestamp,
    /// Records of the journal that could not be read.
    pub damaged_records: u64,
}

/// Looks at every packet of a call.
pub fn scan(
    records: &CallRecords,
    facts: &CallFacts,
    started_at: Timestamp,
) -> Result<Scan, RenderError> {
    let mut lanes = [LaneScan::new(started_at), LaneScan::new(started_at)];
    let mut last_arrival = started_at;
    let report = records.packets(|packet| -> Result<(), RenderError> {
        last_arrival = last_arrival.max(packet.at);
        if packet.kind == PacketKind::Rtcp {
            let [customer, agent] = &mut lanes;
            let (own, other) = match packet.lane {
                Lane::Customer => (&mut customer.reports, &mut agent.reports),
                Lane::Agent => (&mut agent.reports, &mut customer.reports),
            };
            // Whoever joined a lane reports on a mixture, not on the other lane.
            if packet.voice == 0 {
                take_reports(packet.at, packet.bytes, own, other);
            }
            return Ok(());
        }
        let Ok(rtp) = RtpPacket::parse(packet.bytes) else { return Ok(()) };
        let lane = &mut lanes[packet.lane.index()];
        let format =
            facts.formats(packet.lane, packet.voice, packet.at).format(rtp.header.payload_type);
        lane.count(&packet, facts.pauses.before(packet.at), format.clock_rate_hz, &rtp);
        let Some(sound) = Sound::of(format) else { return Ok(()) };
        match lane.codecs.get_mut(&format.codec) {
            Some(packets) => *packets += 1,
            None => {
                lane.codecs.find_or_add(format.codec.clone(), MAX_CODECS, || 1);
            }
        }
        if sound == Sound::Undecodable {
            lane.undecodable_packets += 1;
            return Ok(());
        }
        lane.place(&packet, format, &rtp);
        Ok(())
    })?;
    Ok(Scan { lanes, last_arrival, damaged_records: report.damaged_records })
}
