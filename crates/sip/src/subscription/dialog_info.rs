//! The body that lights a busy lamp: the calls of one extension (RFC 4235).
//!
//! Every body is a full one: it names all calls there are, so that a lost NOTIFY does no harm. A
//! phone picks a ringing call up by an INVITE whose Replaces it builds of the tags told here.

use std::fmt::Write as _;

use super::xml;
use crate::dialog::DialogId;
use crate::name_addr::NameAddr;

/// The event package.
pub const PACKAGE: &str = "dialog";
/// The Content-Type.
pub const CONTENT_TYPE: &str = "application/dialog-info+xml";

/// How far a call has come (RFC 4235 §3.7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Each variant is the state of its name.
pub enum DialogState {
    Trying,
    Proceeding,
    Early,
    Confirmed,
    Terminated,
}

impl DialogState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Proceeding => "proceeding",
            Self::Early => "early",
            Self::Confirmed => "confirmed",
            Self::Terminated => "terminated",
        }
    }
}

/// Who began a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The extension itself.
    Initiator,
    /// The other side.
    Recipient,
}

/// One call of the extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialogEntry {
    /// Names the call among those of the extension.
    pub id: String,
    /// The dialog as the *extension* sees it; `None` keeps phones from picking the call up.
    pub dialog: Option<DialogId>,
    /// Who began it.
    pub direction: Direction,
    /// How far it has come.
    pub state: DialogState,
    /// The other side, if it may be shown.
    pub remote: Option<NameAddr>,
}

/// Writes a full body. `version` goes up by one with each NOTIFY of a subscription, from 0;
/// `entity` is the URI that was subscribed to.
pub fn write(version: u32, entity: &str, entries: &[DialogEntry]) -> String {
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" \
         state=\"full\" entity=\"{}\">\r\n",
        xml(entity)
    );
    for entry in entries {
        write_entry(&mut out, entity, entry);
    }
    out.push_str("</dialog-info>\r\n");
    out
}

fn write_entry(out: &mut String, entity: &str, entry: &DialogEntry) {
    // Writing to a String cannot fail.
    let _ = write!(out, "<dialog id=\"{}\"", xml(&entry.id));
    if let Some(dialog) = &entry.dialog {
        let _ = write!(
            out,
            " call-id=\"{}\" local-tag=\"{}\" remote-tag=\"{}\"",
            xml(&dialog.call_id),
            xml(&dialog.local_tag),
            xml(&dialog.remote_tag)
        );
    }
    let direction = match entry.direction {
        Direction::Initiator => "initiator",
        Direction::Recipient => "recipient",
    };
    let _ = write!(
        out,
        " direction=\"{direction}\">\r\n<state>{}</state>\r\n\
         <local><identity>{entity}</identity><target uri=\"{entity}\"/></local>\r\n",
        entry.state.as_str(),
        entity = xml(entity),
    );
    if let Some(remote) = &entry.remote {
        let uri = xml(&remote.uri.to_string());
        let display = remote.display.as_deref().map(xml);
        let display = display.map_or(String::new(), |text| format!(" display=\"{text}\""));
        let _ = write!(
            out,
            "<remote><identity{display}>{uri}</identity><target uri=\"{uri}\"/></remote>\r\n"
        );
    }
    out.push_str("</dialog>\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ringing_call_can_be_picked_up_from_what_is_written() {
        let dialog = DialogId {
            call_id: String::from("c\"1"),
            local_tag: String::from("l"),
            remote_tag: String::from("r"),
        };
        let entry = DialogEntry {
            id: String::from("7"),
            dialog: Some(dialog),
            direction: Direction::Recipient,
            state: DialogState::Early,
            remote: Some(NameAddr::parse("\"张 & <三>\" <sip:139@h;a=b>").unwrap()),
        };
        assert_eq!(
            write(3, "sip:8001@h", &[entry]),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
             <dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"3\" \
             state=\"full\" entity=\"sip:8001@h\">\r\n\
             <dialog id=\"7\" call-id=\"c&quot;1\" local-tag=\"l\" remote-tag=\"r\" \
             direction=\"recipient\">\r\n<state>early</state>\r\n\
             <local><identity>sip:8001@h</identity><target uri=\"sip:8001@h\"/></local>\r\n\
             <remote><identity display=\"张 &amp; &lt;三&gt;\">sip:139@h;a=b</identity>\
             <target uri=\"sip:139@h;a=b\"/></remote>\r\n</dialog>\r\n</dialog-info>\r\n"
        );
        assert!(
            write(0, "sip:8001@h", &[]).ends_with("entity=\"sip:8001@h\">\r\n</dialog-info>\r\n")
        );
    }

    #[test]
    fn a_call_that_is_not_to_be_shown_has_no_tags_and_no_name() {
        let entry = DialogEntry {
            id: String::from("7"),
            dialog: None,
            direction: Direction::Initiator,
            state: DialogState::Confirmed,
            remote: None,
        };
        let text = write(0, "sip:8001@h", &[entry]);
        assert!(text.contains("<dialog id=\"7\" direction=\"initiator\">"));
        assert!(!text.contains("tag=") && !text.contains("<remote>"));
    }
}
