//! Requests of ours, and the responses to them (RFC 3261 §8.1, §13.2, §17.1).

use super::*;

/// Between a renewal that failed and the next try.
const RENEWAL_RETRY: Duration = Duration::from_secs(10);

impl Agent {
    pub(super) async fn send_register(&mut self, expires: Duration) {
        let Some(server) = self.config.server else {
            self.registered(Err(PhoneError::BadTarget("no server".into())), None);
            return;
        };
        let branch = branch();
        self.registration.sequence += 1;
        let address = format!("<sip:{}@{}>", self.config.account.user, self.domain());
        let headers = Headers::from(vec![
            Header::Via(self.via(&branch).into()),
            Header::MaxForwards("70".into()),
            Header::From(format!("{address};tag={}", self.tag).into()),
            Header::To(address.into()),
            Header::CallId(self.registration.call_id.clone().into()),
            Header::CSeq(format!("{} REGISTER", self.registration.sequence).into()),
            Header::Contact(format!("{};expires={}", self.contact(), expires.as_secs()).into()),
            Header::Expires(expires.as_secs().to_string().into()),
        ]);
        let uri = format!("sip:{}", self.request_host());
        match message::request(Method::Register, &uri, headers, Vec::new()) {
            Ok(request) => {
                let call_id = self.registration.call_id.clone();
                self.start_client(request, &call_id, server, branch).await;
            }
            Err(error) => self.registered(Err(PhoneError::BadTarget(error)), None),
        }
    }

    /// Sends a request of an established dialog and returns its branch.
    pub(super) async fn send_in_dialog(
        &mut self,
        call_id: &str,
        method: Method,
        body: Vec<u8>,
    ) -> Option<String> {
        let branch = branch();
        let (via, contact) = (self.via(&branch), self.contact());
        let dialog = self.dialogs.get_mut(call_id)?;
        let to = dialog.next_hop(self.config.server)?;
        let request = match dialog.request(method, call_id, via, &contact, body) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(call_id, %method, error, "the far end's Contact cannot be used");
                return None;
            }
        };
        if method == Method::Ack {
            let bytes = request.to_string().into_bytes();
            dialog.ack = Some((to, bytes.clone()));
            self.transmit(to, &bytes).await;
        } else {
            self.start_client(request, call_id, to, branch.clone()).await;
        }
        Some(branch)
    }

    /// A CANCEL has the branch and the CSeq number of its INVITE (RFC 3261 §9.1).
    pub(super) async fn send_cancel(&mut self, invite_branch: &str) {
        let Some(client) = self.clients.get(invite_branch) else { return };
        let cancelled = same_transaction(&client.request, Method::Cancel, None);
        let (call_id, to) = (client.call_id.clone(), client.retransmission.to);
        self.start_client(cancelled, &call_id, to, format!("{invite_branch}:cancel")).await;
    }

    /// `key` is the branch, except for CANCEL, which shares that of its INVITE.
    pub(super) async fn start_client(
        &mut self,
        request: Request,
        call_id: &str,
        to: SocketAddr,
        key: String,
    ) {
        let client =
            ClientTransaction::new(request, call_id, to, self.config.transport, Instant::now());
        let bytes = client.retransmission.bytes.clone();
        self.clients.insert(key, client);
        self.transmit(to, &bytes).await;
    }

    pub(super) async fn transmit(&mut self, to: SocketAddr, bytes: &[u8]) {
        if let Err(error) = self.wire.send(to, bytes).await {
            // Like a lost datagram: the transaction's timer decides.
            tracing::debug!(%to, %error, "not sent");
        }
    }

    pub(super) async fn response(&mut self, from: SocketAddr, response: Response) {
        let Some(branch) = message::branch(&response.headers) else { return };
        let Some((_, method)) = message::sequence(&response.headers) else { return };
        let status = response.status_code.code();
        let key = if method == "CANCEL" { format!("{branch}:cancel") } else { branch };
        let Some(client) = self.clients.get_mut(&key) else {
            self.repeated_final(from, &key, &response).await;
            return;
        };
        if status < 200 {
            client.retransmission.provisional(Instant::now());
            if client.method() == Method::Invite {
                let call_id = client.call_id.clone();
                self.provisional(&call_id, &key, status, &response).await;
            }
            return;
        }
        let Some(client) = self.clients.remove(&key) else { return };
        if client.method() == Method::Invite && status >= 300 {
            let to = message::value(&response.headers, "To");
            let ack = same_transaction(&client.request, Method::Ack, to);
            let bytes = ack.to_string().into_bytes();
            let to = client.retransmission.to;
            self.transmit(to, &bytes).await;
            let forget_at = Instant::now() + DEADLINE;
            self.acks.retain(|_, ack| ack.forget_at > Instant::now());
            self.acks.insert(key.clone(), Served { bytes, forget_at });
        }
        if matches!(status, 401 | 407) && self.retry_with_credentials(&client, &response).await {
            return;
        }
        match client.method() {
            Method::Register => {
                let result = if status < 300 { Ok(()) } else { Err(PhoneError::Refused(status)) };
                self.registered(result, Some(&response));
            }
            Method::Invite if status < 300 => {
                self.invite_answered(&client.call_id, &response).await
            }
            Method::Invite => {
                let reason = message::value(&response.headers, "Reason");
                self.invite_failed(&client.call_id, &key, status, reason).await;
            }
            _ => {}
        }
    }

    /// A final response to INVITE comes again when its ACK was lost.
    pub(super) async fn repeated_final(
        &mut self,
        from: SocketAddr,
        branch: &str,
        response: &Response,
    ) {
        if let Some(ack) = self.acks.get(branch) {
            let bytes = ack.bytes.clone();
            self.transmit(from, &bytes).await;
            return;
        }
        let call_id = message::value(&response.headers, "Call-ID").unwrap_or_default();
        let is_invite = message::sequence(&response.headers).is_some_and(|(_, m)| m == "INVITE");
        let ack = self.dialogs.get(&call_id).and_then(|dialog| dialog.ack.clone());
        if let (true, Some((to, bytes))) = (is_invite, ack) {
            self.transmit(to, &bytes).await;
        }
    }

    /// Sends the request again with an answer to the challenge; `false` if there is none to give.
    pub(super) async fn retry_with_credentials(
        &mut self,
        client: &ClientTransaction,
        response: &Response,
    ) -> bool {
        let (challenge_name, answer_name) = match response.status_code.code() {
            401 => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let challenge = message::values(&response.headers, challenge_name)
            .iter()
            .find_map(|value| Challenge::read(value));
        let Some(challenge) = challenge else { return false };
        // A second refusal of the same password is final, unless only the nonce was old.
        let is_worth_it = client.attempts == 0 || (challenge.is_stale && client.attempts < 3);
        if !is_worth_it || self.config.account.password.is_empty() {
            return false;
        }
        let method = client.method();
        let sequence = match method {
            Method::Register => {
                self.registration.sequence += 1;
                self.registration.sequence
            }
            _ => match self.dialogs.get_mut(&client.call_id) {
                Some(dialog) => {
                    dialog.sequence += 1;
                    if method == Method::Invite {
                        dialog.invite_sequence = dialog.sequence;
                    }
                    dialog.sequence
                }
                // A BYE outlives its dialog here.
                None => match message::sequence(&client.request.headers) {
                    Some((number, _)) => number + 1,
                    None => return false,
                },
            },
        };
        let branch = branch();
        let account = &self.config.account;
        let uri = client.request.uri.to_string();
        let credentials = challenge.answer(
            (&account.user, &account.password),
            (&method.to_string(), &uri),
            &token(),
            1,
        );
        let mut request = client.request.clone();
        request.headers.retain(|header| {
            !matches!(header, Header::Via(_) | Header::CSeq(_))
                && !matches!(header, Header::Other(name, _) if name == answer_name)
        });
        let mut headers = Headers::from(vec![
            Header::Via(self.via(&branch).into()),
            Header::CSeq(format!("{sequence} {method}").into()),
            header(answer_name, credentials),
        ]);
        headers.extend(request.headers.iter().cloned().collect());
        request.headers = headers;

        if let Some(dialog) = self.dialogs.get_mut(&client.call_id) {
            match &mut dialog.phase {
                Phase::Calling { branch: current, has_provisional, .. } => {
                    *current = branch.clone();
                    *has_provisional = false;
                }
                Phase::Talking { reinvite: Some(current), .. } => *current = branch.clone(),
                _ => {}
            }
        }
        let to = client.retransmission.to;
        let attempts = client.attempts + 1;
        self.start_client(request, &client.call_id, to, branch.clone()).await;
        if let Some(client) = self.clients.get_mut(&branch) {
            client.attempts = attempts;
        }
        true
    }

    pub(super) fn registered(
        &mut self,
        result: Result<(), PhoneError>,
        response: Option<&Response>,
    ) {
        let granted = response.and_then(|response| {
            let contact = message::value(&response.headers, "Contact")?;
            let expires = message::parameter(&contact, "expires")
                .or_else(|| message::value(&response.headers, "Expires"))?;
            expires.parse::<u64>().ok().filter(|&seconds| seconds > 0)
        });
        if result.is_ok() {
            self.registration.is_held = granted.is_some();
            // Half the lifetime leaves time for a second try.
            self.registration.renew_at =
                granted.map(|seconds| Instant::now() + Duration::from_secs(seconds) / 2);
        }
        match (self.registration.reply.take(), result) {
            (Some(reply), result) => drop(reply.send(result)),
            (None, Ok(())) => {}
            (None, Err(error)) => {
                // A server that was away for a while finds us again.
                self.registration.renew_at = Some(Instant::now() + RENEWAL_RETRY);
                let status =
                    if let PhoneError::Refused(status) = error { Some(status) } else { None };
                // An unread queue loses the news.
                let _ = self.events.try_send(Event::RegistrationLost(status));
            }
        }
    }

    pub(super) async fn provisional(
        &mut self,
        call_id: &str,
        key: &str,
        status: u16,
        response: &Response,
    ) {
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let Phase::Calling { branch, has_provisional, is_cancelled } = &mut dialog.phase else {
            return;
        };
        let is_first = !std::mem::replace(has_provisional, true);
        let (branch, is_cancelled) = (branch.clone(), *is_cancelled);
        if branch != key {
            return;
        }
        if status >= 180 {
            dialog.state.send_replace(CallState::Ringing { status });
        }
        if let Some(theirs) = Description::read(&response.body) {
            dialog.agree(&theirs, &ours); // early media
        }
        if is_cancelled && is_first {
            self.send_cancel(&branch).await;
        }
    }

    pub(super) async fn invite_answered(&mut self, call_id: &str, response: &Response) {
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let was_cancelled = match &dialog.phase {
            Phase::Calling { is_cancelled, .. } => {
                let is_cancelled = *is_cancelled;
                let to = message::value(&response.headers, "To").unwrap_or_default();
                dialog.learn(to, &response.headers, true);
                is_cancelled
            }
            _ => false,
        };
        let mut direction = dialog.wanted;
        if let Some(theirs) = Description::read(&response.body) {
            direction = dialog.agree(&theirs, &ours);
        }
        dialog.phase = Phase::Talking { reinvite: None, awaits_answer: false };
        dialog.state.send_replace(CallState::Talking { direction });
        self.send_in_dialog(call_id, Method::Ack, Vec::new()).await;
        if was_cancelled {
            // The 200 crossed our CANCEL (RFC 3261 §9.1): hang up what was answered.
            self.hang_up(call_id).await;
        }
    }

    pub(super) async fn invite_failed(
        &mut self,
        call_id: &str,
        branch: &str,
        status: u16,
        reason: Option<String>,
    ) {
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        match &mut dialog.phase {
            Phase::Calling { is_cancelled, .. } => {
                let by = if *is_cancelled { Side::Us } else { Side::Them };
                self.finish(call_id, Ending { by, status: Some(status), reason });
            }
            // A refused re-INVITE leaves the call as it was (RFC 3261 §14.1), unless the
            // dialog is gone.
            Phase::Talking { reinvite, .. } if reinvite.as_deref() == Some(branch) => {
                *reinvite = None;
                if matches!(status, 408 | 481) {
                    self.hang_up(call_id).await;
                }
            }
            _ => {}
        }
    }
}

/// CANCEL and the ACK of a refusal: the INVITE's own Via, CSeq number, From and target, and
/// the response's To (RFC 3261 §9.1, §17.1.1.3).
fn same_transaction(invite: &Request, method: Method, to: Option<String>) -> Request {
    let mut headers = Headers::default();
    for header in invite.headers.iter() {
        match header {
            Header::Via(_) | Header::From(_) | Header::CallId(_) | Header::MaxForwards(_) => {
                headers.push(header.clone());
            }
            Header::To(original) => {
                headers.push(Header::To(match &to {
                    Some(to) => to.clone().into(),
                    None => original.clone(),
                }));
            }
            Header::CSeq(_) => {
                let number = message::sequence(&invite.headers).map_or(1, |(number, _)| number);
                headers.push(Header::CSeq(format!("{number} {method}").into()));
            }
            Header::Other(name, _) if name == "Route" => headers.push(header.clone()),
            _ => {}
        }
    }
    headers.push(Header::ContentLength("0".into()));
    Request { method, headers, body: Vec::new(), ..invite.clone() }
}
