//! Requests of ours that come back to us, and requests that have gone too far (RFC 3261 §16.3).
//!
//! A back-to-back user agent takes the Vias of others off, so it sees a loop only where what lies
//! beyond it is a proxy; behind another of its kind, Max-Forwards alone ends the turning.

use super::key::ClientKey;
use super::{ClientId, Endpoint};
use crate::header::Name;
use crate::message::Request;
use crate::text;
use crate::via::Via;

/// The Max-Forwards of a request that has none (RFC 3261 §16.6).
const DEFAULT_MAX_FORWARDS: u8 = 70;
/// The most Vias we look at.
const MAX_VIAS: usize = 70;

/// A request that we have sent ourselves has come back to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looping {
    /// To another Request-URI: somebody forwarded the call, perhaps rightly so (§16.3, a spiral).
    Spiral(ClientId),
    /// Unchanged: it would go on until Max-Forwards is used up. Answer it with 482.
    Loop(ClientId),
}

/// Max-Forwards is used up: 483.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many hops")]
pub struct HopsExhausted;

impl Endpoint {
    /// Whether this request is one of ours that waits for its answer, come back by way of others.
    pub fn looping(&self, request: &Request) -> Option<Looping> {
        let mut vias = 0;
        for field in request.headers.get_all(Name::Via) {
            for value in text::split_outside_quotes(&field, b',') {
                vias += 1;
                if vias > MAX_VIAS {
                    return None;
                }
                if let Some(looping) = Via::parse(value).and_then(|via| self.came_by(request, &via))
                {
                    return Some(looping);
                }
            }
        }
        None
    }

    fn came_by(&self, request: &Request, via: &Via) -> Option<Looping> {
        // Our branches cannot be guessed, so one of them says enough.
        let key = ClientKey::new(via.branch()?.to_owned(), request.method.clone());
        let id = *self.client_ids.get(&key)?;
        let sent = self.clients.get(&id)?.request_uri();
        let is_same = sent.is_equivalent(&request.uri);
        Some(if is_same { Looping::Loop(id) } else { Looping::Spiral(id) })
    }
}

impl Request {
    /// The Max-Forwards with which the request may go on, one less than it came with.
    ///
    /// # Errors
    /// [`HopsExhausted`] if it may not.
    pub fn next_max_forwards(&self) -> Result<u8, HopsExhausted> {
        match self.headers.max_forwards() {
            Some(0) => Err(HopsExhausted),
            Some(hops) => Ok(hops - 1),
            None => Ok(DEFAULT_MAX_FORWARDS),
        }
    }
}
