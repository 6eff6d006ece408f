//! One dialog of the phone (RFC 3261 §12): who it is with, how far it is, what media it agreed.

use std::net::SocketAddr;

use rsip::{Header, Headers, Method, Request};
use tokio::sync::watch;

use crate::call::CallState;
use crate::media::Media;
use crate::message::{self, header};
use crate::sdp::{Description, Direction};
use cheling_media::g711::Law;

/// How far a dialog is.
pub(crate) enum Phase {
    /// Our INVITE is out; `branch` names its transaction.
    Calling { branch: String, has_provisional: bool, is_cancelled: bool },
    /// Their INVITE waits for our answer, which goes to `from`.
    Incoming { invite: Box<Request>, from: SocketAddr },
    /// Answered.
    Talking { reinvite: Option<String>, awaits_answer: bool },
}

/// One call's dialog.
pub(crate) struct Dialog {
    pub(crate) phase: Phase,
    pub(crate) state: watch::Sender<CallState>,
    pub(crate) media: Media,
    /// Our From or To with our tag.
    pub(crate) local: String,
    /// Theirs, with their tag once known.
    pub(crate) remote: String,
    /// Their Contact: the URI of requests within the dialog.
    pub(crate) target: String,
    /// Record-Route, in the order in which we use it.
    pub(crate) routes: Vec<String>,
    /// CSeq of our last request.
    pub(crate) sequence: u32,
    /// CSeq of our INVITE that an ACK belongs to.
    pub(crate) invite_sequence: u32,
    /// The last ACK to a 2xx, for the copies of that 2xx.
    pub(crate) ack: Option<(SocketAddr, Vec<u8>)>,
    /// What we want: `SendOnly` while we hold.
    pub(crate) wanted: Direction,
    pub(crate) codec: Law,
    pub(crate) description_id: u64,
    pub(crate) description_version: u64,
}

impl Dialog {
    /// Our tag.
    pub(crate) fn local_tag(&self) -> String {
        message::tag(&self.local).unwrap_or_default()
    }

    /// Takes the dialog's far end from a response or request that made it.
    pub(crate) fn learn(&mut self, remote: String, headers: &Headers, is_caller: bool) {
        self.remote = remote;
        if let Some(contact) = message::value(headers, "Contact") {
            self.target = message::uri(&contact).to_owned();
        }
        self.routes = message::values(headers, "Record-Route");
        if is_caller {
            self.routes.reverse(); // RFC 3261 §12.1.2
        }
    }

    /// Where requests within the dialog go.
    pub(crate) fn next_hop(&self, fallback: Option<SocketAddr>) -> Option<SocketAddr> {
        let uri = self.routes.first().map_or(self.target.as_str(), |route| message::uri(route));
        message::address(uri).or(fallback)
    }

    /// Builds a request within the dialog; ACK keeps the number of its INVITE.
    pub(crate) fn request(
        &mut self,
        method: Method,
        call_id: &str,
        via: String,
        contact: &str,
        body: Vec<u8>,
    ) -> Result<Request, String> {
        let sequence = if method == Method::Ack {
            self.invite_sequence
        } else {
            self.sequence += 1;
            self.sequence
        };
        if method == Method::Invite {
            self.invite_sequence = sequence;
        }
        let mut headers = Headers::from(vec![
            Header::Via(via.into()),
            Header::MaxForwards("70".into()),
            Header::From(self.local.clone().into()),
            Header::To(self.remote.clone().into()),
            Header::CallId(call_id.into()),
            Header::CSeq(format!("{sequence} {method}").into()),
            Header::Contact(contact.into()),
        ]);
        for route in &self.routes {
            headers.push(header("Route", route.clone()));
        }
        message::request(method, &self.target, headers, body)
    }

    /// Our description with this flow.
    pub(crate) fn describe(&mut self, codecs: &[Law], direction: Direction) -> Vec<u8> {
        self.description_version += 1;
        Description::write(
            self.media.local(),
            self.description_id,
            self.description_version,
            codecs,
            direction,
        )
    }

    /// Takes over what the other end said about its media; `offered` is its flow as it wrote it.
    pub(crate) fn agree(&mut self, theirs: &Description, ours: &[Law]) -> Direction {
        if let Some(codec) = theirs.codecs.iter().copied().find(|codec| ours.contains(codec)) {
            self.codec = codec;
        }
        let direction = self.wanted.answering(theirs.direction);
        // Who holds says nothing: music belongs to exchanges.
        let is_sending = direction.sends() && self.wanted == Direction::SendRecv;
        self.media.stream().direct(theirs.rtp, self.codec, is_sending);
        direction
    }

    /// Whether a codec of theirs is one of ours.
    pub(crate) fn has_common_codec(theirs: &Description, ours: &[Law]) -> bool {
        theirs.codecs.iter().any(|codec| ours.contains(codec))
    }
}
