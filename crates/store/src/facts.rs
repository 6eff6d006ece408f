//! What the events in the journal say about a call, as far as its recording needs it.

use cheling_media::codec::PayloadMap;
use cheling_model::call::{Format, MediaFault};
use cheling_model::{DealershipId, Lane, TapEvent, TapKind, Timestamp};

use crate::pauses::Pauses;

/// A call as its events tell it.
#[derive(Clone, Debug, Default)]
pub struct CallFacts {
    /// Whose call it is; `None` if its first event is missing.
    pub dealership_id: Option<DealershipId>,
    /// When both sides began to talk: position 0. `None` if they never did.
    pub answered_at: Option<Timestamp>,
    /// When it ended; `None` if that was not seen.
    pub ended_at: Option<Timestamp>,
    /// Packets that the tap dropped, per lane.
    pub tap_dropped_packets: [u64; 2],
    /// Why nothing could be heard of a side, per lane, where that was told.
    pub faults: [Option<MediaFault>; 2],
    /// When nothing was to be recorded.
    pub pauses: Pauses,
    /// How payload types are to be read, per lane and voice, from when on.
    formats: [Vec<FormatsSince>; 2],
    unknown_formats: PayloadMap,
}

/// What the payload types of one voice mean from a moment on.
#[derive(Clone, Debug)]
struct FormatsSince {
    voice: u8,
    since: Timestamp,
    map: PayloadMap,
}

impl CallFacts {
    /// Reads the events of one call, in the order they were sent.
    pub fn of(events: &[TapEvent]) -> Self {
        let mut facts = Self::default();
        for event in events {
            match &event.kind {
                TapKind::Offered(offer) => facts.dealership_id = Some(offer.dealership_id),
                TapKind::Answered { .. } => {
                    facts.answered_at = facts.answered_at.or(Some(event.at))
                }
                TapKind::Ended { .. } => facts.ended_at = Some(event.at),
                TapKind::RelayClosed { tap_dropped_packets, .. } => {
                    facts.tap_dropped_packets = *tap_dropped_packets;
                }
                TapKind::MediaRefused { lane, why } => facts.faults[lane.index()] = Some(*why),
                TapKind::Formats { lane, voice, formats } => {
                    let mut map = PayloadMap::default();
                    for format in formats {
                        let Format { payload_type, encoding, clock_hz, channels } = format;
                        map.bind(*payload_type, encoding, *clock_hz, *channels);
                    }
                    let since = FormatsSince { voice: *voice, since: event.at, map };
                    facts.formats[lane.index()].push(since);
                }
                _ => facts.pauses.note(event),
            }
        }
        facts
    }

    /// How a packet of a voice of `lane` that arrived `at` is to be read.
    ///
    /// Media that overtakes the first answer is read by that answer; a voice that was told no
    /// formats is read as the lane's main one.
    pub fn formats(&self, lane: Lane, voice: u8, at: Timestamp) -> &PayloadMap {
        let known = self.told(lane, voice, at);
        let known = known.or_else(|| (voice > 0).then(|| self.told(lane, 0, at)).flatten());
        known.unwrap_or(&self.unknown_formats)
    }

    fn told(&self, lane: Lane, voice: u8, at: Timestamp) -> Option<&PayloadMap> {
        let mut first = None;
        let mut last = None;
        for formats in self.formats[lane.index()].iter().filter(|formats| formats.voice == voice) {
            first = first.or(Some(&formats.map));
            if formats.since <= at {
                last = Some(&formats.map);
            }
        }
        last.or(first)
    }
}

#[cfg(test)]
mod tests {
    use cheling_model::CallId;
    use uuid::Uuid;

    use super::*;

    fn event(at_us: i64, kind: TapKind) -> TapEvent {
        TapEvent { call_id: CallId(Uuid::nil()), at: Timestamp::from_micros(at_us), kind }
    }

    fn formats(voice: u8, payload_type: u8, encoding: &str) -> TapKind {
        let encoding = encoding.to_owned();
        let format = Format { payload_type, encoding, clock_hz: 8000, channels: 1 };
        TapKind::Formats { lane: Lane::Agent, voice, formats: vec![format] }
    }

    #[test]
    fn formats_hold_from_their_moment_on_and_the_first_before_it() {
        let facts = CallFacts::of(&[
            event(100, formats(0, 97, "PCMA")),
            event(100, TapKind::Answered { extension: "8001".into() }),
            event(500, formats(0, 97, "PCMU")),
            event(550, formats(2, 97, "GSM")),
            event(600, TapKind::Answered { extension: "8002".into() }),
        ]);
        assert_eq!(facts.answered_at, Some(Timestamp::from_micros(100)));
        for (lane, voice, at_us, want) in [
            (Lane::Agent, 0, 50, "PCMA"),
            (Lane::Agent, 0, 499, "PCMA"),
            (Lane::Agent, 0, 500, "PCMU"),
            (Lane::Agent, 0, 600, "PCMU"),
            (Lane::Agent, 1, 500, "PCMU"),
            (Lane::Agent, 2, 500, "GSM"),
            (Lane::Customer, 0, 500, "unknown"),
            (Lane::Customer, 1, 500, "unknown"),
        ] {
            let map = facts.formats(lane, voice, Timestamp::from_micros(at_us));
            assert_eq!(map.format(97).codec.encoding_name(), want, "{voice} {at_us}");
        }
    }
}
