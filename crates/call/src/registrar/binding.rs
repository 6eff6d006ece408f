//! One Contact of one extension, and what a REGISTER makes of those there are.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cheling_model::{Now, Timestamp};
use cheling_sip::{Flow, Name, NameAddr, Request, Uri};

use super::{MAX_CONTACTS, RegisterError};

/// Proxies between a phone and us at most.
pub(super) const MAX_PATH: usize = 4;
/// The highest preference, in thousandths.
pub(super) const MOST_WANTED: u16 = 1000;
/// Longest User-Agent that is kept, in characters.
const MAX_AGENT_CHARS: usize = 100;
/// Temporary addresses of a phone that are known at a time. Each REGISTER makes one; they serve for
/// requests outside of dialogs, so that an older one is hardly asked for.
pub(super) const MAX_TEMPORARY: usize = 8;

/// One phone of an extension, or one of its flows.
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
    /// Which device it is, whatever address it has (RFC 5626 §4.1).
    pub instance: Option<String>,
    /// Its preference among the extension's, in thousandths (RFC 3261 §20.10): 1000 is the highest,
    /// and what is meant where none is named.
    pub q: u16,
    /// Which of the device's flows to us, if it keeps flows (RFC 5626 §4.2).
    pub reg_id: Option<u32>,
    pub(super) expires: Instant,
    /// The newest is the last.
    pub(super) temporary: VecDeque<String>,
    pub(super) sip_call_id: String,
    pub(super) cseq: u32,
}

impl Binding {
    /// Whether both are flows of one device.
    pub(super) fn is_same_phone(&self, other: &Self) -> bool {
        let are_flows = self.reg_id.is_some() && other.reg_id.is_some();
        are_flows && self.instance == other.instance
    }
}

/// What one Contact asks for.
#[derive(Debug)]
pub(super) struct Wish {
    uri: Uri,
    instance: Option<String>,
    reg_id: Option<u32>,
    q: u16,
    expires: Duration,
}

impl Wish {
    /// # Errors
    /// [`RegisterError::Contact`] if the flow's number is none (RFC 5626 §4.2).
    pub(super) fn new(address: NameAddr, expires: Duration) -> Result<Self, RegisterError> {
        let instance = address.params.unquoted("+sip.instance").map(|id| id.into_owned());
        let reg_id = match address.params.get("reg-id") {
            // Without a device there is nothing that it could be a flow of.
            Some(text) if instance.is_some() => {
                let number =
                    text.trim().parse().ok().filter(|id| (1..=i32::MAX as u32).contains(id));
                Some(number.ok_or(RegisterError::Contact)?)
            }
            _ => None,
        };
        let q = address.params.get("q").map_or(Ok(MOST_WANTED), thousandths)?;
        Ok(Self { uri: address.uri, instance, reg_id, q, expires })
    }
}

/// Reads a preference: `0` to `1`, with three decimals at most.
fn thousandths(text: &str) -> Result<u16, RegisterError> {
    let value: f64 = text.trim().parse().map_err(|_| RegisterError::Contact)?;
    if !(0.0..=1.0).contains(&value) {
        return Err(RegisterError::Contact);
    }
    Ok((value * 1000.0).round() as u16)
}

/// The REGISTER that the wishes come in.
#[derive(Debug)]
pub(super) struct Coming<'a> {
    request: &'a Request,
    flow: Flow,
    path: Vec<NameAddr>,
    sip_call_id: &'a str,
    cseq: u32,
    address: &'a str,
}

impl<'a> Coming<'a> {
    pub(super) fn of(
        request: &'a Request,
        flow: Flow,
        sip_call_id: &'a str,
        cseq: u32,
        address: &'a str,
    ) -> Self {
        let path = request.headers.addresses(Name::Path);
        Self { request, flow, path, sip_call_id, cseq, address }
    }

    /// Whether flows are kept for who asks: it knows of them, and so does whoever it has its flow
    /// to (RFC 5626 §6).
    fn keeps_flows(&self) -> Result<bool, RegisterError> {
        let supported = self.request.headers.supported();
        if !supported.iter().any(|tag| tag.eq_ignore_ascii_case("outbound")) {
            return Ok(false);
        }
        // The first proxy of its way stands last in the Path.
        let is_known_there = match self.path.last() {
            Some(first) => first.uri.as_sip().is_some_and(|uri| uri.params.has("ob")),
            None => self.request.headers.values(Name::Via).len() == 1,
        };
        if is_known_there { Ok(true) } else { Err(RegisterError::FirstHop) }
    }
}

/// The bindings of an extension after `wishes`, all or nothing (RFC 3261 §10.3 step 7).
pub(super) fn change(
    now: Now,
    known: &[Binding],
    wishes: &[Wish],
    coming: &Coming<'_>,
) -> Result<Vec<Binding>, RegisterError> {
    let (flow, path) = (coming.flow, &coming.path);
    if path.len() > MAX_PATH {
        return Err(RegisterError::TooMany);
    }
    let staying = wishes.iter().filter(|wish| !wish.expires.is_zero()).count();
    let has_flow = wishes.iter().any(|wish| wish.reg_id.is_some());
    if has_flow && staying > 1 {
        return Err(RegisterError::FlowAmongOthers);
    }
    let keeps_flows = has_flow && coming.keeps_flows()?;
    let user_agent = user_agent(coming.request);
    let mut bindings = known.to_vec();
    for wish in wishes {
        let reg_id = wish.reg_id.filter(|_| keeps_flows);
        let instance = &wish.instance;
        let is_of_device = |b: &Binding| instance.is_some() && b.instance == *instance;
        let is_same = |b: &Binding| match (reg_id, b.reg_id) {
            // A device's flows are told apart by their numbers, whatever their Contacts say.
            (Some(_), Some(_)) => is_of_device(b) && b.reg_id == reg_id,
            // A device that is gone from one place may long be registered at another: what it takes
            // back is the Contact that it names.
            _ => {
                let replaces = is_of_device(b) && !wish.expires.is_zero();
                replaces || b.contact.is_equivalent(&wish.uri)
            }
        };
        let is_overtaken =
            |b: &Binding| b.sip_call_id == coming.sip_call_id && b.cseq >= coming.cseq;
        if bindings.iter().any(|b| is_same(b) && is_overtaken(b)) {
            return Err(RegisterError::OutOfOrder);
        }
        let former = bindings.iter().find(|b| is_same(b));
        let since = former.map_or(now.wall, |b| b.since);
        // A new Call-ID is a new start: what was given before is no longer this phone's (RFC 5627
        // §3.3).
        let kept = former.filter(|b| b.sip_call_id == coming.sip_call_id);
        let mut temporary = kept.map(|b| b.temporary.clone()).unwrap_or_default();
        temporary.push_back(coming.address.to_owned());
        temporary.drain(..temporary.len().saturating_sub(MAX_TEMPORARY));
        // A phone that restarted registers another Contact from the same address: it is one phone,
        // and must not be rung twice.
        bindings.retain(|b| {
            let is_direct = path.is_empty() && b.path.is_empty();
            let is_other_flow = reg_id.is_some() && b.reg_id.is_some() && is_of_device(b);
            let is_restart = is_direct
                && same_peer(b.flow, flow)
                && b.sip_call_id != coming.sip_call_id
                && !is_other_flow;
            !is_same(b) && !is_restart
        });
        if wish.expires.is_zero() {
            continue;
        }
        if bindings.len() >= MAX_CONTACTS {
            return Err(RegisterError::TooMany);
        }
        bindings.push(Binding {
            contact: wish.uri.clone(),
            flow,
            path: path.clone(),
            user_agent: user_agent.clone(),
            since,
            expires_at: now.wall + wish.expires,
            instance: instance.clone(),
            reg_id,
            q: wish.q,
            expires: now.monotonic + wish.expires,
            temporary,
            sip_call_id: coming.sip_call_id.to_owned(),
            cseq: coming.cseq,
        });
    }
    Ok(bindings)
}

pub(super) fn user_agent(request: &Request) -> String {
    let agent = request.headers.get(Name::UserAgent);
    agent.map(|agent| agent.chars().take(MAX_AGENT_CHARS).collect()).unwrap_or_default()
}

pub(super) fn same_peer(a: Flow, b: Flow) -> bool {
    a.transport == b.transport && a.remote == b.remote
}
