//! Registrations over a restart: phones are reached, and known, at once and not only when they
//! register again.
//!
//! Belongs here: what is kept of a binding. Does not: where it is kept (the shell). A phone that
//! came by a connection is not kept: the connection is gone, and it opens another by itself.

use std::net::SocketAddr;
use std::time::Duration;

use cheling_model::{Now, Timestamp};
use cheling_sip::{Flow, NameAddr, Transport, Uri};

use super::binding::{Binding, MAX_PATH, MAX_TEMPORARY, MOST_WANTED};
use super::{MAX_CONTACTS, Registrar};

/// Registrations that are taken back at most.
const MAX_KEPT: usize = 100_000;

/// One registration by UDP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The extension's number.
    pub extension: String,
    /// The Contact as the phone wrote it.
    pub contact: String,
    /// The proxies before the phone.
    pub path: Vec<String>,
    /// Our address on the way there.
    pub local: SocketAddr,
    /// The phone's, or its NAT's.
    pub remote: SocketAddr,
    /// What the phone calls itself.
    pub user_agent: String,
    /// Its instance id (RFC 5626), if it has one.
    pub instance: Option<String>,
    /// Which of its flows, if it keeps flows.
    pub reg_id: Option<u32>,
    /// Its preference, in thousandths.
    pub q: u16,
    /// The temporary addresses that we gave it (RFC 5627), the newest last.
    pub temporary: Vec<String>,
    /// The Call-ID of its REGISTERs.
    pub sip_call_id: String,
    /// The number of the last.
    pub cseq: u32,
    /// Since when it is registered without a break.
    pub since: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

impl Registrar {
    /// All registrations that a restart need not end.
    pub fn kept(&self, now: Now) -> Vec<Kept> {
        let kept = |(extension, binding): (&String, &Binding)| Kept {
            extension: extension.clone(),
            contact: binding.contact.to_string(),
            path: binding.path.iter().map(ToString::to_string).collect(),
            local: binding.flow.local,
            remote: binding.flow.remote,
            user_agent: binding.user_agent.clone(),
            instance: binding.instance.clone(),
            reg_id: binding.reg_id,
            q: binding.q,
            temporary: binding.temporary.iter().cloned().collect(),
            sip_call_id: binding.sip_call_id.clone(),
            cseq: binding.cseq,
            since: binding.since,
            expires_at: binding.expires_at,
        };
        let all = self.bindings.iter().flat_map(|(extension, bindings)| {
            bindings.iter().map(move |binding| (extension, binding))
        });
        let mut kept: Vec<_> = all
            .filter(|(_, it)| it.flow.transport == Transport::Udp && it.expires > now.monotonic)
            .map(kept)
            .collect();
        kept.sort_by(|a, b| (&a.extension, &a.contact).cmp(&(&b.extension, &b.contact)));
        kept
    }

    /// Takes registrations back that have not run out meanwhile; what has registered since then
    /// stays as it is.
    pub fn restore(&mut self, now: Now, kept: Vec<Kept>) {
        for kept in kept.into_iter().take(MAX_KEPT) {
            let left_us = kept.expires_at.as_micros().saturating_sub(now.wall.as_micros());
            let left = Duration::from_micros(u64::try_from(left_us).unwrap_or(0));
            // Nothing is granted for longer, whatever the clock was then.
            let left = left.min(*self.limits.end());
            let Ok(contact) = Uri::parse(&kept.contact) else { continue };
            let path: Result<Vec<_>, _> =
                kept.path.iter().take(MAX_PATH).map(|proxy| NameAddr::parse(proxy)).collect();
            let (Ok(path), false) = (path, left.is_zero()) else { continue };
            let bindings = self.bindings.entry(kept.extension).or_default();
            let is_known = bindings
                .iter()
                .any(|it| it.contact.is_equivalent(&contact) && it.reg_id == kept.reg_id);
            if is_known || bindings.len() >= MAX_CONTACTS {
                continue;
            }
            let expires = now.monotonic + left;
            self.next_expiry = self.next_expiry.into_iter().chain([expires]).min();
            bindings.push(Binding {
                contact,
                flow: Flow::udp(kept.local, kept.remote),
                path,
                user_agent: kept.user_agent,
                since: kept.since,
                expires_at: now.wall + left,
                expires,
                instance: kept.instance,
                reg_id: kept.reg_id,
                q: kept.q.min(MOST_WANTED),
                temporary: kept.temporary.into_iter().take(MAX_TEMPORARY).collect(),
                sip_call_id: kept.sip_call_id,
                cseq: kept.cseq,
            });
        }
        self.bindings.retain(|_, bindings| !bindings.is_empty());
    }
}
