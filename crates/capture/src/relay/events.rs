//! Telephone events (RFC 4733) among a call's packets: the agent's digits are told, and no digit
//! of anybody is recorded.
//!
//! A packet is looked at after it has been forwarded. What is no event costs one shift.

use cheling_media::dtmf::Event;
use cheling_model::Lane;
use cheling_model::call::Digit;
use std::time::{Duration, Instant};

/// What the payload of an event becomes in the copy that is recorded: no event has this code.
const ERASED: u8 = 0xff;
/// Digits come no faster: the shortest tone is 40 ms. More are not told.
const SHORTEST: Duration = Duration::from_millis(40);
/// Payload type 101 until the SDP says otherwise: nearly every phone uses it for events.
const USUAL_EVENTS: u128 = 1 << 101;

/// Reads and erases the telephone events of one call.
#[derive(Debug)]
pub(super) struct EventReader {
    /// A bit for each payload type that is an event, of [customer, agent].
    payload_types: [u128; 2],
    /// SSRC, timestamp and code of the agent's last digit: its packets are many (RFC 4733 §2.5.1).
    last: Option<(u32, u32, u8)>,
    told_at: Option<Instant>,
}

impl EventReader {
    pub(super) fn new() -> Self {
        Self { payload_types: [USUAL_EVENTS; 2], last: None, told_at: None }
    }

    /// Says which payload types of a side are events.
    pub(super) fn set(&mut self, lane: Lane, payload_types: u128) {
        self.payload_types[lane.index()] = payload_types;
    }

    /// Looks at an RTP packet that has been forwarded. Erases the payload of an event; returns the
    /// digit if it is the first packet of one of the agent's.
    pub(super) fn read(&mut self, lane: Lane, packet: &mut [u8], now: Instant) -> Option<Digit> {
        let payload_type = packet.get(1)? & 0x7f;
        if self.payload_types[lane.index()] >> payload_type & 1 == 0 {
            return None;
        }
        let number =
            |bytes: &[u8]| bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let (timestamp, ssrc) = (number(packet.get(4..8)?), number(packet.get(8..12)?));
        // A header with an extension is erased with its payload; the sequence number stays.
        let payload_at = 12 + 4 * usize::from(packet[0] & 0x0f);
        let has_extension = packet[0] & 0x10 != 0;
        let payload = packet.get_mut(payload_at..)?;
        let event = Event::parse(payload).filter(|_| !has_extension);
        payload.fill(ERASED);
        if has_extension {
            packet[0] &= !0x10;
        }
        let event = event.filter(|_| lane == Lane::Agent)?;
        let key = (ssrc, timestamp, event.code);
        if self.last == Some(key) {
            return None;
        }
        self.last = Some(key);
        let digit = event.digit()?;
        if self.told_at.is_some_and(|at| now.saturating_duration_since(at) < SHORTEST) {
            return None;
        }
        self.told_at = Some(now);
        Some(Digit(digit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(payload_type: u8, timestamp: u8, payload: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x80, payload_type, 0, 1, 0, 0, 0, timestamp, 0, 0, 0, 7];
        packet.extend(payload);
        packet
    }

    #[test]
    fn each_digit_of_the_agent_is_told_once_and_none_is_left() {
        let mut events = EventReader::new();
        let start = Instant::now();
        let mut told = Vec::new();
        for (at_ms, lane, payload_type, timestamp, code) in [
            (0, Lane::Agent, 101, 1, 10),
            (20, Lane::Agent, 101, 1, 10),
            (120, Lane::Agent, 101, 2, 1),
            (140, Lane::Customer, 101, 9, 4),
            (150, Lane::Agent, 101, 3, 2), // Too soon after the last.
            (300, Lane::Agent, 0x80 | 101, 4, 16), // Flash is no digit.
        ] {
            let mut bytes = packet(payload_type, timestamp, [code, 0x0a, 0, 160]);
            let now = start + Duration::from_millis(at_ms);
            told.extend(events.read(lane, &mut bytes, now).map(|digit| digit.0));
            assert_eq!(bytes[12..], [ERASED; 4]);
            assert_eq!(bytes[..12], packet(payload_type, timestamp, [0; 4])[..12]);
        }
        assert_eq!(told, ['*', '1']);
    }

    #[test]
    fn what_the_sdp_does_not_call_an_event_is_left_alone() {
        let mut events = EventReader::new();
        events.set(Lane::Agent, 1 << 96);
        let now = Instant::now();
        let mut bytes = packet(101, 1, [5, 0x0a, 0, 160]);
        assert!(events.read(Lane::Agent, &mut bytes, now).is_none());
        assert_eq!(bytes, packet(101, 1, [5, 0x0a, 0, 160]));
        let mut bytes = packet(96, 1, [5, 0x0a, 0, 160]);
        assert_eq!(events.read(Lane::Agent, &mut bytes, now), Some(Digit('5')));
    }

    #[test]
    fn no_length_and_no_header_is_trusted() {
        let mut events = EventReader::new();
        let now = Instant::now();
        for first in [0x80_u8, 0x90, 0x8f, 0x9f] {
            let mut whole = packet(101, 1, [5, 0x0a, 0, 160]);
            whole[0] = first;
            for len in 0..whole.len() {
                events.read(Lane::Agent, &mut whole.clone()[..len], now);
            }
        }
        // Behind an extension the digit is erased too, unread.
        let mut bytes = packet(101, 1, [0xbe, 0xde, 0, 0]);
        bytes[0] |= 0x10;
        bytes.extend([5, 0x0a, 0, 160]);
        assert!(events.read(Lane::Agent, &mut bytes, now).is_none());
        assert_eq!(bytes[12..], [ERASED; 8]);
    }
}
