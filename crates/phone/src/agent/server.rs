//! Requests of others, and our responses to them (RFC 3261 §8.2, §13.3, §17.2).

use super::*;

impl Agent {
    pub(super) async fn request(&mut self, from: SocketAddr, request: Request) {
        let call_id = message::value(&request.headers, "Call-ID").unwrap_or_default();
        if request.method == Method::Ack {
            self.acknowledged(&call_id, &request);
            return;
        }
        if let Some(served) = transaction_key(&request).and_then(|key| self.served.get(&key)) {
            let bytes = served.bytes.clone();
            self.transmit(from, &bytes).await;
            return;
        }
        let is_known = self.dialogs.contains_key(&call_id);
        match request.method {
            Method::Invite if is_known => self.reinvited(&call_id, from, request).await,
            Method::Invite if has_to_tag(&request) => {
                self.respond(&request, from, 481, Vec::new(), Vec::new()).await;
            }
            Method::Invite => self.invited(call_id, from, request).await,
            Method::Cancel => self.cancelled(&call_id, from, request).await,
            Method::Bye if is_known => {
                self.respond(&request, from, 200, Vec::new(), Vec::new()).await;
                let reason = message::value(&request.headers, "Reason");
                self.finish(&call_id, Ending { by: Side::Them, status: None, reason });
            }
            Method::Info if is_known => {
                self.respond(&request, from, 200, Vec::new(), Vec::new()).await;
            }
            Method::Bye | Method::Info => {
                self.respond(&request, from, 481, Vec::new(), Vec::new()).await;
            }
            Method::Options => {
                let allow = vec![header("Allow", ALLOW), header("Accept", "application/sdp")];
                self.respond(&request, from, 200, allow, Vec::new()).await;
            }
            _ => {
                let allow = vec![header("Allow", ALLOW)];
                self.respond(&request, from, 405, allow, Vec::new()).await;
            }
        }
    }

    pub(super) async fn invited(&mut self, call_id: String, from: SocketAddr, invite: Request) {
        if self.dialogs.len() >= self.config.max_calls {
            self.respond(&invite, from, 486, Vec::new(), Vec::new()).await;
            return;
        }
        if let Some(offer) = Description::read(&invite.body)
            && !Dialog::has_common_codec(&offer, &self.config.codecs)
        {
            self.respond(&invite, from, 488, Vec::new(), Vec::new()).await;
            return;
        }
        let Ok(media) = Media::open(self.media_ip, self.config.heard_samples).await else {
            self.respond(&invite, from, 500, Vec::new(), Vec::new()).await;
            return;
        };
        let (state, watching) = watch::channel(CallState::Incoming);
        let called = message::value(&invite.headers, "To").unwrap_or_default();
        let caller = message::value(&invite.headers, "From").unwrap_or_default();
        let mut dialog = Dialog {
            phase: Phase::Incoming { invite: Box::new(invite.clone()), from },
            state,
            codec: self.config.codecs.first().copied().unwrap_or(cheling_media::g711::Law::A),
            media,
            local: format!("{called};tag={}", self.tag),
            remote: String::new(),
            target: String::new(),
            routes: Vec::new(),
            sequence: 0,
            invite_sequence: 0,
            ack: None,
            wanted: Direction::SendRecv,
            description_id: rand::random::<u32>().into(),
            description_version: 0,
        };
        dialog.learn(caller.clone(), &invite.headers, false);
        let call =
            self.call_handle(call_id.clone(), (&caller, &called), &invite, watching, &dialog);
        let is_told = call.is_ok_and(|call| self.events.try_send(Event::Incoming(call)).is_ok());
        if !is_told {
            self.respond(&invite, from, 480, Vec::new(), Vec::new()).await;
            return;
        }
        self.dialogs.insert(call_id, dialog);
        let contact = self.contact_header();
        match self.config.ringing {
            Ringing::Automatic => self.respond(&invite, from, 180, vec![contact], vec![]).await,
            Ringing::ByHand => self.respond(&invite, from, 100, vec![], vec![]).await,
        }
    }

    pub(super) async fn reinvited(&mut self, call_id: &str, from: SocketAddr, request: Request) {
        let more = vec![self.contact_header()];
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let status = match &dialog.phase {
            Phase::Talking { reinvite: None, .. } => 200,
            // Both ends offered at once (RFC 3261 §14.2).
            Phase::Talking { reinvite: Some(_), .. } => 491,
            // The same INVITE by another way (RFC 3261 §8.2.2.2).
            _ => 482,
        };
        if status != 200 {
            self.respond(&request, from, status, Vec::new(), Vec::new()).await;
            return;
        }
        let offer = Description::read(&request.body);
        if offer.as_ref().is_some_and(|offer| !Dialog::has_common_codec(offer, &ours)) {
            self.respond(&request, from, 488, Vec::new(), Vec::new()).await;
            return;
        }
        if let Some(contact) = message::value(&request.headers, "Contact") {
            dialog.target = message::uri(&contact).to_owned(); // target refresh
        }
        let body = match &offer {
            Some(offer) => {
                let direction = dialog.agree(offer, &ours);
                dialog.state.send_replace(CallState::Talking { direction });
                let codec = dialog.codec;
                dialog.describe(&[codec], direction)
            }
            None => dialog.describe(&ours, dialog.wanted),
        };
        dialog.phase = Phase::Talking { reinvite: None, awaits_answer: offer.is_none() };
        self.respond(&request, from, 200, more, body).await;
    }

    pub(super) async fn cancelled(&mut self, call_id: &str, from: SocketAddr, request: Request) {
        let invite = match self.dialogs.get(call_id).map(|dialog| &dialog.phase) {
            Some(Phase::Incoming { invite, .. }) => Some(invite.clone()),
            Some(_) => None, // answered already: the CANCEL has no effect
            None => {
                self.respond(&request, from, 481, Vec::new(), Vec::new()).await;
                return;
            }
        };
        self.respond(&request, from, 200, Vec::new(), Vec::new()).await;
        if let Some(invite) = invite {
            self.respond(&invite, from, 487, Vec::new(), Vec::new()).await;
            let reason = message::value(&request.headers, "Reason");
            self.finish(call_id, Ending { by: Side::Them, status: Some(487), reason });
        }
    }

    pub(super) fn acknowledged(&mut self, call_id: &str, ack: &Request) {
        self.unacknowledged.remove(call_id);
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let Phase::Talking { awaits_answer, .. } = &mut dialog.phase else { return };
        if std::mem::take(awaits_answer)
            && let Some(answer) = Description::read(&ack.body)
        {
            let direction = dialog.agree(&answer, &ours);
            dialog.state.send_replace(CallState::Talking { direction });
        }
    }

    /// Sends a response and remembers it for copies of the request.
    pub(super) async fn respond(
        &mut self,
        request: &Request,
        to: SocketAddr,
        status: u16,
        more: Vec<Header>,
        body: Vec<u8>,
    ) {
        let call_id = message::value(&request.headers, "Call-ID").unwrap_or_default();
        let tag = match self.dialogs.get(&call_id) {
            Some(dialog) => dialog.local_tag(),
            None => self.tag.clone(),
        };
        let response = message::response(request, status, &tag, more, body);
        let bytes = response.to_string().into_bytes();
        let now = Instant::now();
        self.served.retain(|_, served| served.forget_at > now);
        if let Some(key) = transaction_key(request) {
            self.served.insert(key, Served { bytes: bytes.clone(), forget_at: now + DEADLINE });
        }
        if request.method == Method::Invite && status >= 200 {
            // A 2xx is repeated over TCP too (RFC 3261 §13.3.1.4).
            let is_repeated = status < 300 || self.config.transport == Transport::Udp;
            let answer = Retransmission::new(bytes.clone(), to, now, is_repeated);
            self.unacknowledged.insert(call_id, answer);
        }
        self.transmit(to, &bytes).await;
    }

    pub(super) fn finish(&mut self, call_id: &str, ending: Ending) {
        if let Some(dialog) = self.dialogs.remove(call_id) {
            dialog.state.send_replace(CallState::Ended(ending));
        }
    }
}

/// Names a server transaction (RFC 3261 §17.2.3).
fn transaction_key(request: &Request) -> Option<String> {
    Some(format!("{} {}", message::branch(&request.headers)?, request.method))
}

fn has_to_tag(request: &Request) -> bool {
    message::value(&request.headers, "To").is_some_and(|to| message::tag(&to).is_some())
}
