//! RFC 4733 telephone events: which digit, and when it begins and ends.
//!
//! The digits themselves are never logged: callers type card numbers and passwords.

use std::fmt;

use crate::rtp::{Ssrc, Timestamp};

/// Most digits kept of one stream.
const MAX_DIGITS: usize = 1024;

/// One payload of a telephone event (RFC 4733 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Event code; 0 to 15 are the DTMF digits.
    pub code: u8,
    /// The event ended with this packet.
    pub is_end: bool,
    /// Power below 0 dBm0.
    pub volume: u8,
    /// Ticks since the event's timestamp.
    pub duration: u16,
}

impl Event {
    /// Reads the first event of a payload; `None` if it is shorter than four bytes.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let &[code, flags, high, low, ..] = payload else { return None };
        Some(Self {
            code,
            is_end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The digit of a DTMF event; `None` for tones, flash and others.
    pub fn digit(&self) -> Option<char> {
        match self.code {
            0..=9 => Some(char::from(b'0' + self.code)),
            10 => Some('*'),
            11 => Some('#'),
            12..=15 => Some(char::from(b'A' + self.code - 12)),
            _ => None,
        }
    }
}

/// Counts each digit once, however often its packets are repeated (RFC 4733 §2.5.1).
#[derive(Clone, Default)]
pub struct Digits {
    digits: Vec<char>,
    last: Option<(Ssrc, Timestamp, u8)>,
}

impl Digits {
    /// Takes one event packet; returns the digit if this is the first packet of it.
    pub fn push(&mut self, ssrc: Ssrc, timestamp: Timestamp, event: Event) -> Option<char> {
        let key = (ssrc, timestamp, event.code);
        if self.last == Some(key) {
            return None;
        }
        self.last = Some(key);
        let digit = event.digit()?;
        if self.digits.len() < MAX_DIGITS {
            self.digits.push(digit);
        }
        Some(digit)
    }

    /// The digits in the order they were pressed.
    pub fn as_string(&self) -> String {
        self.digits.iter().collect()
    }

    /// How many digits were pressed.
    pub fn count(&self) -> usize {
        self.digits.len()
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digits({} hidden)", self.digits.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_packets_are_one_digit() {
        let mut digits = Digits::default();
        for (timestamp, payload) in [
            (160, [1, 0x0a, 0, 160]),
            (160, [1, 0x0a, 1, 64]),
            (160, [1, 0x8a, 1, 224]),
            (160, [1, 0x8a, 1, 224]),
            (2000, [1, 0x0a, 0, 160]), // The same key again is a second digit.
            (4000, [11, 0x8a, 0, 160]),
            (5000, [16, 0x8a, 0, 160]), // Flash is no digit.
        ] {
            digits.push(Ssrc(1), Timestamp(timestamp), Event::parse(&payload).unwrap());
        }
        assert_eq!(digits.as_string(), "11#");
        assert_eq!(format!("{digits:?}"), "Digits(3 hidden)");
        assert_eq!(Event::parse(&[1, 2, 3]), None);
    }
}
