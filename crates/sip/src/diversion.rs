//! Who sent a call on, and why: Diversion (RFC 5806) and History-Info (RFC 7044).
//!
//! What came with a call is kept as it was written; a step of our own is added in front (Diversion)
//! or behind (History-Info). Which of the two is written is up to whoever is told.

use crate::header::{Headers, Name};
use crate::name_addr::NameAddr;
use crate::params::Params;
use crate::uri::Uri;

/// The most entries of each kind that are passed on; RFC 5806 §6.1 bounds them by a counter, too.
const MAX_ENTRIES: usize = 10;

/// Why a call was sent on (RFC 5806 §4, RFC 4458 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// All calls of this number go elsewhere.
    Unconditional,
    /// The number was busy.
    Busy,
    /// Nobody answered.
    NoAnswer,
    /// Nobody was reachable under the number.
    Unavailable,
    /// A person sent this one call on.
    Deflection,
}

impl Cause {
    /// The word of Diversion.
    fn reason(self) -> &'static str {
        match self {
            Self::Unconditional => "unconditional",
            Self::Busy => "user-busy",
            Self::NoAnswer => "no-answer",
            Self::Unavailable => "unavailable",
            Self::Deflection => "deflection",
        }
    }

    /// The status that History-Info has for it.
    fn status(self) -> u16 {
        match self {
            Self::Unconditional => 302,
            Self::Busy => 486,
            Self::NoAnswer => 408,
            Self::Unavailable => 503,
            Self::Deflection => 480,
        }
    }
}

/// A header that tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 5806.
    Diversion,
    /// RFC 7044.
    HistoryInfo,
}

/// One step of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    by: Uri,
    to: Uri,
    cause: Cause,
}

/// The way a call has come so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Diversion as it came, the last one first.
    diversions: Vec<String>,
    /// History-Info as it came, the last one last.
    entries: Vec<String>,
    steps: Vec<Step>,
}

impl History {
    /// Reads what came with a call.
    pub fn of(headers: &Headers) -> Self {
        let read = |name: Name| -> Vec<String> {
            let values = headers.values(name).into_iter();
            values.filter(|value| NameAddr::parse(value).is_ok()).take(MAX_ENTRIES).collect()
        };
        Self {
            diversions: read(Name::Diversion),
            entries: read(Name::HistoryInfo),
            steps: Vec::new(),
        }
    }

    /// Adds that `by` sent the call on to `to`.
    pub fn divert(&mut self, by: Uri, to: Uri, cause: Cause) {
        if self.steps.len() < MAX_ENTRIES {
            self.steps.push(Step { by, to, cause });
        }
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.diversions.is_empty() && self.entries.is_empty() && self.steps.is_empty()
    }

    /// Writes it, each kind that is asked for. Where `shown` is given, it stands for whoever of
    /// ours sent the call on: a carrier believes its own numbers only.
    pub fn write(&self, headers: &mut Headers, kinds: &[Kind], shown: Option<&Uri>) {
        for kind in kinds {
            match kind {
                Kind::Diversion => self.write_diversion(headers, shown),
                Kind::HistoryInfo => self.write_history_info(headers, shown),
            }
        }
    }

    fn write_diversion(&self, headers: &mut Headers, shown: Option<&Uri>) {
        for step in self.steps.iter().rev() {
            let mut entry = NameAddr::new(shown.unwrap_or(&step.by).clone());
            entry.params.set("reason", Some(step.cause.reason()));
            entry.params.set("counter", Some("1"));
            headers.push(Name::Diversion, entry);
        }
        for entry in self.diversions.iter().take(MAX_ENTRIES.saturating_sub(self.steps.len())) {
            headers.push(Name::Diversion, entry);
        }
    }

    /// The first step also writes whom the call was for, if nothing was written before.
    fn write_history_info(&self, headers: &mut Headers, shown: Option<&Uri>) {
        for entry in &self.entries {
            headers.push(Name::HistoryInfo, entry);
        }
        let last = self.entries.last().and_then(|entry| NameAddr::parse(entry).ok());
        let index = |entry: &NameAddr| entry.params.get("index").map(str::to_owned);
        let mut index = last.as_ref().and_then(index).unwrap_or_else(|| String::from("1"));
        for (number, step) in self.steps.iter().enumerate() {
            if number == 0 && last.is_none() {
                let mut first = NameAddr::new(shown.unwrap_or(&step.by).clone());
                first.params.set("index", Some(&index));
                headers.push(Name::HistoryInfo, first);
            }
            let before = index.clone();
            index.push_str(".1");
            let mut to = step.to.clone();
            if let Uri::Sip(sip) = &mut to {
                sip.params.set("cause", Some(&step.cause.status().to_string()));
            }
            let mut entry = NameAddr::new(to);
            entry.params = Params::default();
            entry.params.set("index", Some(&index));
            entry.params.set("mp", Some(&before));
            headers.push(Name::HistoryInfo, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Kind; 2] = [Kind::Diversion, Kind::HistoryInfo];

    fn uri(text: &str) -> Uri {
        Uri::parse(text).unwrap()
    }

    fn written(history: &History, shown: Option<&Uri>) -> [Vec<String>; 2] {
        let mut headers = Headers::default();
        history.write(&mut headers, &BOTH, shown);
        [headers.values(Name::Diversion), headers.values(Name::HistoryInfo)]
    }

    #[test]
    fn steps_of_ours_stand_before_and_behind_what_came() {
        let mut headers = Headers::default();
        headers.push(Name::Diversion, "<sip:1@a>;reason=user-busy, <tel:+862>;reason=unknown");
        headers.push(Name::HistoryInfo, "<sip:0@a>;index=1, <sip:1@a;cause=486>;index=1.2;mp=1");
        let mut history = History::of(&headers);
        assert!(!history.is_empty());
        history.divert(uri("sip:8001@h"), uri("sip:139@gw"), Cause::Unconditional);
        assert_eq!(
            written(&history, None),
            [
                vec![
                    "<sip:8001@h>;reason=unconditional;counter=1".to_owned(),
                    "<sip:1@a>;reason=user-busy".into(),
                    "<tel:+862>;reason=unknown".into(),
                ],
                vec![
                    "<sip:0@a>;index=1".to_owned(),
                    "<sip:1@a;cause=486>;index=1.2;mp=1".into(),
                    "<sip:139@gw;cause=302>;index=1.2.1;mp=1.2".into(),
                ]
            ]
        );
    }

    #[test]
    fn the_first_step_of_all_tells_whom_the_call_was_for() {
        let mut history = History::default();
        assert!(history.is_empty());
        assert_eq!(written(&history, None), [Vec::<String>::new(), Vec::new()]);
        history.divert(uri("sip:8001@h"), uri("sip:8002@h"), Cause::NoAnswer);
        history.divert(uri("sip:8002@h"), uri("sip:139@gw"), Cause::Deflection);
        let shown = uri("sip:02158998000@h");
        assert_eq!(
            written(&history, Some(&shown)),
            [
                vec![
                    "<sip:02158998000@h>;reason=deflection;counter=1".to_owned(),
                    "<sip:02158998000@h>;reason=no-answer;counter=1".into(),
                ],
                vec![
                    "<sip:02158998000@h>;index=1".to_owned(),
                    "<sip:8002@h;cause=408>;index=1.1;mp=1".into(),
                    "<sip:139@gw;cause=480>;index=1.1.1;mp=1.1".into(),
                ]
            ]
        );
    }

    #[test]
    fn endless_histories_and_what_cannot_be_read_are_cut() {
        let mut headers = Headers::default();
        headers.push(Name::Diversion, "<sip:broken");
        for number in 0..40 {
            headers.push(Name::Diversion, format!("<sip:{number}@a>"));
        }
        let mut history = History::of(&headers);
        for _ in 0..40 {
            history.divert(uri("sip:8001@h"), uri("sip:8002@h"), Cause::Busy);
        }
        let [diversions, entries] = written(&history, None);
        assert_eq!((diversions.len(), entries.len()), (MAX_ENTRIES, MAX_ENTRIES + 1));
    }
}
