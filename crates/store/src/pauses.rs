//! When a call was not to be recorded: which parts of its file are silence by request.
//!
//! Nothing of a pause is in the journal. What is spoken before it and played after it must still
//! not be smeared into it: a pause parts the streams of a call as the end of one and the beginning
//! of another would, so that nothing is made up to conceal it and it counts as nobody's loss.

use std::ops::Range;

use cheling_model::recording::Span;
use cheling_model::{TapEvent, TapKind, Timestamp};

/// More pauses of one call than anybody makes; from then on it stays paused.
const MAX_PAUSES: usize = 10_000;

/// The pauses of one call, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// From when, until when; the last one may be open.
    spans: Vec<(Timestamp, Option<Timestamp>)>,
}

impl Pauses {
    /// Takes an event of the call; all but two kinds mean nothing here.
    pub fn note(&mut self, event: &TapEvent) {
        let is_open = self.spans.last().is_some_and(|(_, until)| until.is_none());
        match event.kind {
            TapKind::RecordingPaused { .. } if !is_open => self.spans.push((event.at, None)),
            TapKind::RecordingResumed { .. } if self.spans.len() < MAX_PAUSES => {
                if let Some((from, until @ None)) = self.spans.last_mut() {
                    *until = Some(event.at.max(*from));
                }
            }
            _ => {}
        }
    }

    /// How many pauses began before `at`: packets with the same count belong together.
    pub fn before(&self, at: Timestamp) -> u32 {
        self.spans.partition_point(|(from, _)| *from <= at) as u32
    }

    /// The pauses in a recording from `started_at` to `ended_at`.
    pub fn spans(&self, started_at: Timestamp, ended_at: Timestamp) -> Vec<Span> {
        let us =
            |at: Timestamp| at.clamp(started_at, ended_at).as_micros() - started_at.as_micros();
        let span = |(from, until): &(Timestamp, Option<Timestamp>)| Span {
            from_ms: us(*from) / 1000,
            until_ms: (us(until.unwrap_or(ended_at)) + 999) / 1000,
        };
        let spans = self.spans.iter().filter(|(from, _)| *from < ended_at);
        spans.map(span).filter(|span| span.until_ms > span.from_ms).collect()
    }

    /// The samples of a file of `rate_hz` that lie in a pause, each range at its ends rounded
    /// outwards.
    pub fn samples(&self, started_at: Timestamp, rate_hz: u32) -> Vec<Range<u64>> {
        let place = |at: Timestamp, round: fn(i128) -> i128| {
            let us = i128::from(at.as_micros()) - i128::from(started_at.as_micros());
            u64::try_from(round(us.max(0) * i128::from(rate_hz))).unwrap_or(u64::MAX)
        };
        let range = |(from, until): &(Timestamp, Option<Timestamp>)| {
            let end = until.map_or(u64::MAX, |until| place(until, |it| (it + 999_999) / 1_000_000));
            place(*from, |it| it / 1_000_000)..end
        };
        self.spans.iter().map(range).collect()
    }
}

#[cfg(test)]
mod tests {
    use cheling_model::CallId;
    use cheling_model::call::PausedBy;
    use uuid::Uuid;

    use super::*;

    fn event(at_us: i64, is_paused: bool) -> TapEvent {
        let (by, at) = (PausedBy::Phone, Timestamp::from_micros(at_us));
        let kind = match is_paused {
            true => TapKind::RecordingPaused { by, until: at },
            false => TapKind::RecordingResumed { by },
        };
        TapEvent { call_id: CallId(Uuid::nil()), at, kind }
    }

    #[test]
    fn an_open_pause_lasts_to_the_end_and_odd_events_change_nothing() {
        let mut pauses = Pauses::default();
        for (at_us, is_paused) in [
            (500, false), // Resumed, but never paused.
            (2_000_000, true),
            (2_500_000, true),
            (3_000_500, false),
            (4_000_000, false),
            (9_000_000, true),
        ] {
            pauses.note(&event(at_us, is_paused));
        }
        let at = Timestamp::from_micros;
        assert_eq!(
            pauses.spans(at(1_000_000), at(10_000_000)),
            [Span { from_ms: 1000, until_ms: 2001 }, Span { from_ms: 8000, until_ms: 9000 }]
        );
        assert_eq!(pauses.spans(at(1_000_000), at(8_000_000)).len(), 1);
        assert_eq!(pauses.samples(at(1_000_000), 8000), [8000..16_004, 64_000..u64::MAX]);
        let counts = [0, 2_000_000, 3_000_500, 9_000_000].map(|us| pauses.before(at(us)));
        assert_eq!(counts, [0, 1, 1, 2]);
    }
}
