//! Which phone is where: the bindings of RFC 3261 §10.3, each kept with the flow it came by, so
//! that requests reach phones behind NAT.
//!
//! Belongs here: Contact, Expires and their limits. Does not: passwords (`auth`).

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use cheling_model::{Now, Timestamp};
use cheling_sip::{Contacts, Flow, Name, NameAddr, Request, Response, Uri};

/// Contacts of one extension at most.
pub const MAX_CONTACTS: usize = 8;
/// Proxies between a phone and us at most.
const MAX_PATH: usize = 4;
/// Longest User-Agent that is kept, in characters.
const MAX_AGENT_CHARS: usize = 100;

/// One phone of an extension.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The Contact: the Request-URI of what is sent there.
    pub contact: Uri,
    /// The way it came by and requests go.
    pub flow: Flow,
    /// The proxies that it came by and requests pass (RFC 3327).
    pub path: Vec<NameAddr>,
    /// What the phone calls itself.
    pub user_agent: String,
    /// Since when it is registered without a break.
    pub since: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    expires: Instant,
    instance: Option<String>,
    sip_call_id: String,
    cseq: u32,
}

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
}

impl RegisterError {
    /// The answer to `request`.
    pub fn response(&self, request: &Request, to_tag: &str) -> Response {
        let (status, reason) = match self {
            Self::Star | Self::Contact => (400, format!("Bad Request: {self}")),
            Self::TooBrief { .. } => (423, String::new()),
            Self::OutOfOrder => (500, format!("Server Internal Error: {self}")),
            Self::TooMany => (403, format!("Forbidden: {self}")),
        };
        let mut response = Response::to(request, status, &reason, Some(to_tag));
        if let Self::TooBrief { min } = self {
            response.headers.push(Name::MinExpires, min.as_secs());
        }
        response
    }
}

/// What one Contact asks for.
struct Wish {
    address: NameAddr,
    expires: Duration,
}

/// All bindings.
#[derive(Debug)]
pub struct Registrar {
    limits: RangeInclusive<Duration>,
    bindings: HashMap<String, Vec<Binding>>,
    next_expiry: Option<Instant>,
}

impl Registrar {
    /// A registrar without phones that grants between the ends of `limits`.
    pub fn new(limits: RangeInclusive<Duration>) -> Self {
        Self { limits, bindings: HashMap::new(), next_expiry: None }
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
        to_tag: &str,
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
                let changed = change(now, known, &wishes, request, flow, &sip_call_id, cseq)?;
                self.next_expiry = changed.iter().map(|b| b.expires).chain(self.next_expiry).min();
                if changed.is_empty() {
                    self.bindings.remove(extension);
                } else {
                    self.bindings.insert(extension.to_owned(), changed);
                }
            }
        }
        Ok(self.response(now, extension, request, to_tag))
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
                Ok(Wish { address, expires: expires.min(max) })
            })
            .collect()
    }

    fn response(&self, now: Now, extension: &str, request: &Request, to_tag: &str) -> Response {
        let mut response = Response::to(request, 200, "", Some(to_tag));
        if request.headers.supported().iter().any(|tag| tag.eq_ignore_ascii_case("path")) {
            response.headers.copy_from(&request.headers, Name::Path);
        }
        for binding in self.contacts(now.monotonic, extension) {
            let left = binding.expires.saturating_duration_since(now.monotonic);
            let seconds = left.as_secs_f64().ceil();
            response
                .headers
                .push(Name::Contact, format!("<{}>;expires={seconds:.0}", binding.contact));
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

    /// The phones of an extension, newest first.
    pub fn contacts(&self, now: Instant, extension: &str) -> impl Iterator<Item = &Binding> {
        let bindings = self.bindings.get(extension).map_or(&[][..], Vec::as_slice);
        bindings.iter().rev().filter(move |binding| binding.expires > now)
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

/// The bindings of an extension after `wishes`, all or nothing (RFC 3261 §10.3 step 7).
fn change(
    now: Now,
    known: &[Binding],
    wishes: &[Wish],
    request: &Request,
    flow: Flow,
    sip_call_id: &str,
    cseq: u32,
) -> Result<Vec<Binding>, RegisterError> {
    let user_agent = user_agent(request);
    let path = request.headers.addresses(Name::Path);
    if path.len() > MAX_PATH {
        return Err(RegisterError::TooMany);
    }
    let mut bindings = known.to_vec();
    for wish in wishes {
        let instance = wish.address.params.unquoted("+sip.instance").map(|id| id.into_owned());
        let is_same = |b: &Binding| {
            b.contact.is_equivalent(&wish.address.uri)
                || (instance.is_some() && b.instance == instance)
        };
        if bindings.iter().any(|b| is_same(b) && b.sip_call_id == sip_call_id && b.cseq >= cseq) {
            return Err(RegisterError::OutOfOrder);
        }
        let since = bindings.iter().find(|b| is_same(b)).map_or(now.wall, |b| b.since);
        // A phone that restarted registers another Contact from the same address: it is one phone,
        // and must not be rung twice.
        bindings.retain(|b| {
            let is_direct = path.is_empty() && b.path.is_empty();
            let is_restart = is_direct && same_peer(b.flow, flow) && b.sip_call_id != sip_call_id;
            !is_same(b) && !is_restart
        });
        if wish.expires.is_zero() {
            continue;
        }
        if bindings.len() >= MAX_CONTACTS {
            return Err(RegisterError::TooMany);
        }
        bindings.push(Binding {
            contact: wish.address.uri.clone(),
            flow,
            path: path.clone(),
            user_agent: user_agent.clone(),
            since,
            expires_at: now.wall + wish.expires,
            expires: now.monotonic + wish.expires,
            instance,
            sip_call_id: sip_call_id.to_owned(),
            cseq,
        });
    }
    Ok(bindings)
}

fn user_agent(request: &Request) -> String {
    let agent = request.headers.get(Name::UserAgent);
    agent.map(|agent| agent.chars().take(MAX_AGENT_CHARS).collect()).unwrap_or_default()
}

fn same_peer(a: Flow, b: Flow) -> bool {
    a.transport == b.transport && a.remote == b.remote
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_sip::Method;

    struct Scene {
        registrar: Registrar,
        now: Now,
        cseq: u32,
    }

    fn scene() -> Scene {
        #[allow(clippy::disallowed_methods)] // Some instant is needed to count from.
        let monotonic = Instant::now();
        let limits = Duration::from_secs(60)..=Duration::from_secs(3600);
        Scene {
            registrar: Registrar::new(limits),
            now: Now { monotonic, wall: Timestamp::from_micros(1_700_000_000_000_000) },
            cseq: 0,
        }
    }

    impl Scene {
        fn later(&mut self, seconds: u64) {
            let by = Duration::from_secs(seconds);
            self.now = Now { monotonic: self.now.monotonic + by, wall: self.now.wall + by };
            self.registrar.expire(self.now);
        }

        fn send(
            &mut self,
            call_id: &str,
            remote: &str,
            contact: &str,
            expires: Option<u32>,
        ) -> Result<Vec<String>, RegisterError> {
            self.cseq += 1;
            let address = NameAddr::parse("<sip:8001@h>").unwrap();
            let mut request = Request::outside_dialog(
                Method::Register,
                Uri::sip(None, "h", None),
                &address.clone().with_tag("1"),
                &address,
                call_id,
                self.cseq,
            );
            if !contact.is_empty() {
                request.headers.push(Name::Contact, contact);
            }
            if let Some(expires) = expires {
                request.headers.push(Name::Expires, expires);
            }
            let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), remote.parse().unwrap());
            let response = self.registrar.register(self.now, "8001", &request, flow, "t")?;
            assert_eq!(response.status, 200);
            Ok(response.headers.values(Name::Contact))
        }

        fn remotes(&self) -> Vec<String> {
            self.registrar
                .contacts(self.now.monotonic, "8001")
                .map(|binding| binding.flow.remote.to_string())
                .collect()
        }
    }

    const A: &str = "192.0.2.2:5060";
    const B: &str = "192.0.2.3:5060";

    #[test]
    fn a_binding_lasts_as_long_as_granted_and_is_bound_to_its_flow() {
        let mut scene = scene();
        let contacts = scene.send("a", A, "<sip:8001@10.0.0.9>", Some(120)).unwrap();
        assert_eq!(contacts, ["<sip:8001@10.0.0.9>;expires=120"]);
        assert_eq!(scene.remotes(), [A]);
        scene.later(60);
        let contacts = scene.send("a", A, "", None).unwrap();
        assert_eq!(contacts, ["<sip:8001@10.0.0.9>;expires=60"], "a query changes nothing");
        scene.later(60);
        assert!(scene.remotes().is_empty());
        assert_eq!(scene.registrar.next_timeout(), None);
    }

    #[test]
    fn expiry_comes_from_the_contact_then_the_header_then_the_maximum() {
        for (contact, expires, want) in [
            ("<sip:8001@h>;expires=90", Some(300), 90),
            ("<sip:8001@h>", Some(300), 300),
            ("<sip:8001@h>", None, 3600),
            ("<sip:8001@h>;expires=x", Some(60), 3600),
            ("<sip:8001@h>;expires=99999999", None, 3600),
        ] {
            let contacts = scene().send("a", A, contact, expires).unwrap();
            assert_eq!(contacts, [format!("<sip:8001@h>;expires={want}")], "{contact}");
        }
        let brief = scene().send("a", A, "<sip:8001@h>;expires=59", None);
        assert_eq!(brief, Err(RegisterError::TooBrief { min: Duration::from_secs(60) }));
    }

    #[test]
    fn contacts_are_taken_out_one_by_one_or_all_with_a_star() {
        let mut scene = scene();
        scene.send("a", A, "<sip:8001@a>", None).unwrap();
        assert_eq!(scene.send("b", B, "<sip:8001@b>", None).unwrap().len(), 2);
        assert_eq!(scene.send("a", A, "<sip:8001@a>;expires=0", None).unwrap().len(), 1);
        assert_eq!(scene.send("b", B, "*", None), Err(RegisterError::Star));
        assert_eq!(scene.send("b", B, "*, <sip:8001@b>", Some(0)), Err(RegisterError::Star));
        assert_eq!(scene.send("b", B, "*", Some(0)).unwrap().len(), 0);
        assert!(scene.registrar.registrations(scene.now.monotonic).is_empty());
    }

    #[test]
    fn a_restarted_phone_replaces_itself_and_another_phone_stays() {
        let mut scene = scene();
        scene.send("a", A, "<sip:8001-0x1@h>", None).unwrap();
        scene.send("b", B, "<sip:8001-0x2@h>", None).unwrap();
        scene.send("c", A, "<sip:8001-0x3@h>", None).unwrap();
        assert_eq!(scene.remotes(), [A, B]);
        let moved = "<sip:8001@x>;+sip.instance=\"<urn:uuid:1>\"";
        scene.send("d", "192.0.2.4:1", moved, None).unwrap();
        scene
            .send("e", "192.0.2.5:2", "<sip:8001@y>;+sip.instance=\"<urn:uuid:1>\"", None)
            .unwrap();
        assert_eq!(scene.remotes(), ["192.0.2.5:2", A, B]);
    }

    #[test]
    fn phones_behind_one_proxy_are_told_apart_and_reached_by_its_path() {
        let mut scene = scene();
        let address = NameAddr::parse("<sip:8001@h>").unwrap();
        let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), A.parse().unwrap());
        for (call_id, contact) in [("a", "<sip:8001@10.0.0.1>"), ("b", "<sip:8001@10.0.0.2>")] {
            let uri = Uri::sip(None, "h", None);
            let from = address.clone().with_tag("1");
            let mut request =
                Request::outside_dialog(Method::Register, uri, &from, &address, call_id, 1);
            request.headers.push(Name::Contact, contact);
            request.headers.push(Name::Path, format!("<sip:{call_id}@edge.example;lr>"));
            request.headers.push(Name::Supported, "path");
            let response =
                scene.registrar.register(scene.now, "8001", &request, flow, "t").unwrap();
            assert_eq!(response.headers.values(Name::Path).len(), 1);
        }
        let contacts = scene.registrar.contacts(scene.now.monotonic, "8001");
        let paths: Vec<_> = contacts.map(|binding| binding.path[0].to_string()).collect();
        assert_eq!(paths, ["<sip:b@edge.example;lr>", "<sip:a@edge.example;lr>"]);
    }

    #[test]
    fn an_overtaken_register_and_too_many_contacts_change_nothing() {
        let mut scene = scene();
        scene.send("a", A, "<sip:8001@a>", None).unwrap();
        scene.cseq = 0;
        assert_eq!(
            scene.send("a", A, "<sip:8001@a>;expires=0", None),
            Err(RegisterError::OutOfOrder)
        );
        let many: Vec<_> = (0..=MAX_CONTACTS).map(|n| format!("<sip:8001@h{n}>")).collect();
        assert_eq!(scene.send("b", B, &many.join(","), None), Err(RegisterError::TooMany));
        assert_eq!(scene.send("b", B, "<tel:8001>", None), Err(RegisterError::Contact));
        assert_eq!(scene.send("b", B, "<sip:8001", None), Err(RegisterError::Contact));
        assert_eq!(scene.remotes(), [A]);
    }
}
