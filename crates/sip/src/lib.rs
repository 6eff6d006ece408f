//! SIP (RFC 3261) as values: messages, transactions, dialogs, digest, SDP.
//!
//! Nothing here reads a clock, opens a socket or waits: octets and time come in, octets and events
//! go out. Read [`message`] for what goes over the wire, [`endpoint`] for the transaction layer,
//! [`dialog`] for what two sides remember of a call, [`sdp`] for what they agreed on.
//!
//! On top of these stand [`screening`] (may this request go further?), [`reliable`] (100rel and
//! PRACK), [`session_timer`], [`refer`] (transfers) and [`subscription`] (lamps and progress).
// Tests begin at some instant and move on by hand.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod dialog;
pub mod digest;
pub mod diversion;
pub mod endpoint;
pub mod fields;
pub mod flow;
pub mod framing;
pub mod header;
pub mod message;
pub mod method;
pub mod multipart;
pub mod name_addr;
pub mod params;
pub mod reader;
pub mod refer;
pub mod reliable;
pub mod screening;
pub mod sdp;
pub mod session_timer;
pub mod subscription;
pub mod text;
pub mod token;
pub mod transaction;
pub mod uri;
pub mod via;

pub use dialog::{Dialog, DialogId};
pub use endpoint::{ClientId, Endpoint, Event, ServerId};
pub use fields::{CSeq, Contacts, ContentType};
pub use flow::{Flow, Transport};
pub use header::{Header, Headers, Name};
pub use message::{Message, Request, Response};
pub use method::Method;
pub use name_addr::NameAddr;
pub use params::Params;
pub use reader::{ParseError, ParseErrorKind};
pub use sdp::Sdp;
pub use token::Tokens;
pub use uri::{SipUri, TelUri, Uri};
pub use via::Via;
