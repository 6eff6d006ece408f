//! Replaces: the call that a new one takes the place of (RFC 3891).

use std::fmt;

use super::split_params;
use crate::dialog::DialogId;
use crate::header::{Headers, Name};
use crate::message::Request;
use crate::method::Method;

/// A Replaces, seen from the side that receives it: `to_tag` is that side's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// Call-ID.
    pub call_id: String,
    /// The receiver's tag.
    pub to_tag: String,
    /// The other side's tag.
    pub from_tag: String,
    /// Only if nobody has answered yet.
    pub is_early_only: bool,
}

/// Why a Replaces cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplacesError {
    /// It cannot be read, there are two, Join stands beside it, or the request is no INVITE: 400.
    #[error("bad Replaces")]
    Malformed,
    /// It means no dialog of ours, several, or one that rings here: 481.
    #[error("Replaces means no dialog that could be replaced")]
    NoDialog,
    /// The call was answered meanwhile: 486.
    #[error("the call to be replaced was answered already")]
    Answered,
    /// The dialog is over: 603.
    #[error("the call to be replaced is over")]
    Ended,
}

impl ReplacesError {
    /// The status to answer with (RFC 3891 §3).
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::NoDialog => 481,
            Self::Answered => 486,
            Self::Ended => 603,
        }
    }
}

/// What is to be known of a dialog to replace it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaceable {
    /// It rings at the other side: our INVITE.
    EarlyByUs,
    /// It rings here: their INVITE.
    EarlyByThem,
    /// It was answered.
    Confirmed,
    /// It is over.
    Ended,
}

impl Replaces {
    /// Reads `call-id;to-tag=1;from-tag=2;early-only`.
    pub fn parse(value: &str) -> Option<Self> {
        let (call_id, params) = split_params(value);
        // More than a token is taken, as devices use, but nothing that would end the parameter.
        let is_tag = |tag: &str| {
            !tag.is_empty()
                && !tag.contains(|char: char| char.is_whitespace() || "\"<>".contains(char))
        };
        let one = |name: &str| {
            let mut found = params.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            let value = found.next()?.1.filter(|tag| is_tag(tag))?;
            found.next().is_none().then(|| value.to_owned())
        };
        if call_id.is_empty() || call_id.contains(char::is_whitespace) {
            return None;
        }
        Some(Self {
            call_id: call_id.to_owned(),
            to_tag: one("to-tag")?,
            from_tag: one("from-tag")?,
            is_early_only: params.has("early-only"),
        })
    }

    /// The Replaces that means this dialog of ours to its other side.
    pub fn of_peer(dialog: &DialogId) -> Self {
        let written = |tag: &str| if tag.is_empty() { "0" } else { tag }.to_owned();
        Self {
            call_id: dialog.call_id.clone(),
            to_tag: written(&dialog.remote_tag),
            from_tag: written(&dialog.local_tag),
            is_early_only: false,
        }
    }

    /// Whether it means this dialog of ours. The tag `0` also means none (RFC 3891 §6.1).
    pub fn means(&self, dialog: &DialogId) -> bool {
        let is_same = |tag: &str, ours: &str| tag == ours || (tag == "0" && ours.is_empty());
        self.call_id == dialog.call_id
            && is_same(&self.to_tag, &dialog.local_tag)
            && is_same(&self.from_tag, &dialog.remote_tag)
    }

    /// The one dialog to be replaced among all of ours (RFC 3891 §3).
    ///
    /// # Errors
    /// [`ReplacesError`], which gives the status to answer with.
    pub fn find<'a, T>(
        &self,
        dialogs: impl IntoIterator<Item = (&'a DialogId, Replaceable, T)>,
    ) -> Result<T, ReplacesError> {
        let mut found = dialogs.into_iter().filter(|(id, ..)| self.means(id));
        let (_, state, dialog) = found.next().ok_or(ReplacesError::NoDialog)?;
        if found.next().is_some() {
            return Err(ReplacesError::NoDialog);
        }
        match state {
            Replaceable::Ended => Err(ReplacesError::Ended),
            Replaceable::Confirmed if self.is_early_only => Err(ReplacesError::Answered),
            Replaceable::EarlyByThem => Err(ReplacesError::NoDialog),
            Replaceable::EarlyByUs | Replaceable::Confirmed => Ok(dialog),
        }
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call_id, to_tag, from_tag, is_early_only } = self;
        write!(f, "{call_id};to-tag={to_tag};from-tag={from_tag}")?;
        if *is_early_only { f.write_str(";early-only") } else { Ok(()) }
    }
}

impl Request {
    /// What this request is to take the place of; `None` if it is an ordinary one.
    ///
    /// # Errors
    /// [`ReplacesError::Malformed`]
    pub fn replaces(&self) -> Result<Option<Replaces>, ReplacesError> {
        let headers: &Headers = &self.headers;
        let mut fields = headers.get_all(Name::Replaces);
        let Some(value) = fields.next() else { return Ok(None) };
        if fields.next().is_some() || headers.has("Join") || self.method != Method::Invite {
            return Err(ReplacesError::Malformed);
        }
        Replaces::parse(&value).map(Some).ok_or(ReplacesError::Malformed)
    }
}
