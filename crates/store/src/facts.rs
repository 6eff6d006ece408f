//! What the events in the journal say about a call, as far as its recording needs it.

use cheling_media::codec::PayloadMap;
use cheling_model::call::Format;
use cheling_model::{DealershipId, Lane, TapEvent, TapKind, Timestamp};

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
    /// How payload types are to be read, per lane, from when on.
    formats: [Vec<(Timestamp, PayloadMap)>; 2],
    unknown_formats: PayloadMap,
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
                TapKind::Formats { lane, formats } => {
                    let mut map = PayloadMap::default();
                    for format in formats {
                        let Format { payload_type, encoding, clock_hz, channels } = format;
                        map.bind(*payload_type, encoding, *clock_hz, *channels);
                    }
                    facts.formats[lane.index()].push((event.at, map));
                }
                _ => {}
            }
        }
        facts
    }

    /// How a packet of `lane` that arrived `at` is to be read.
    ///
    /// Media that overtakes the first answer is read by that answer.
    pub fn formats(&self, lane: Lane, at: Timestamp) -> &PayloadMap {
        let formats = &self.formats[lane.index()];
        let known = formats.iter().rev().find(|(since, _)| *since <= at).or(formats.first());
        known.map_or(&self.unknown_formats, |(_, map)| map)
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

    fn formats(payload_type: u8, encoding: &str) -> TapKind {
        let encoding = encoding.to_owned();
        let format = Format { payload_type, encoding, clock_hz: 8000, channels: 1 };
        TapKind::Formats { lane: Lane::Agent, formats: vec![format] }
    }

    #[test]
    fn formats_hold_from_their_moment_on_and_the_first_before_it() {
        let facts = CallFacts::of(&[
            event(100, formats(97, "PCMA")),
            event(100, TapKind::Answered { extension: "8001".into() }),
            event(500, formats(97, "PCMU")),
            event(600, TapKind::Answered { extension: "8002".into() }),
        ]);
        assert_eq!(facts.answered_at, Some(Timestamp::from_micros(100)));
        for (lane, at_us, want) in [
            (Lane::Agent, 50, "PCMA"),
            (Lane::Agent, 499, "PCMA"),
            (Lane::Agent, 500, "PCMU"),
            (Lane::Customer, 500, "unknown"),
        ] {
            let map = facts.formats(lane, Timestamp::from_micros(at_us));
            assert_eq!(map.format(97).codec.encoding_name(), want, "{at_us}");
        }
    }
}
