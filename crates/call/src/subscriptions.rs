//! What phones have asked to be told of: the calls of a colleague's extension, for the busy lamp
//! beside its key (RFC 4235), and messages that wait (RFC 3842).
//!
//! Belongs here: who may ask for what, the subscriptions' dialogs and times, one NOTIFY of each
//! under way at a time. Does not: what lights a lamp (`b2bua::lamps`), the bodies (`sip`).
//!
//! Bounded by [`MAX_SUBSCRIPTIONS`] and [`MAX_PER_EXTENSION`]; more get 503 and are asked to come
//! again. A phone that answers no NOTIFY is forgotten, as is one whose connection has ended.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use cheling_model::CallId;
use cheling_sip::dialog::scheme_of_answer;
use cheling_sip::subscription::dialog_info::{self, DialogEntry, DialogState, Direction};
use cheling_sip::subscription::message_summary::{self, Count, MessageSummary};
use cheling_sip::subscription::{
    EndReason, EventType, Granting, Notifier, SubscriptionState, TooBrief, notify,
};
use cheling_sip::{ClientId, Dialog, Flow, Headers, Name, Request, Response, ServerId};

use crate::b2bua::Lamp;
use crate::core::{Core, RETRY_AFTER_S};
use crate::router;

/// Subscriptions at once.
pub const MAX_SUBSCRIPTIONS: usize = 8192;
/// Subscriptions of one extension at once: a phone with all its key panels.
pub const MAX_PER_EXTENSION: usize = 256;
/// What can be subscribed to, for Allow-Events.
pub(crate) const ALLOW_EVENTS: &str = "dialog, message-summary";

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Package {
    Dialog,
    MessageSummary,
}

impl Package {
    fn of(event: &EventType) -> Option<Self> {
        match event.package.as_str() {
            dialog_info::PACKAGE => Some(Self::Dialog),
            message_summary::PACKAGE => Some(Self::MessageSummary),
            _ => None,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Dialog => dialog_info::CONTENT_TYPE,
            Self::MessageSummary => message_summary::CONTENT_TYPE,
        }
    }
}

/// All subscriptions that phones have with us.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    /// By our tag.
    all: HashMap<String, Subscription>,
    /// NOTIFYs under way, and whose they are.
    notifies: HashMap<ClientId, String>,
    timers: BTreeSet<(Instant, String)>,
    /// What each call lights; kept only while somebody watches.
    lamps: HashMap<CallId, Vec<Lamp>>,
}

#[derive(Debug)]
struct Subscription {
    /// Whose phone it is.
    subscriber: String,
    /// The extension it asks about.
    watched: String,
    event: EventType,
    package: Package,
    flow: Flow,
    dialog: Dialog,
    notifier: Notifier,
    /// The URI subscribed to, as it was written.
    entity: String,
    /// Of the next body.
    version: u32,
    /// Whether a NOTIFY waits for its answer.
    is_notifying: bool,
    /// What is to be told when that has come; `None` if nothing is new.
    next: Option<SubscriptionState>,
    /// What was told last.
    told: Vec<DialogEntry>,
    wake_at: Option<Instant>,
}

impl Subscriptions {
    /// Whether anybody is told of anything: calls then say what they light.
    pub(crate) fn is_watching(&self) -> bool {
        !self.all.is_empty()
    }

    /// When to call [`Subscriptions::timeout`].
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Answers the first SUBSCRIBE of a dialog, from a phone of this extension. `lamps` are those
    /// of all calls, where nobody has watched so far.
    pub(crate) fn subscribe(
        &mut self,
        core: &mut Core,
        (server, flow): (ServerId, Flow),
        request: &Request,
        subscriber: &str,
        lamps: impl FnOnce(&Core) -> HashMap<CallId, Vec<Lamp>>,
    ) {
        let wanted = match self.judge(core, request, subscriber) {
            Ok(wanted) => wanted,
            Err(Refusal { status, header }) => {
                return core.refuse_with(server, request, status, |response| {
                    if let Some((name, value)) = header {
                        response.headers.push(name, value);
                    }
                });
            }
        };
        let Wanted { package, event, watched, granted_s } = wanted;
        let tag = core.token();
        let Some(dialog) = Dialog::uas(request, &tag) else {
            return core.refuse(server, request, 400);
        };
        if !self.is_watching() {
            self.lamps = lamps(core);
        }
        // A phone that was switched off and on again has forgotten its subscription.
        self.all.retain(|_, old| {
            let is_same = old.subscriber == subscriber && old.watched == watched;
            !(is_same && old.package == package && old.dialog.target == dialog.target)
        });
        let (notifier, state) = Notifier::subscribe(core.now.monotonic, granted_s);
        accept(core, server, request, flow, granted_s, &tag);
        let subscription = Subscription {
            subscriber: subscriber.to_owned(),
            entity: request.uri.to_string(),
            watched,
            event,
            package,
            flow,
            dialog,
            notifier,
            version: 0,
            is_notifying: false,
            next: Some(state),
            told: Vec::new(),
            wake_at: None,
        };
        self.all.insert(tag.clone(), subscription);
        self.tell(core, &tag);
    }

    /// Takes a request within a dialog; false if none of these subscriptions is meant.
    pub(crate) fn within(
        &mut self,
        core: &mut Core,
        (server, flow): (ServerId, Flow),
        request: &Request,
    ) -> bool {
        let tag = request.headers.to_tag().map(Cow::into_owned);
        let Some((tag, subscription)) =
            tag.and_then(|tag| self.all.get_mut(&tag).map(|found| (tag, found)))
        else {
            return false;
        };
        if let Err(err) = subscription.dialog.receive(request) {
            core.refuse(server, request, err.status());
            return true;
        }
        if request.method != cheling_sip::Method::Subscribe {
            core.refuse(server, request, 405);
            return true;
        }
        if request.headers.event().as_ref() != Some(&subscription.event) {
            core.refuse(server, request, 489);
            return true;
        }
        let granted_s = match Granting::default().grant(request) {
            Ok(granted_s) => granted_s,
            Err(TooBrief { least_s }) => {
                core.refuse_with(server, request, 423, |response| {
                    response.headers.push(Name::MinExpires, least_s);
                });
                return true;
            }
        };
        subscription.dialog.refresh_target(&request.headers);
        subscription.flow = flow;
        let (notifier, state) = subscription.notifier.refresh(core.now.monotonic, granted_s);
        subscription.notifier = notifier;
        subscription.next = Some(state);
        accept(core, server, request, flow, granted_s, &tag);
        self.tell(core, &tag);
        true
    }

    /// A NOTIFY was answered, with 408 for no answer; false if it was none of these.
    pub(crate) fn answered(&mut self, core: &mut Core, client: ClientId, status: u16) -> bool {
        if status < 200 {
            return self.notifies.contains_key(&client);
        }
        let Some(tag) = self.notifies.remove(&client) else { return false };
        if let Some(subscription) = self.all.get_mut(&tag) {
            subscription.is_notifying = false;
            subscription.notifier = subscription.notifier.answered(status);
            self.tell(core, &tag);
        }
        true
    }

    /// Ends what has run out.
    pub(crate) fn timeout(&mut self, core: &mut Core) {
        let now = core.now.monotonic;
        while let Some((at, tag)) = self.timers.first().cloned() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            let Some(subscription) = self.all.get_mut(&tag) else { continue };
            subscription.wake_at = None;
            let (notifier, state) = subscription.notifier.handle_timeout(now);
            subscription.notifier = notifier;
            subscription.next = state.or(subscription.next.take());
            self.tell(core, &tag);
        }
    }

    /// A call lights these lamps now; none when it is over.
    pub(crate) fn light(&mut self, core: &mut Core, call_id: CallId, lamps: Vec<Lamp>) {
        let before = match lamps.is_empty() {
            true => self.lamps.remove(&call_id),
            false => self.lamps.insert(call_id, lamps.clone()),
        };
        let before = before.unwrap_or_default();
        if before == lamps {
            return;
        }
        let is_changed = |extension: &str| {
            let of = |lamps: &[Lamp]| -> Vec<DialogEntry> {
                let own = lamps.iter().filter(|lamp| lamp.extension == extension);
                own.map(|lamp| lamp.entry.clone()).collect()
            };
            of(&before) != of(&lamps)
        };
        let now = core.now.monotonic;
        let mut tags: Vec<String> = Vec::new();
        for (tag, subscription) in &mut self.all {
            if subscription.package == Package::Dialog && is_changed(&subscription.watched) {
                subscription.next.get_or_insert_with(|| subscription.notifier.state(now));
                tags.push(tag.clone());
            }
        }
        // In the order in which they were made out, so that a run can be repeated.
        tags.sort_unstable();
        for tag in tags {
            self.tell(core, &tag);
        }
    }

    /// A connection ended: whoever was told over it subscribes anew when it is back.
    pub(crate) fn flow_closed(&mut self, flow: Flow) {
        self.all.retain(|_, subscription| {
            let theirs = subscription.flow;
            theirs.connection.is_none()
                || (theirs.transport, theirs.connection) != (flow.transport, flow.connection)
        });
        self.forget_unwatched();
    }

    /// Ends what concerns extensions that are no more.
    pub(crate) fn retain_extensions(&mut self, core: &mut Core) {
        let directory = core.directory.clone();
        let is_there = |number: &str| router::extension(&directory, number).is_some();
        let mut tags: Vec<String> = Vec::new();
        self.all.retain(|tag, subscription| {
            if is_there(&subscription.subscriber) && !is_there(&subscription.watched) {
                subscription.notifier = Notifier::Ended;
                subscription.next = Some(SubscriptionState::ended(EndReason::Noresource));
                tags.push(tag.clone());
            }
            is_there(&subscription.subscriber)
        });
        tags.sort_unstable();
        for tag in tags {
            self.tell(core, &tag);
        }
    }

    fn judge(&self, core: &Core, request: &Request, subscriber: &str) -> Result<Wanted, Refusal> {
        let event = request.headers.event();
        let package = event.as_ref().and_then(Package::of);
        let (Some(event), Some(package)) = (event, package) else {
            return Err(Refusal::with(489, Name::AllowEvents, ALLOW_EVENTS.into()));
        };
        if !takes(&request.headers, package.content_type()) {
            return Err(Refusal::with(406, Name::Accept, package.content_type().into()));
        }
        let watched = request.uri.user_unescaped().unwrap_or_default().into_owned();
        let by = router::extension(&core.directory, subscriber);
        let of = router::extension(&core.directory, &watched);
        let (Some(by), Some(of)) = (by, of) else { return Err(Refusal::status(404)) };
        let is_own = by.number == of.number;
        let is_colleague = by.dealership_id == of.dealership_id;
        if !(is_own || (package == Package::Dialog && is_colleague)) {
            return Err(Refusal::status(403));
        }
        let granted_s = Granting::default().grant(request).map_err(|TooBrief { least_s }| {
            Refusal::with(423, Name::MinExpires, least_s.to_string())
        })?;
        let own = self.all.values().filter(|other| other.subscriber == subscriber).count();
        if self.all.len() >= MAX_SUBSCRIPTIONS || own >= MAX_PER_EXTENSION {
            tracing::warn!(extension = %subscriber, own, "SUBSCRIBE refused: too many");
            return Err(Refusal::with(503, Name::RetryAfter, RETRY_AFTER_S.to_string()));
        }
        Ok(Wanted { package, event, watched, granted_s })
    }

    /// Sends what is to be told, unless a NOTIFY is under way, and frees what is over.
    fn tell(&mut self, core: &mut Core, tag: &str) {
        let Some(subscription) = self.all.get_mut(tag) else { return };
        if !subscription.is_notifying
            && let Some(state) = subscription.next.take()
        {
            let lamps = &self.lamps;
            if let Some(notify) = subscription.notify(core, &state, lamps) {
                match core.request_outside(notify, subscription.flow) {
                    Some(client) => {
                        self.notifies.insert(client, tag.to_owned());
                        subscription.is_notifying = true;
                    }
                    // Too many transactions: it is told with the next change, or not at all.
                    None => tracing::warn!(extension = %subscription.subscriber, "NOTIFY not sent"),
                }
            }
        }
        let wake_at = subscription.notifier.next_timeout();
        if wake_at != subscription.wake_at {
            if let Some(at) = subscription.wake_at {
                self.timers.remove(&(at, tag.to_owned()));
            }
            self.timers.extend(wake_at.map(|at| (at, tag.to_owned())));
            subscription.wake_at = wake_at;
        }
        if subscription.notifier == Notifier::Ended && !subscription.is_notifying {
            self.all.remove(tag);
            self.forget_unwatched();
        }
    }

    fn forget_unwatched(&mut self) {
        if !self.is_watching() {
            self.lamps = HashMap::new();
        }
    }
}

impl Subscription {
    /// The next NOTIFY; `None` if it would say what was said before.
    fn notify(
        &mut self,
        core: &Core,
        state: &SubscriptionState,
        lamps: &HashMap<CallId, Vec<Lamp>>,
    ) -> Option<Request> {
        let body = match self.package {
            Package::Dialog => {
                let entries = self.entries(lamps);
                dialog_info::write(self.version, &self.entity, &entries)
            }
            Package::MessageSummary => {
                // There is no mailbox: nothing waits, and a phone may know it.
                let none = Count::default();
                MessageSummary { account: None, voice: none, urgent: none }.to_string()
            }
        };
        self.version = self.version.wrapping_add(1);
        let mut request = notify(&mut self.dialog, &self.event, state);
        request.headers.push(Name::Contact, core.contact(self.flow, self.dialog.contact_scheme));
        request.set_body(self.package.content_type(), body);
        Some(request)
    }

    /// All calls of the extension, and those told last that are over: some phones put a lamp out
    /// only for a call that they are told has ended.
    fn entries(&mut self, lamps: &HashMap<CallId, Vec<Lamp>>) -> Vec<DialogEntry> {
        let own = lamps.values().flatten().filter(|lamp| lamp.extension == self.watched);
        let mut entries: Vec<DialogEntry> = own.map(|lamp| lamp.entry.clone()).collect();
        entries.sort_unstable_by(|one, two| one.id.cmp(&two.id));
        let told = std::mem::replace(&mut self.told, entries.clone());
        let is_over = |old: &DialogEntry| entries.iter().all(|entry| entry.id != old.id);
        let over: Vec<DialogEntry> = told.into_iter().filter(is_over).collect();
        entries.extend(over.into_iter().map(|old| DialogEntry {
            state: DialogState::Terminated,
            dialog: None,
            ..old
        }));
        if entries.is_empty() {
            entries.push(DialogEntry {
                id: self.watched.clone(),
                dialog: None,
                direction: Direction::Recipient,
                state: DialogState::Terminated,
                remote: None,
            });
        }
        entries
    }
}

struct Wanted {
    package: Package,
    event: EventType,
    watched: String,
    granted_s: u32,
}

struct Refusal {
    status: u16,
    header: Option<(Name, String)>,
}

impl Refusal {
    fn status(status: u16) -> Self {
        Self { status, header: None }
    }

    fn with(status: u16, name: Name, value: String) -> Self {
        Self { status, header: Some((name, value)) }
    }
}

/// Whether Accept takes this type; without one, everything is taken.
fn takes(headers: &Headers, content_type: &str) -> bool {
    let accepted = headers.values(Name::Accept);
    accepted.is_empty()
        || accepted.iter().any(|value| {
            let range = value.split(';').next().unwrap_or_default().trim();
            range == "*/*" || range == "application/*" || range.eq_ignore_ascii_case(content_type)
        })
}

fn accept(
    core: &mut Core,
    server: ServerId,
    request: &Request,
    flow: Flow,
    granted_s: u32,
    tag: &str,
) {
    let mut response = Response::to(request, 200, "", Some(tag));
    response.headers.push(Name::Contact, core.contact(flow, scheme_of_answer(request)));
    response.headers.push(Name::Expires, granted_s);
    core.respond(server, response);
}
