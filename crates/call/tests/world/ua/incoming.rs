//! What the phone does about what comes in: requests it answers, responses it acts on.

use super::{Act, Leg, Manner, Pracks, Ua};
use cheling_sip::digest::{Challenge, ha1};
use cheling_sip::endpoint::Event;
use cheling_sip::reliable::{self, Prack, Receipt, Wish};
use cheling_sip::sdp::{CONTENT_TYPE, Direction, Sdp};
use cheling_sip::transaction::Timers;
use cheling_sip::{ClientId, Dialog, Flow, Message, Method, Name, Request, Response, ServerId};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

impl Ua {
    pub fn receive(&mut self, now: Instant, from: SocketAddr, message: Message) {
        if self.is_deaf {
            return;
        }
        let flow = Flow::udp(self.address, from);
        self.endpoint.handle_message(now, flow, message);
        self.events(now);
    }

    pub(super) fn events(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Request { id, request, .. } => self.request(now, id, request),
                Event::Ack { request, .. } => {
                    self.log.push("ACK".into());
                    if let Ok(sdp) = Sdp::parse(&request.body)
                        && let Some(leg) = self.legs.iter_mut().rev().find(|leg| !leg.is_over)
                    {
                        leg.heard = Some(sdp);
                    }
                }
                Event::Cancel { id, request } => {
                    let reason = request.headers.get(Name::Reason).unwrap_or_default().into_owned();
                    self.log.push(format!("CANCEL {reason}"));
                    self.answer(now, id, 487);
                }
                Event::Response { id, response, .. } => self.response(now, id, &response),
                Event::TimedOut { id } | Event::SendFailed { id } => self.failed(id, 408),
                Event::NotAcknowledged { id } => {
                    self.log.push("not acknowledged".into());
                    if self.legs.iter().any(|leg| leg.server == Some(id) && !leg.is_over) {
                        self.hang_up(now);
                    }
                }
                Event::Stray { .. } | Event::Overloaded { .. } => {}
            }
        }
    }

    pub(super) fn request(&mut self, now: Instant, id: ServerId, request: Request) {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        match request.method {
            Method::Notify if request.headers.event().is_some_and(|e| e.package != "refer") => {
                let state = request.headers.get(Name::SubscriptionState).unwrap();
                self.log.push(format!("NOTIFY {state}"));
                self.told.push(body);
                let status = self.notify_status;
                if status > 0 {
                    self.endpoint.respond(now, id, &Response::to(&request, status, "", None));
                }
                return;
            }
            Method::Message if !request.is_in_dialog() => {
                self.log.push(format!("MESSAGE {body}"));
                let status = if matches!(self.manner, Manner::Refuse(..)) { 488 } else { 202 };
                self.endpoint.respond(now, id, &Response::to(&request, status, "", Some("x")));
                return;
            }
            Method::Notify => self.log.push(format!("NOTIFY {}", body.trim_end())),
            _ => self.log.push(request.method.to_string()),
        }
        if request.method == Method::Update {
            self.updates.push(request.clone());
        }
        let call_id = request.headers.call_id().unwrap().into_owned();
        let is_speakable = self.knows_any_of(Sdp::parse(&request.body).ok().as_ref());
        let in_dialog = self.legs.iter_mut().find(|leg| {
            leg.dialog.as_ref().is_some_and(|dialog| dialog.id.call_id == call_id) && !leg.is_over
        });
        if self.refusals.front().is_some_and(|(method, ..)| *method == request.method) {
            let (_, status, name, value) = self.refusals.pop_front().unwrap();
            let mut response = Response::to(&request, status, "", Some("x"));
            response.headers.push(name, value);
            self.endpoint.respond(now, id, &response);
            return;
        }
        match (&request.method, in_dialog) {
            (Method::Prack, Some(leg)) => {
                let outcome = leg.uas.as_mut().map(|uas| uas.acknowledge(now, &request));
                let is_known = matches!(outcome, Some(Prack::Acknowledged { .. }));
                let cseq = request.headers.cseq().unwrap().number;
                assert!(cseq > 1, "a new request in the dialog");
                let status = if is_known { 200 } else { 481 };
                self.endpoint.respond(now, id, &Response::to(&request, status, "", Some("x")));
            }
            (Method::Invite, None) if !request.is_in_dialog() => self.invited(now, id, request),
            (Method::Invite | Method::Update, Some(_)) if !is_speakable => {
                self.endpoint.respond(now, id, &Response::to(&request, 488, "", None));
            }
            (Method::Invite | Method::Update, Some(leg)) => {
                let offer = Sdp::parse(&request.body).ok();
                let direction = offer
                    .as_ref()
                    .and_then(|sdp| sdp.audio())
                    .map_or(Direction::SendRecv, |audio| audio.direction.reversed());
                leg.heard = offer.or(leg.heard.take());
                leg.version += 1;
                let version = leg.version;
                let mut response = Response::to(&request, 200, "", None);
                response.headers.push(Name::Contact, self.contact());
                for (name, value) in &self.answers_with {
                    response.headers.push(*name, value);
                }
                if request.method == Method::Invite || !request.body.is_empty() {
                    response.set_body(CONTENT_TYPE, self.sdp(direction, version).to_bytes());
                }
                self.endpoint.respond(now, id, &response);
            }
            (method, leg) => {
                let status = if leg.is_some() { 200 } else { 481 };
                if let (Method::Bye, Some(leg)) = (method, leg) {
                    leg.is_over = true;
                    let reason = request.headers.get(Name::Reason).unwrap_or_default().into_owned();
                    self.log.push(format!("BYE {reason}"));
                }
                let response = Response::to(&request, status, "", Some("x"));
                self.endpoint.respond(now, id, &response);
            }
        }
    }

    fn invited(&mut self, now: Instant, id: ServerId, request: Request) {
        self.port = self.port.wrapping_add(10).max(4000);
        self.invites.push(request.clone());
        let tag = self.endpoint.token();
        let dialog = Dialog::uas(&request, &tag);
        let heard = Sdp::parse(&request.body).ok();
        self.legs.push(Leg {
            dialog,
            invite: request,
            client: None,
            server: Some(id),
            status: None,
            heard,
            is_over: false,
            version: 1,
            uas: None,
            uac: reliable::Uac::default(),
            early: None,
            early_dialog: None,
        });
        if !self.knows_any_of(self.legs.last().and_then(|leg| leg.heard.as_ref())) {
            return self.answer(now, id, 488);
        }
        let (provisional, act) = match self.manner {
            Manner::Answer(after) => (180, Some((after, 200))),
            Manner::EarlyMedia(after) => (183, Some((after, 200))),
            Manner::Refuse(status, after) => (180, Some((after, status))),
            Manner::Ring => (180, None),
            Manner::Dead => return self.leg().is_over = true,
        };
        self.answer(now, id, provisional);
        if let Some((after, status)) = act {
            self.acts.push((now + after, Act::Answer(id, status)));
        }
    }

    pub(super) fn answer(&mut self, now: Instant, id: ServerId, status: u16) {
        let contact = self.contact();
        let Some(at) = self.legs.iter().position(|leg| leg.server == Some(id)) else { return };
        let tag = self.legs[at].dialog.as_ref().unwrap().id.local_tag.clone();
        let mut response = Response::to(&self.legs[at].invite, status, "", Some(&tag));
        response.headers.push(Name::Contact, contact);
        for (name, value) in self.rings_with.iter().filter(|_| status < 200) {
            response.headers.push(*name, value);
        }
        for (name, value) in self.answers_with.iter().filter(|_| status == 200) {
            response.headers.push(*name, value);
        }
        for (name, value) in self.final_extra.iter().filter(|_| status >= 300) {
            response.headers.push(*name, value);
        }
        if let (302, Some(to)) = (status, &self.redirects_to) {
            response.headers.set(Name::Contact, format!("<sip:{to}@192.0.2.1>"));
        }
        if status == 183 || (status == 200 && !self.answers_without_sdp) {
            response.set_body(CONTENT_TYPE, self.sdp(Direction::SendRecv, 1).to_bytes());
        }
        if status < 200 && self.is_reliable && Wish::of(&self.legs[at].invite) != Wish::Unsupported
        {
            let mut uas = reliable::Uas::new(1, 7, Timers::default());
            response = uas.send(now, response).unwrap().unwrap();
            self.legs[at].uas = Some(uas);
        }
        if status == 200 && self.legs[at].uas.as_ref().is_some_and(|uas| !uas.may_accept()) {
            let again = now + Duration::from_millis(100);
            return self.acts.push((again, Act::Answer(id, status)));
        }
        if let (200.., Some(uas)) = (status, &mut self.legs[at].uas) {
            uas.finish();
        }
        if self.endpoint.respond(now, id, &response) && status >= 200 {
            self.legs[at].status = Some(status);
            self.legs[at].is_over = status >= 300;
        }
    }

    fn response(&mut self, now: Instant, id: ClientId, response: &Response) {
        if response.status >= 300 {
            self.refused.push(response.clone());
        }
        if let Some((client, request)) = self.registers.take_if(|(client, _)| *client == id) {
            self.registered = Some(response.clone());
            self.log.push(format!("REGISTER {}", response.status));
            if response.status == 401 {
                let request = self.authorised(request, response);
                if let Some(request) = request {
                    let flow = self.flow();
                    let client = self.endpoint.request(now, flow, request.clone()).unwrap();
                    self.registers = Some((client, request));
                }
            } else if response.is_provisional() {
                self.registers = Some((client, request));
            }
            return;
        }
        let method = response.headers.cseq().unwrap().method;
        self.log.push(format!("{} {method}", response.status));
        if let Some(at) = self.asks.iter().position(|(client, _)| *client == id) {
            let (_, request) = self.asks.remove(at);
            if response.status == 407 {
                let Some(request) = self.authorised(request, response) else { return };
                let flow = self.flow();
                let client = self.endpoint.request(now, flow, request.clone()).unwrap();
                self.asks.push((client, request));
            } else if response.is_success() && method == Method::Subscribe {
                let dialog = Dialog::uac(&request, response).unwrap();
                self.watches.push((request.uri.user().unwrap_or_default().to_owned(), dialog));
            }
            return;
        }
        if let (Method::Prack, Ok(sdp)) = (&method, Sdp::parse(&response.body)) {
            self.leg().heard = Some(sdp);
        }
        let Some(at) = self.legs.iter().position(|leg| leg.client == Some(id)) else { return };
        if method != Method::Invite {
            return;
        }
        if let Ok(sdp) = Sdp::parse(&response.body) {
            self.legs[at].heard = Some(sdp);
        }
        if response.is_provisional() {
            let leg = &mut self.legs[at];
            if leg.early_dialog.is_none() {
                leg.early_dialog = Dialog::uac(&leg.invite, response);
            }
            if let Receipt::Acknowledge(rack) = leg.uac.receive(response)
                && self.pracks != Pracks::Never
            {
                let leg = &self.legs[at];
                let mut dialog = Dialog::uac(&leg.invite, response).unwrap();
                dialog.local_cseq = leg.early.unwrap_or(dialog.local_cseq);
                let mut prack = rack.request(&mut dialog);
                let is_offered = self.legs[at].invite.body.is_empty() && !response.body.is_empty();
                let description = match self.prack_offers {
                    _ if self.pracks == Pracks::WithoutSdp => None,
                    _ if is_offered => Some(self.sdp(Direction::SendRecv, 1)),
                    Some(direction) => {
                        self.port += 2;
                        Some(self.sdp(direction, 2))
                    }
                    None => None,
                };
                if let Some(sdp) = description {
                    prack.set_body(CONTENT_TYPE, sdp.to_bytes());
                }
                let leg = &mut self.legs[at];
                leg.early = Some(dialog.local_cseq);
                leg.early_dialog = Some(dialog);
                let flow = self.flow();
                self.endpoint.request(now, flow, prack).unwrap();
            }
            return;
        }
        let is_first = self.legs[at].dialog.is_none();
        if response.status == 407 && is_first {
            let invite = self.legs[at].invite.clone();
            if let Some(invite) = self.authorised(invite, response) {
                self.legs.remove(at);
                return self.start(now, invite);
            }
        }
        self.legs[at].status = Some(response.status);
        if !response.is_success() {
            if is_first {
                self.legs[at].is_over = true;
            }
            return;
        }
        if is_first {
            let mut dialog = Dialog::uac(&self.legs[at].invite, response);
            if let (Some(dialog), Some(cseq)) = (&mut dialog, self.legs[at].early) {
                dialog.local_cseq = cseq;
            }
            self.legs[at].dialog = dialog;
        }
        if !self.acknowledges {
            return;
        }
        let leg = &self.legs[at];
        let cseq = response.headers.cseq().unwrap().number;
        let mut ack = leg.dialog.as_ref().unwrap().ack(cseq);
        if leg.invite.body.is_empty() && !response.body.is_empty() {
            ack.set_body(CONTENT_TYPE, self.sdp(Direction::SendRecv, 1).to_bytes());
        }
        let flow = self.flow();
        self.endpoint.ack(id, flow, ack);
    }

    pub(super) fn failed(&mut self, id: ClientId, status: u16) {
        self.log.push(format!("failed {status}"));
        for leg in self.legs.iter_mut().filter(|leg| leg.client == Some(id)) {
            leg.status = Some(status);
            leg.is_over = true;
        }
    }

    fn authorised(&mut self, mut request: Request, response: &Response) -> Option<Request> {
        let (asked, answer) = match response.status {
            401 => (Name::WwwAuthenticate, Name::Authorization),
            _ => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
        };
        if request.headers.has(answer) {
            return None;
        }
        let challenge = Challenge::parse(&response.headers.get(asked)?)?;
        let key = ha1(challenge.algorithm, &self.number, &challenge.realm, &self.password);
        let uri = request.uri.to_string();
        let method = request.method.clone();
        let value = challenge.answer(&self.number, &key, method.as_str(), &uri, "c", 1);
        request.headers.push(answer, value);
        self.cseq += 1;
        request.headers.set(Name::CSeq, format!("{} {method}", self.cseq));
        Some(request)
    }
}
