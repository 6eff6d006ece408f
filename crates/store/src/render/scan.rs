//! First look at a call's packets: headers and arrival times only.

use std::collections::{BTreeMap, HashMap};

use cheling_media::codec::Codec;
use cheling_media::reception::{Arrival, Reception};
use cheling_media::rtp::{RtpPacket, Ssrc};
use cheling_media::timeline::{PacketTime, Timeline};
use cheling_model::Timestamp;
use cheling_model::recording::LaneQuality;
use cheling_model::tap::PacketKind;

use super::RenderError;
use crate::facts::CallFacts;
use crate::journal::CallRecords;

/// Streams whose reception is counted, per lane.
const MAX_STREAMS: usize = 1024;

/// Codecs that are counted, per lane.
const MAX_CODECS: usize = 16;

/// What a packet with sound is.
pub enum Sound<'a> {
    /// Can be decoded.
    Decodable(&'a Codec),
    /// Must be kept raw.
    Undecodable,
}

impl<'a> Sound<'a> {
    /// `None` for digits and comfort noise: they are silence.
    pub fn of(codec: &'a Codec) -> Option<Self> {
        match codec {
            codec if codec.is_decodable() => Some(Self::Decodable(codec)),
            codec if codec.is_audio() => Some(Self::Undecodable),
            _ => None,
        }
    }
}

/// What one lane sent.
pub struct LaneScan {
    /// Packets with sound that can be decoded, in the order of the journal.
    pub timeline: Timeline,
    /// How many they are.
    pub decodable_packets: u64,
    /// Packets with sound that cannot be decoded.
    pub undecodable_packets: u64,
    receptions: HashMap<Ssrc, Reception>,
    codecs: BTreeMap<String, u64>,
}

impl LaneScan {
    fn new(started_at: Timestamp) -> Self {
        Self {
            timeline: Timeline::new(started_at.as_micros()),
            decodable_packets: 0,
            undecodable_packets: 0,
            receptions: HashMap::new(),
            codecs: BTreeMap::new(),
        }
    }

    /// The encoding name of most of the sound; empty if there was none.
    pub fn encoding(&self) -> String {
        let most = self.codecs.iter().max_by_key(|(_, packets)| **packets);
        most.map_or_else(String::new, |(name, _)| name.clone())
    }

    /// How the lane's packets arrived, over all its streams.
    pub fn quality(&self) -> LaneQuality {
        let mut quality = LaneQuality::default();
        let mut main = 0;
        for reception in self.receptions.values() {
            quality.received_packets += reception.received();
            quality.lost_packets += reception.lost();
            quality.reordered_packets += reception.reordered();
            quality.duplicate_packets += reception.duplicates();
            if reception.received() > main {
                main = reception.received();
                quality.jitter_us = u32::try_from(reception.jitter_us()).unwrap_or(u32::MAX);
            }
        }
        quality
    }

    fn count(&mut self, arrival_us: i64, clock_rate_hz: u32, rtp: &RtpPacket<'_>) -> Arrival {
        let has_room = self.receptions.len() < MAX_STREAMS;
        let header = &rtp.header;
        match self.receptions.get_mut(&header.ssrc) {
            Some(reception) => reception.push(arrival_us, header.sequence_number, header.timestamp),
            None if has_room => self
                .receptions
                .entry(header.ssrc)
                .or_insert_with(|| Reception::new(clock_rate_hz))
                .push(arrival_us, header.sequence_number, header.timestamp),
            None => Arrival::InOrder,
        }
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
        if packet.kind != PacketKind::Rtp {
            return Ok(());
        }
        let Ok(rtp) = RtpPacket::parse(packet.bytes) else { return Ok(()) };
        let lane = &mut lanes[packet.lane.index()];
        let format = facts.formats(packet.lane, packet.at).format(rtp.header.payload_type);
        lane.count(packet.at.as_micros(), format.clock_rate_hz, &rtp);
        let Some(sound) = Sound::of(&format.codec) else { return Ok(()) };
        let name = format.codec.encoding_name();
        if let Some(packets) = lane.codecs.get_mut(name) {
            *packets += 1;
        } else if lane.codecs.len() < MAX_CODECS {
            lane.codecs.insert(name.to_owned(), 1);
        }
        match sound {
            Sound::Decodable(_) => {
                lane.decodable_packets += 1;
                lane.timeline.push(PacketTime {
                    arrival_us: packet.at.as_micros(),
                    ssrc: rtp.header.ssrc,
                    clock_rate_hz: format.clock_rate_hz,
                    timestamp: rtp.header.timestamp,
                });
            }
            Sound::Undecodable => lane.undecodable_packets += 1,
        }
        Ok(())
    })?;
    Ok(Scan { lanes, last_arrival, damaged_records: report.damaged_records })
}
