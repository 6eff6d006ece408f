//! Holds the recording of a call back while a card number is read out, and lets it go on.
//!
//! The relay does it and says from which moment on: that moment is the event's, so that no packet
//! lies on the wrong side of it. Whoever asked is answered then, not before.
//!
//! Belongs here: who asked, for how long, the code an agent dials. Does not: what is written into
//! the recording instead (`store`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cheling_model::call::{Digit, PausedBy};
use cheling_model::{Lane, TapKind, Timestamp};
use cheling_sip::Request;

use super::{Call, Relay};
use crate::core::Core;
use crate::io::{CommandReply, Output};

/// Wishes on their way to the relay; more are refused.
const MAX_WISHES: usize = 8;
/// Keys of a code further apart than this are not one code.
const KEY_PATIENCE: Duration = Duration::from_secs(3);
/// The longest code.
const MAX_CODE: usize = 8;
/// The payload type that nearly every phone uses for telephone events, whatever its SDP forgot.
const USUAL_EVENTS: u8 = 101;

/// Somebody wants the recording paused, or to go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// Paused, or going on.
    pub(crate) is_paused: bool,
    /// Who.
    pub(crate) by: PausedBy,
    /// Names the answer, if one is wanted.
    pub(crate) ticket: Option<u64>,
}

/// Where the recording of a call stands.
#[derive(Debug, Default)]
pub(super) struct Recording {
    state: State,
    /// What the relay has been told, in order, and has not yet done.
    wishes: VecDeque<Wish>,
    keys: Keys,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Not begun.
    #[default]
    Off,
    On,
    Paused {
        until: Instant,
    },
}

impl Recording {
    /// Both sides talk: recording begins.
    pub(super) fn begin(&mut self) {
        self.state = State::On;
    }

    /// When a paused recording goes on by itself.
    pub(super) fn resumes_at(&self) -> Option<Instant> {
        match self.state {
            // What the relay has been told already needs no timer.
            State::Paused { until } if self.wishes.is_empty() => Some(until),
            State::Off | State::On | State::Paused { .. } => None,
        }
    }

    /// The relay is gone: nothing it was told will be done.
    pub(super) fn end(&mut self, core: &mut Core) {
        self.state = State::Off;
        for wish in self.wishes.drain(..) {
            answer(core, &wish, CommandReply::NoSuchCall);
        }
    }

    /// Whether it is paused once the relay has done all that it was told.
    fn will_be_paused(&self) -> bool {
        let last = self.wishes.back().map(|wish| wish.is_paused);
        last.unwrap_or(matches!(self.state, State::Paused { .. }))
    }
}

impl Call {
    /// Passes a wish to the relay.
    pub(super) fn pause_recording(&mut self, core: &mut Core, wish: Wish) {
        if self.recording.state == State::Off || self.relay != Relay::Open {
            return answer(core, &wish, CommandReply::NotAnswered);
        }
        if self.recording.wishes.len() >= MAX_WISHES {
            return answer(core, &wish, CommandReply::Overloaded);
        }
        let is_paused = wish.is_paused;
        self.recording.wishes.push_back(wish);
        core.put(Output::PauseRecording { call_id: self.id, is_paused });
    }

    /// The relay has done what the oldest wish was.
    pub(super) fn recording_paused(&mut self, core: &mut Core, is_paused: bool, at: Timestamp) {
        let Some(wish) = self.recording.wishes.pop_front() else { return };
        let was_paused = matches!(self.recording.state, State::Paused { .. });
        if is_paused && !was_paused {
            let longest = core.settings.pause.longest;
            self.recording.state = State::Paused { until: core.now.monotonic + longest };
            let kind = TapKind::RecordingPaused { by: wish.by, until: at + longest };
            core.tap_at(self.id, at, kind);
        } else if !is_paused && was_paused {
            self.recording.state = State::On;
            core.tap_at(self.id, at, TapKind::RecordingResumed { by: wish.by });
        }
        answer(core, &wish, CommandReply::Accepted);
    }

    /// Lets a recording go on that was paused for as long as is allowed.
    pub(super) fn pause_timeout(&mut self, core: &mut Core) {
        if self.recording.resumes_at().is_some_and(|at| at <= core.now.monotonic) {
            let wish = Wish { is_paused: false, by: PausedBy::Limit, ticket: None };
            self.pause_recording(core, wish);
        }
    }

    /// A key was pressed on the agent's phone: the code pauses, and once more it resumes.
    pub(super) fn dialled_digit(&mut self, core: &mut Core, digit: Digit) {
        if self.recording.state == State::Off {
            return;
        }
        let now = core.now.monotonic;
        if self.recording.keys.completes(now, digit, &core.settings.pause.code) {
            let is_paused = !self.recording.will_be_paused();
            self.pause_recording(core, Wish { is_paused, by: PausedBy::Phone, ticket: None });
        }
    }

    /// Tells the relay which packets of a side are digits, when its formats are settled.
    pub(super) fn watch_events(&self, core: &mut Core, kind: &TapKind) {
        let TapKind::Formats { lane, voice: 0, formats } = kind else { return };
        let bit = |payload_type: u8| 1_u128.checked_shl(payload_type.into()).unwrap_or(0);
        let mut payload_types = bit(USUAL_EVENTS);
        for format in formats {
            let is_event = format.encoding == "TELEPHONE-EVENT";
            let bit = bit(format.payload_type);
            payload_types = if is_event { payload_types | bit } else { payload_types & !bit };
        }
        let lane: Lane = *lane;
        core.put(Output::TelephoneEvents { call_id: self.id, lane, payload_types });
    }
}

fn answer(core: &mut Core, wish: &Wish, reply: CommandReply) {
    if let Some(ticket) = wish.ticket {
        core.put(Output::Reply { ticket, reply });
    }
}

/// The last keys pressed, no more of them than a code is long.
#[derive(Debug, Default)]
struct Keys {
    pressed: VecDeque<Digit>,
    last: Option<Instant>,
}

impl Keys {
    /// Takes a key; true if it is the last one of `code`.
    fn completes(&mut self, now: Instant, digit: Digit, code: &str) -> bool {
        let length = code.chars().count();
        if length == 0 || length > MAX_CODE {
            return false;
        }
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > KEY_PATIENCE) {
            self.pressed.clear();
        }
        self.last = Some(now);
        self.pressed.push_back(digit);
        while self.pressed.len() > length {
            self.pressed.pop_front();
        }
        let is_complete = self.pressed.iter().map(|key| key.0).eq(code.chars());
        if is_complete {
            self.pressed.clear();
        }
        is_complete
    }
}

/// The key in an INFO of a phone that sends digits that way: `application/dtmf-relay` with a line
/// `Signal=5`, or `application/dtmf` with the key alone.
pub(super) fn info_digit(request: &Request) -> Option<Digit> {
    let media_type = request.headers.content_type()?.media_type;
    let body = std::str::from_utf8(request.body.get(..)?).ok()?;
    let text = match media_type.as_str() {
        "application/dtmf-relay" => body.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            name.trim().eq_ignore_ascii_case("signal").then(|| value.trim())
        })?,
        "application/dtmf" => body.trim(),
        _ => return None,
    };
    let key = match text {
        "10" => '*',
        "11" => '#',
        _ => text.chars().next().filter(|_| text.chars().count() == 1)?.to_ascii_uppercase(),
    };
    matches!(key, '0'..='9' | '*' | '#' | 'A'..='D').then_some(Digit(key))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // An instant to count from.
mod tests {
    use super::*;
    use cheling_sip::{Method, Name, Uri};

    #[test]
    fn a_code_is_its_keys_in_order_and_soon_after_each_other() {
        let start = Instant::now();
        for (code, keys, want) in [
            ("*1", &[(0, '*'), (200, '1')][..], 1),
            ("*1", &[(0, '1'), (100, '*'), (200, '*'), (300, '1')], 1),
            ("*1", &[(0, '*'), (4000, '1')], 0),
            ("*1", &[(0, '*'), (100, '2'), (200, '1')], 0),
            ("*1", &[(0, '*'), (1, '1'), (2, '1'), (3, '*'), (4, '1')], 2),
            ("", &[(0, '*'), (1, '1')], 0),
        ] {
            let mut recent = Keys::default();
            let pressed = keys.iter().filter(|(at_ms, key)| {
                recent.completes(start + Duration::from_millis(*at_ms), Digit(*key), code)
            });
            assert_eq!(pressed.count(), want, "{code} {keys:?}");
        }
        assert!(!format!("{:?}", Digit('7')).contains('7'));
    }

    #[test]
    fn an_info_tells_its_key_in_either_form() {
        for (content_type, body, want) in [
            ("application/dtmf-relay", "Signal=*\r\nDuration=160\r\n", Some('*')),
            ("application/dtmf-relay", "Signal= 5 \nDuration= 250", Some('5')),
            ("application/dtmf-relay", "signal=11\r\n", Some('#')),
            ("application/dtmf-relay", "Duration=160\r\n", None),
            ("application/dtmf", "d", Some('D')),
            ("application/dtmf", "flash", None),
            ("application/dtmf", "", None),
            ("text/plain", "5", None),
        ] {
            let uri = Uri::sip(None, "192.0.2.1", None);
            let mut request = Request::new(Method::Info, uri);
            request.headers.push(Name::ContentType, content_type);
            request.body = body.as_bytes().to_vec().into();
            assert_eq!(info_digit(&request).map(|digit| digit.0), want, "{content_type} {body}");
        }
    }
}
