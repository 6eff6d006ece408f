//! Which phone is where: the bindings of RFC 3261 §10.3, each kept with the flow it came by, so
//! that requests reach phones behind NAT.
//!
//! A phone that keeps several flows to us (RFC 5626) has a binding for each, told apart by its
//! instance and the flow's number; it is rung by the newest, and by the next when that fails. It may
//! be given addresses that mean this one phone and no other of its extension (RFC 5627, `gruu`).
//!
//! Belongs here: Contact, Expires and their limits. Does not: passwords (`auth`).

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use cheling_model::{Now, Timestamp};
use cheling_sip::{Contacts, Flow, Name, NameAddr, Request, Response, Uri};

mod binding;
mod gruu;
mod kept;

pub use binding::Binding;
use binding::{Coming, MOST_WANTED, Wish, change, same_peer, user_agent};
pub(crate) use gruu::Named;
pub use kept::Kept;

/// How often a phone that keeps a flow to us is to say so, in seconds (RFC 5626 §5.4): most NATs
/// keep a way over TCP open for longer, and over UDP phones ask more often by themselves.
const FLOW_TIMER_S: u32 = 120;
/// Contacts of one extension at most.
pub const MAX_CONTACTS: usize = 8;

/// One registered phone, for the console.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The extension's number.
    pub extension: String,
    /// The Contact as the phone wrote it.
    pub contact: String,
    /// The way requests go.
    pub flow: Flow,
    /// Since when it is registered without a break.
    pub since: Timestamp,
    /// What the phone calls itself.
    pub user_agent: String,
    /// Until when, unless it registers again.
    pub expires_at: Timestamp,
}

/// One contact that another registrar has granted.
#[derive(Clone, Debug)]
pub struct Grant {
    /// As the phone wrote it.
    pub contact: Uri,
    /// For how long; nothing takes it out.
    pub expires: Duration,
}

/// Why a REGISTER changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// `*` among other contacts, or without `Expires: 0` (RFC 3261 §10.2.2).
    #[error("Contact * needs Expires: 0 and no other Contact")]
    Star,
    /// A Contact that cannot be read.
    #[error("Contact cannot be read")]
    Contact,
    /// Shorter than we allow.
    #[error("registration shorter than {} s", .min.as_secs())]
    TooBrief {
        /// The shortest allowed.
        min: Duration,
    },
    /// An older REGISTER overtaken by a newer one.
    #[error("CSeq is not higher than before")]
    OutOfOrder,
    /// More than [`MAX_CONTACTS`].
    #[error("more than {MAX_CONTACTS} contacts")]
    TooMany,
    /// A flow among other contacts (RFC 5626 §6).
    #[error("a Contact with reg-id is to come alone")]
    FlowAmongOthers,
    /// The phone keeps its flow to a proxy that knows nothing of flows (RFC 5626 §6).
    #[error("the first hop lacks outbound support")]
    FirstHop,
}

impl RegisterError {
    /// The answer to `request`.
    pub fn response(&self, request: &Request, to_tag: &str) -> Response {
        let (status, reason) = match self {
            Self::Star | Self::Contact => (400, format!("Bad Request: {self}")),
            Self::TooBrief { .. } => (423, String::new()),
            Self::OutOfOrder => (500, format!("Server Internal Error: {self}")),
            Self::TooMany => (403, format!("Forbidden: {self}")),
            Self::FlowAmongOthers => (400, format!("Bad Request: {self}")),
            Self::FirstHop => (439, "First Hop Lacks Outbound Support".to_owned()),
        };
        let mut response = Response::to(request, status, &reason, Some(to_tag));
        if let Self::TooBrief { min } = self {
            response.headers.push(Name::MinExpires, min.as_secs());
        }
        response
    }
}

/// All bindings.
#[derive(Debug)]
pub struct Registrar {
    limits: RangeInclusive<Duration>,
    /// What follows the `@` of the addresses that we give.
    host: String,
    bindings: HashMap<String, Vec<Binding>>,
    next_expiry: Option<Instant>,
}

/// Random words for the answer to one REGISTER.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    /// Our tag.
    pub to_tag: &'a str,
    /// What makes an address that tells nobody whose it is; of no more than letters and digits.
    pub address: &'a str,
}

impl Registrar {
    /// A registrar without phones that grants between the ends of `limits`, for addresses at `host`.
    pub fn new(limits: RangeInclusive<Duration>, host: String) -> Self {
        Self { limits, host, bindings: HashMap::new(), next_expiry: None }
    }

    /// Does what an authenticated REGISTER asks and answers it (RFC 3261 §10.3).
    ///
    /// # Errors
    /// [`RegisterError`]; then nothing was changed.
    pub fn register(
        &mut self,
        now: Now,
        extension: &str,
        request: &Request,
        flow: Flow,
        tokens: Tokens<'_>,
    ) -> Result<Response, RegisterError> {
        self.expire(now);
        let sip_call_id = request.headers.call_id().unwrap_or_default().into_owned();
        let cseq = request.headers.cseq().map_or(0, |cseq| cseq.number);
        let known = self.bindings.get(extension).map_or(&[][..], Vec::as_slice);
        match request.headers.contacts() {
            Contacts::All => {
                let is_alone = request.headers.values(Name::Contact).len() == 1;
                if !is_alone || request.headers.expires() != Some(0) {
                    return Err(RegisterError::Star);
                }
                if known.iter().any(|b| b.sip_call_id == sip_call_id && b.cseq >= cseq) {
                    return Err(RegisterError::OutOfOrder);
                }
                self.bindings.remove(extension);
            }
            Contacts::List(addresses) => {
                let wishes = self.wishes(request, addresses)?;
                let coming = Coming::of(request, flow, &sip_call_id, cseq, tokens.address);
                let changed = change(now, known, &wishes, &coming)?;
                self.next_expiry = changed.iter().map(|b| b.expires).chain(self.next_expiry).min();
                if changed.is_empty() {
                    self.bindings.remove(extension);
                } else {
                    self.bindings.insert(extension.to_owned(), changed);
                }
            }
        }
        Ok(self.response(now, extension, request, tokens.to_tag))
    }

    fn wishes(
        &self,
        request: &Request,
        addresses: Vec<NameAddr>,
    ) -> Result<Vec<Wish>, RegisterError> {
        if addresses.len() != request.headers.values(Name::Contact).len() {
            return Err(RegisterError::Contact);
        }
        let (min, max) = (*self.limits.start(), *self.limits.end());
        let default = request.headers.expires().map_or(max, |s| Duration::from_secs(s.into()));
        addresses
            .into_iter()
            .map(|address| {
                if address.uri.as_sip().is_none() {
                    return Err(RegisterError::Contact);
                }
                let expires = match address.params.get("expires").map(str::trim) {
                    // A value that is no number counts as 3600 (RFC 3261 §20.10).
                    Some(text) => Duration::from_secs(text.parse::<u32>().unwrap_or(3600).into()),
                    None => default,
                };
                if !expires.is_zero() && expires < min {
                    return Err(RegisterError::TooBrief { min });
                }
                Wish::new(address, expires.min(max))
            })
            .collect()
    }

    fn response(&self, now: Now, extension: &str, request: &Request, to_tag: &str) -> Response {
        let mut response = Response::to(request, 200, "", Some(to_tag));
        let supported = request.headers.supported();
        let supports = |tag: &str| supported.iter().any(|it| it.eq_ignore_ascii_case(tag));
        if supports("path") {
            response.headers.copy_from(&request.headers, Name::Path);
        }
        let is_flow = |binding: &Binding| binding.reg_id.is_some();
        if supports("outbound") && self.contacts(now.monotonic, extension).any(is_flow) {
            response.headers.push(Name::Require, "outbound");
            response.headers.push("Flow-Timer", FLOW_TIMER_S);
        }
        for binding in self.contacts(now.monotonic, extension) {
            let left = binding.expires.saturating_duration_since(now.monotonic);
            let seconds = left.as_secs_f64().ceil();
            let mut contact = format!("<{}>;expires={seconds:.0}", binding.contact);
            if binding.q != MOST_WANTED {
                contact.push_str(&format!(";q={}", f64::from(binding.q) / 1000.0));
            }
            if let Some(instance) = binding.instance.as_deref().filter(|it| gruu::is_plain(it)) {
                contact.push_str(&format!(";+sip.instance=\"{instance}\""));
                if let Some(reg_id) = binding.reg_id {
                    contact.push_str(&format!(";reg-id={reg_id}"));
                }
            }
            if supports("gruu") {
                contact.push_str(&self.addresses(extension, binding));
            }
            response.headers.push(Name::Contact, contact);
        }
        response
    }

    /// Takes note of what another registrar has granted to whoever came along `flow`: of these
    /// contacts, a grant of nothing takes one out.
    pub fn grant(
        &mut self,
        now: Now,
        extension: &str,
        request: &Request,
        flow: Flow,
        grants: Vec<Grant>,
    ) {
        self.expire(now);
        let sip_call_id = request.headers.call_id().unwrap_or_default().into_owned();
        let cseq = request.headers.cseq().map_or(0, |cseq| cseq.number);
        let user_agent = user_agent(request);
        let bindings = self.bindings.entry(extension.to_owned()).or_default();
        for Grant { contact, expires } in grants {
            let is_same = |b: &Binding| b.contact.is_equivalent(&contact);
            let since = bindings.iter().find(|b| is_same(b)).map_or(now.wall, |b| b.since);
            // Whoever comes along this way now is the phone that was there.
            bindings.retain(|b| !is_same(b) && !same_peer(b.flow, flow));
            if expires.is_zero() || bindings.len() >= MAX_CONTACTS {
                continue;
            }
            let expires_at = now.monotonic + expires;
            self.next_expiry = self.next_expiry.into_iter().chain([expires_at]).min();
            bindings.push(Binding {
                contact,
                flow,
                path: Vec::new(),
                user_agent: user_agent.clone(),
                since,
                expires_at: now.wall + expires,
                expires: expires_at,
                instance: None,
                reg_id: None,
                q: MOST_WANTED,
                temporary: VecDeque::new(),
                sip_call_id: sip_call_id.clone(),
                cseq,
            });
        }
        if bindings.is_empty() {
            self.bindings.remove(extension);
        }
    }

    /// The extension whose phone is at the other end of this flow.
    pub fn by_flow(&self, flow: Flow) -> Option<&str> {
        let is_there = |binding: &Binding| {
            same_peer(binding.flow, flow) && binding.flow.connection == flow.connection
        };
        let found = self.bindings.iter().find(|(_, bindings)| bindings.iter().any(is_there));
        found.map(|(extension, _)| extension.as_str())
    }

    /// What registered over this connection.
    pub fn of_connection(&self, flow: Flow) -> Option<&Binding> {
        let is_there = |binding: &&Binding| {
            flow.connection.is_some()
                && binding.flow.transport == flow.transport
                && binding.flow.connection == flow.connection
        };
        self.bindings.values().flatten().find(is_there)
    }

    /// The phones of an extension, the most wanted first, and of those the newest.
    pub fn contacts(&self, now: Instant, extension: &str) -> impl Iterator<Item = &Binding> {
        let bindings = self.bindings.get(extension).map_or(&[][..], Vec::as_slice);
        let mut there: Vec<_> = bindings.iter().rev().filter(|it| it.expires > now).collect();
        there.sort_by_key(|binding| Reverse(binding.q));
        there.into_iter()
    }

    /// The phones of an extension, as [`Self::contacts`]: each by its first flow, with its others.
    pub fn phones(&self, now: Instant, extension: &str) -> Vec<(&Binding, Vec<&Binding>)> {
        let mut phones: Vec<(&Binding, Vec<&Binding>)> = Vec::new();
        for binding in self.contacts(now, extension) {
            let same = phones.iter_mut().find(|(first, _)| first.is_same_phone(binding));
            match same {
                Some((_, others)) => others.push(binding),
                None => phones.push((binding, Vec::new())),
            }
        }
        phones
    }

    /// Whether an extension has a phone.
    pub fn is_registered(&self, now: Instant, extension: &str) -> bool {
        self.contacts(now, extension).next().is_some()
    }

    /// All phones, by extension.
    pub fn registrations(&self, now: Instant) -> Vec<Registration> {
        let mut list: Vec<_> = self
            .bindings
            .iter()
            .flat_map(|(extension, bindings)| {
                bindings.iter().filter(|b| b.expires > now).map(|binding| Registration {
                    extension: extension.clone(),
                    contact: binding.contact.to_string(),
                    flow: binding.flow,
                    since: binding.since,
                    user_agent: binding.user_agent.clone(),
                    expires_at: binding.expires_at,
                })
            })
            .collect();
        list.sort_by(|a, b| (&a.extension, a.since).cmp(&(&b.extension, b.since)));
        list
    }

    /// Forgets what was registered over a connection that is gone.
    pub fn flow_closed(&mut self, flow: Flow) {
        if flow.connection.is_some() {
            self.retain(|_, binding| {
                binding.flow.transport != flow.transport
                    || binding.flow.connection != flow.connection
            });
        }
    }

    /// Forgets the phones of extensions that are no more.
    pub fn retain_extensions(&mut self, is_known: impl Fn(&str) -> bool) {
        self.retain(|extension, _| is_known(extension));
    }

    /// Forgets what has run out.
    pub fn expire(&mut self, now: Now) {
        if self.next_expiry.is_none_or(|next| next > now.monotonic) {
            return;
        }
        self.retain(|_, binding| binding.expires > now.monotonic);
        self.next_expiry = self.bindings.values().flatten().map(|b| b.expires).min();
    }

    /// When the next binding may run out.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.next_expiry
    }

    fn retain(&mut self, keep: impl Fn(&str, &Binding) -> bool) {
        self.bindings.retain(|extension, bindings| {
            bindings.retain(|binding| keep(extension, binding));
            !bindings.is_empty()
        });
    }
}

#[cfg(test)]
mod tests;
