//! The body that lights a phone's message lamp (RFC 3842).

use std::fmt;

use crate::uri::Uri;

/// The event package.
pub const PACKAGE: &str = "message-summary";
/// The Content-Type.
pub const CONTENT_TYPE: &str = "application/simple-message-summary";

/// How many messages of one kind wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Not yet heard.
    pub new: u32,
    /// Heard.
    pub old: u32,
}

/// What waits in a voice mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSummary {
    /// What to call to hear them.
    pub account: Option<Uri>,
    /// All messages.
    pub voice: Count,
    /// Those of `voice` that are urgent.
    pub urgent: Count,
}

impl MessageSummary {
    /// Reads a body. Lines it does not know are left out; `None` without Messages-Waiting.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let text = crate::text::decode(body);
        let mut summary = Self { account: None, voice: Count::default(), urgent: Count::default() };
        let mut is_waiting = None;
        for line in text.lines().take(64) {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "messages-waiting" => is_waiting = Some(value.eq_ignore_ascii_case("yes")),
                "message-account" => summary.account = Uri::parse(value).ok(),
                "voice-message" => {
                    let (all, urgent) = value.split_once('(').unwrap_or((value, ""));
                    summary.voice = count(all)?;
                    summary.urgent = count(urgent.trim_end_matches(')')).unwrap_or_default();
                }
                _ => {}
            }
        }
        // Who only says that something waits means at least one.
        summary.voice.new = summary.voice.new.max(u32::from(is_waiting?));
        Some(summary)
    }
}

fn count(text: &str) -> Option<Count> {
    let (new, old) = text.split_once('/')?;
    Some(Count { new: new.trim().parse().ok()?, old: old.trim().parse().ok()? })
}

impl fmt::Display for MessageSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_waiting = if self.voice.new > 0 { "yes" } else { "no" };
        write!(f, "Messages-Waiting: {is_waiting}\r\n")?;
        if let Some(account) = &self.account {
            write!(f, "Message-Account: {account}\r\n")?;
        }
        let Self { voice, urgent, .. } = self;
        write!(f, "Voice-Message: {}/{} ({}/{})\r\n", voice.new, voice.old, urgent.new, urgent.old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_written_and_read() {
        let summary = MessageSummary {
            account: Some(Uri::sip(Some("8001"), "h", None)),
            voice: Count { new: 2, old: 8 },
            urgent: Count { new: 0, old: 2 },
        };
        let text = "Messages-Waiting: yes\r\nMessage-Account: sip:8001@h\r\n\
            Voice-Message: 2/8 (0/2)\r\n";
        assert_eq!(summary.to_string(), text);
        assert_eq!(MessageSummary::parse(text.as_bytes()), Some(summary));
        for (text, new) in [
            ("messages-waiting : YES\n", Some(1)),
            ("Messages-Waiting: no\r\nVoice-Message: 0/3\r\n", Some(0)),
            ("Voice-Message: 1/0\r\n", None),
            ("Messages-Waiting: yes\r\nVoice-Message: x/1\r\n", None),
        ] {
            assert_eq!(MessageSummary::parse(text.as_bytes()).map(|s| s.voice.new), new, "{text}");
        }
    }
}
