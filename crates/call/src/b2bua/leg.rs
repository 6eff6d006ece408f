//! One side of a call that has answered, or was answered: its dialog and the way to it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use cheling_model::{CallId, Now, Timestamp};
use cheling_sip::dialog::{DialogError, DialogId};
use cheling_sip::refer::{Progress, Replaces};
use cheling_sip::reliable::RAck;
use cheling_sip::sdp::{CONTENT_TYPE, Sdp};
use cheling_sip::session_timer::{Judgement, Refresher, Terms, judge};
use cheling_sip::subscription::EventType;
use cheling_sip::{ClientId, Dialog, Flow, Method, Name, NameAddr, Request, Response, Transport};

use super::session::Session;
use crate::core::{Core, Entries};
use crate::registrar::Binding;

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// One of our phones.
    Phone {
        /// Its extension.
        extension: String,
    },
    /// A trunk.
    Trunk {
        /// Its name in the config.
        name: String,
    },
}

impl Side {
    /// The extension, if it is a phone.
    pub(crate) fn extension(&self) -> Option<&str> {
        match self {
            Self::Phone { extension } => Some(extension),
            Self::Trunk { .. } => None,
        }
    }

    /// The trunk's name, if it is one.
    pub(crate) fn trunk(&self) -> Option<&str> {
        match self {
            Self::Phone { .. } => None,
            Self::Trunk { name } => Some(name),
        }
    }
}

/// A dialog of a call.
#[derive(Debug)]
pub(crate) struct Leg {
    /// Who is there.
    pub(crate) side: Side,
    flow: Flow,
    dialog: Dialog,
    /// Our INVITE whose 2xx waits for its ACK: its transaction and CSeq number.
    unacknowledged: Option<(ClientId, u32)>,
    /// Its connection broke; the phone may come back by another.
    lost: Option<Lost>,
    /// Its session timer.
    pub(super) session: Session,
    /// Whether we began the dialog, and so chose its Call-ID.
    is_ours: bool,
}

/// A connection that broke.
#[derive(Debug)]
struct Lost {
    at: Instant,
    wall: Timestamp,
    /// What had registered over it; `None` if it had registered by another before that was known.
    device: Option<Device>,
}

/// A phone that had registered.
#[derive(Debug)]
struct Device {
    instance: Option<String>,
    user_agent: String,
    since: Timestamp,
}

/// How long a phone whose connection broke may take to come back.
const LOST_PATIENCE: Duration = Duration::from_secs(60);

impl Leg {
    /// The Call-ID of its dialog.
    pub(crate) fn sip_call_id(&self) -> &str {
        &self.dialog.id.call_id
    }

    /// The dialog that we asked for and `response` made.
    pub(crate) fn called(
        side: Side,
        flow: Flow,
        client: ClientId,
        invite: &Request,
        response: &Response,
    ) -> Option<Self> {
        let dialog = Dialog::uac(invite, response)?;
        // The INVITE's last number, which a challenge may have raised.
        let cseq = response.headers.cseq()?.number;
        let flow = flow_to(&side, flow, &dialog);
        let mut session = Session::default();
        session.learn(&response.headers);
        Some(Self {
            side,
            flow,
            dialog,
            unacknowledged: Some((client, cseq)),
            lost: None,
            session,
            is_ours: true,
        })
    }

    /// The dialog that `request` asked for and our 2xx with this tag makes.
    pub(crate) fn caller(side: Side, flow: Flow, request: &Request, tag: &str) -> Option<Self> {
        let dialog = Dialog::uas(request, tag)?;
        let flow = flow_to(&side, flow, &dialog);
        let mut session = Session::default();
        session.learn(&request.headers);
        Some(Self { side, flow, dialog, unacknowledged: None, lost: None, session, is_ours: false })
    }

    /// The way there.
    pub(super) fn flow(&self) -> Flow {
        self.flow
    }

    /// The CSeq number of our last request.
    pub(super) fn last_cseq(&self) -> u32 {
        self.dialog.local_cseq
    }

    /// Our Contact in it.
    pub(super) fn contact(&self, core: &Core) -> NameAddr {
        core.contact(self.flow, self.dialog.contact_scheme)
    }

    /// How long to wait before an offer of ours that met one of theirs is made again (RFC 3261
    /// §14.1).
    pub(super) fn glare_wait(&self, core: &mut Core) -> Duration {
        let (least, steps) = if self.is_ours { (2100, 190) } else { (0, 200) };
        Duration::from_millis(least + 10 * (core.random.u64() % steps))
    }

    /// A re-INVITE or UPDATE of theirs is accepted: the session timer it agrees on, to be written
    /// into the 2xx.
    pub(super) fn accept_timer(&mut self, core: &Core, request: &Request) -> Option<Terms> {
        self.session.learn(&request.headers);
        let terms = match judge(&core.settings.session_timer, request) {
            Judgement::Agreed(terms) => Some(terms),
            Judgement::TooSmall { .. } | Judgement::NoTimer => None,
        };
        self.session.agree(core.now.monotonic, terms, Refresher::Uas);
        terms
    }

    /// Acknowledges a provisional response that made this dialog (RFC 3262 §4). `last_cseq` is the
    /// number of our last request to whoever the INVITE went to; the new one comes back.
    pub(crate) fn prack(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        rack: &RAck,
        last_cseq: u32,
    ) -> u32 {
        self.continue_from(last_cseq);
        let prack = rack.request(&mut self.dialog);
        core.request(call_id, entries, prack, self.flow, &self.side);
        self.dialog.local_cseq
    }

    /// Sends an UPDATE without an offer within this dialog before the answer (RFC 3311 §5.1), which
    /// says nothing of the session timer: there is none yet. Its transaction comes back, and the
    /// number of our last request as [`Leg::prack`] has it.
    pub(super) fn early_update(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        last_cseq: u32,
        fill: impl FnOnce(&mut Request),
    ) -> (Option<ClientId>, u32) {
        self.continue_from(last_cseq);
        let mut update = self.dialog.request(Method::Update);
        update.headers.push(Name::Contact, self.contact(core));
        fill(&mut update);
        let client = core.request(call_id, entries, update, self.flow, &self.side);
        (client, self.dialog.local_cseq)
    }

    /// A request of ours within this dialog has been sent again with this number.
    pub(crate) fn renumber(&mut self, tag: &str, cseq: u32) {
        if self.dialog.id.local_tag == tag {
            self.continue_from(cseq);
        }
    }

    /// Numbers of requests go on from here.
    pub(crate) fn continue_from(&mut self, last_cseq: u32) {
        self.dialog.local_cseq = self.dialog.local_cseq.max(last_cseq);
    }

    /// Whether a Replaces means this dialog.
    pub(crate) fn is_meant_by(&self, replaces: &Replaces) -> bool {
        replaces.means(&self.dialog.id)
    }

    /// The dialog as the other end sees it.
    pub(crate) fn seen_from_there(&self) -> DialogId {
        let DialogId { call_id, local_tag, remote_tag } = self.dialog.id.clone();
        DialogId { call_id, local_tag: remote_tag, remote_tag: local_tag }
    }

    /// Our tag.
    pub(crate) fn tag(&self) -> &str {
        &self.dialog.id.local_tag
    }

    /// Whether this response comes from the other end of the dialog, and no other fork of it.
    pub(crate) fn is_from_there(&self, response: &Response) -> bool {
        let to = response.headers.to();
        to.as_ref().and_then(|to| to.tag()).unwrap_or_default() == self.dialog.id.remote_tag
    }

    /// Acknowledges the 2xx to our INVITE, if one waits.
    pub(crate) fn ack(&mut self, core: &mut Core, answer: Option<&Sdp>) {
        let Some((client, cseq)) = self.unacknowledged.take() else { return };
        let mut ack = self.dialog.ack(cseq);
        if let Some(answer) = answer {
            ack.set_body(CONTENT_TYPE, answer.to_bytes());
        }
        core.ack(client, ack, self.flow);
    }

    /// Sends a request within the dialog.
    pub(crate) fn request(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        method: Method,
        fill: impl FnOnce(&mut Request),
    ) -> Option<ClientId> {
        let is_target_refresh = matches!(method, Method::Invite | Method::Update);
        let mut request = self.dialog.request(method);
        if is_target_refresh {
            request.headers.push(Name::Contact, self.contact(core));
            self.session.ask(&core.settings.session_timer, &mut request);
        }
        fill(&mut request);
        core.request(call_id, entries, request, self.flow, &self.side)
    }

    /// Offers anew.
    pub(crate) fn reinvite(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        offer: &Sdp,
    ) -> Option<ClientId> {
        self.ack(core, None);
        self.request(core, call_id, entries, Method::Invite, |request| {
            request.set_body(CONTENT_TYPE, offer.to_bytes());
        })
    }

    /// Tells how a transfer goes that this side asked for.
    pub(crate) fn notify(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        event: &EventType,
        progress: &Progress,
        expires_s: u32,
    ) {
        let mut notify = progress.notify(&mut self.dialog, event, expires_s);
        notify.headers.push(Name::Contact, self.contact(core));
        core.request(call_id, entries, notify, self.flow, &self.side);
    }

    /// A 2xx to our INVITE, re-INVITE or UPDATE came: it may have moved the target, and a re-INVITE
    /// waits for its ACK.
    pub(crate) fn renewed(&mut self, now: Instant, client: ClientId, response: &Response) {
        if let Some(cseq) = response.headers.cseq()
            && cseq.method == Method::Invite
        {
            self.unacknowledged = Some((client, cseq.number));
        }
        self.dialog.refresh_target(&response.headers);
        self.session.learn(&response.headers);
        self.session.agree(now, Terms::of_response(response), Refresher::Uac);
    }

    /// Judges a request that came within the dialog (RFC 3261 §12.2.2).
    ///
    /// # Errors
    /// [`DialogError`], which gives the status to answer with.
    pub(crate) fn receive(&mut self, request: &Request, flow: Flow) -> Result<(), DialogError> {
        self.dialog.receive(request)?;
        if matches!(request.method, Method::Invite | Method::Update) {
            self.dialog.refresh_target(&request.headers);
        }
        // A phone behind NAT may have got another address; what answers it goes there too.
        self.flow = flow_to(&self.side, flow, &self.dialog);
        self.lost = None;
        Ok(())
    }

    /// Whether this connection leads there.
    pub(crate) fn is_on(&self, flow: Flow) -> bool {
        flow.connection.is_some()
            && (self.flow.transport, self.flow.connection) == (flow.transport, flow.connection)
    }

    /// The connection broke, by which this device had registered.
    pub(crate) fn lose(&mut self, now: Now, device: Option<&Binding>) {
        let device = device.map(|it| Device {
            instance: it.instance.clone(),
            user_agent: it.user_agent.clone(),
            since: it.since,
        });
        self.lost = Some(Lost { at: now.monotonic, wall: now.wall, device });
    }

    /// Whether the connection broke so lately that the phone may still come back.
    pub(crate) fn is_lost(&self, now: Instant) -> bool {
        let lost = self.lost.as_ref();
        lost.is_some_and(|lost| now.saturating_duration_since(lost.at) < LOST_PATIENCE)
    }

    /// A phone of its extension has registered: the dialog goes on there, if it is this one. Another
    /// does not know it, and would end the call by saying so.
    pub(crate) fn come_back(&mut self, bindings: &[Binding]) {
        let Some(found) = self.own_of(bindings) else { return };
        self.lost = None;
        self.flow = found.flow;
        self.dialog.target = found.contact.clone();
    }

    /// The binding of the phone that was lost: that of its instance (RFC 5626 §4.1), else of its
    /// Contact, else one at the same address and of the same name that is newer, else one that came
    /// since the connection broke.
    fn own_of<'a>(&self, bindings: &'a [Binding]) -> Option<&'a Binding> {
        let Lost { wall, device, .. } = self.lost.as_ref()?;
        if let Some(instance) = device.as_ref().and_then(|device| device.instance.as_ref()) {
            return bindings.iter().find(|it| it.instance.as_ref() == Some(instance));
        }
        let is_there = |it: &&Binding| it.flow.remote.ip() == self.flow.remote.ip();
        let of_contact = |it: &&Binding| it.contact.is_equivalent(&self.dialog.target);
        let is_follower = |it: &&Binding| {
            let follows =
                |device: &Device| it.since >= device.since && it.user_agent == device.user_agent;
            is_there(it) && device.as_ref().is_none_or(follows)
        };
        let is_new = |it: &&Binding| device.is_none() || it.since >= *wall;
        bindings
            .iter()
            .find(of_contact)
            .or_else(|| bindings.iter().find(is_follower))
            .or_else(|| bindings.iter().filter(is_new).find(is_there))
            .or_else(|| bindings.iter().find(is_new))
    }

    /// Hangs up. A 2xx that waits for its ACK gets it first.
    pub(crate) fn bye(
        &mut self,
        core: &mut Core,
        call_id: CallId,
        entries: &mut Entries,
        reason: Option<&str>,
    ) {
        self.ack(core, None);
        self.request(core, call_id, entries, Method::Bye, |request| {
            if let Some(reason) = reason {
                request.headers.push(Name::Reason, reason);
            }
        });
    }
}

/// The way our requests take to a side whose last message came along `flow`.
///
/// A phone is where it was heard from, whatever its Contact says: it may sit behind NAT. A gateway
/// may send from a port that it does not listen on, or hand the call to a neighbour, so its Contact
/// or Record-Route counts, unless it names an inside address for one that was heard from outside.
fn flow_to(side: &Side, flow: Flow, dialog: &Dialog) -> Flow {
    let Side::Trunk { .. } = side else { return flow };
    if flow.transport != Transport::Udp {
        return flow;
    }
    let hop = dialog.next_hop();
    let (Some(ip), Some(sip)) = (hop.as_sip().and_then(|sip| sip.ip()), hop.as_sip()) else {
        return flow;
    };
    let is_hidden = is_inside(ip) && !is_inside(flow.remote.ip());
    let is_udp = sip.params.get("transport").is_none_or(|name| name.eq_ignore_ascii_case("udp"));
    if is_hidden || !is_udp || ip.is_unspecified() {
        return flow;
    }
    Flow { remote: SocketAddr::new(ip, sip.port.unwrap_or(5060)), ..flow }
}

/// Whether an address has no meaning outside its network (RFC 1918, RFC 4193 and their kin).
fn is_inside(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_sip::Uri;

    #[test]
    fn a_gateway_is_where_its_contact_says_and_a_phone_where_it_was_heard() {
        let phone = Side::Phone { extension: "8001".into() };
        let trunk = Side::Trunk { name: "gw".into() };
        for (side, heard, contact, want) in [
            (&phone, "203.0.113.9:40000", "<sip:a@10.0.0.1:5060>", "203.0.113.9:40000"),
            (&trunk, "203.0.113.9:40000", "<sip:a@203.0.113.9>", "203.0.113.9:5060"),
            (&trunk, "203.0.113.9:40000", "<sip:a@203.0.113.10:5080>", "203.0.113.10:5080"),
            (&trunk, "203.0.113.9:40000", "<sip:a@10.0.0.1:5060>", "203.0.113.9:40000"),
            (&trunk, "192.168.1.9:40000", "<sip:a@192.168.1.9:5062>", "192.168.1.9:5062"),
            (&trunk, "192.168.1.9:5060", "<sip:a@gw.example>", "192.168.1.9:5060"),
            (&trunk, "192.168.1.9:5060", "<sip:a@192.168.1.9;transport=tcp>", "192.168.1.9:5060"),
        ] {
            let from = NameAddr::parse("<sip:a@h>;tag=1").unwrap();
            let to = NameAddr::parse("<sip:b@h>").unwrap();
            let uri = Uri::sip(Some("b"), "h", None);
            let mut invite = Request::outside_dialog(Method::Invite, uri, &from, &to, "c", 1);
            invite.headers.push(Name::Contact, contact);
            let flow = Flow::udp("203.0.113.1:5060".parse().unwrap(), heard.parse().unwrap());
            let leg = Leg::caller(side.clone(), flow, &invite, "t").unwrap();
            assert_eq!(leg.flow.remote, want.parse().unwrap(), "{heard} {contact}");
        }
    }
}
