//! What the handles ask for: register, dial, answer, hold, hang up.

use super::*;

impl Agent {
    pub(super) async fn command(&mut self, command: Command) {
        match command {
            Command::Register(reply) => {
                self.registration.reply = Some(reply);
                self.send_register(self.config.expires).await;
            }
            Command::Unregister(reply) => {
                self.registration.reply = Some(reply);
                self.registration.renew_at = None;
                self.send_register(Duration::ZERO).await;
            }
            Command::Dial(dial, reply) => {
                let result = self.dial(dial).await;
                // The caller may have gone away; the call is then simply not held.
                let _ = reply.send(result);
            }
            Command::Act(call_id, action) => self.act(&call_id, action).await,
            Command::Stop => {}
        }
    }

    pub(super) async fn act(&mut self, call_id: &str, action: Action) {
        let Some(dialog) = self.dialogs.get(call_id) else { return };
        let incoming = match &dialog.phase {
            Phase::Incoming { invite, from } => Some((invite.clone(), *from)),
            _ => None,
        };
        match (action, incoming) {
            (Action::Ring, Some((invite, from))) => {
                let contact = self.contact_header();
                self.respond(&invite, from, 180, vec![contact], Vec::new()).await;
            }
            (Action::Answer, Some((invite, from))) => self.answer(call_id, &invite, from).await,
            (Action::Reject(status), Some((invite, from))) => {
                self.respond(&invite, from, status, Vec::new(), Vec::new()).await;
                self.finish(call_id, Ending { by: Side::Us, status: Some(status), reason: None });
            }
            (Action::HangUp, _) => self.hang_up(call_id).await,
            (Action::Offer(direction), None) => self.offer(call_id, direction).await,
            _ => {}
        }
    }

    pub(super) async fn answer(&mut self, call_id: &str, invite: &Request, from: SocketAddr) {
        let more = vec![self.contact_header(), header("Allow", ALLOW)];
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let offer = Description::read(&invite.body);
        let (body, direction) = match &offer {
            Some(offer) => {
                let direction = dialog.agree(offer, &ours);
                let codec = dialog.codec;
                (dialog.describe(&[codec], direction), direction)
            }
            // No offer in the INVITE: we offer, the ACK answers (RFC 3261 §13.2.1).
            None => (dialog.describe(&ours, Direction::SendRecv), Direction::SendRecv),
        };
        dialog.phase = Phase::Talking { reinvite: None, awaits_answer: offer.is_none() };
        dialog.state.send_replace(CallState::Talking { direction });
        self.respond(invite, from, 200, more, body).await;
    }

    /// CANCEL, BYE or a refusal, as RFC 3261 §9 and §15 want it.
    pub(super) async fn hang_up(&mut self, call_id: &str) {
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        let ending = Ending { by: Side::Us, status: None, reason: None };
        match &mut dialog.phase {
            Phase::Calling { is_cancelled, has_provisional, branch } => {
                *is_cancelled = true;
                let (branch, is_due) = (branch.clone(), *has_provisional);
                // Before any provisional response CANCEL has to wait (RFC 3261 §9.1).
                if is_due {
                    self.send_cancel(&branch).await;
                }
            }
            Phase::Incoming { invite, from } => {
                let (invite, from) = (invite.clone(), *from);
                self.respond(&invite, from, 603, Vec::new(), Vec::new()).await;
                self.finish(call_id, Ending { status: Some(603), ..ending });
            }
            Phase::Talking { .. } => {
                self.send_in_dialog(call_id, Method::Bye, Vec::new()).await;
                self.finish(call_id, ending);
            }
        }
    }

    pub(super) async fn offer(&mut self, call_id: &str, direction: Direction) {
        let ours = self.config.codecs.clone();
        let Some(dialog) = self.dialogs.get_mut(call_id) else { return };
        if !matches!(dialog.phase, Phase::Talking { reinvite: None, .. }) {
            return;
        }
        dialog.wanted = direction;
        let body = dialog.describe(&ours, direction);
        let Some(branch) = self.send_in_dialog(call_id, Method::Invite, body).await else { return };
        if let Some(Phase::Talking { reinvite, .. }) =
            self.dialogs.get_mut(call_id).map(|dialog| &mut dialog.phase)
        {
            *reinvite = Some(branch);
        }
    }

    pub(super) async fn dial(&mut self, dial: Dial) -> Result<Call, PhoneError> {
        let uri = match dial.target.contains(':') {
            true => dial.target.clone(),
            false => format!("sip:{}@{}", dial.target, self.request_host()),
        };
        let to = self
            .config
            .server
            .or_else(|| message::address(&uri))
            .ok_or_else(|| PhoneError::BadTarget(format!("{uri}: no address")))?;
        let call_id = token();
        let user = dial.caller.as_deref().unwrap_or(&self.config.account.user);
        let address = format!("sip:{user}@{}", self.domain());
        let name = dial.display_name.as_ref().map(|n| format!("\"{n}\" ")).unwrap_or_default();
        let local = format!("{name}<{address}>;tag={}", token());
        let remote = format!("<{uri}>");

        let media = Media::open(self.media_ip, self.config.heard_samples).await?;
        let (state, watching) = watch::channel(CallState::Calling);
        let branch = branch();
        let mut dialog = Dialog {
            phase: Phase::Calling {
                branch: branch.clone(),
                has_provisional: false,
                is_cancelled: false,
            },
            state,
            codec: self.config.codecs.first().copied().unwrap_or(cheling_media::g711::Law::A),
            media,
            local: local.clone(),
            remote: remote.clone(),
            target: uri,
            routes: Vec::new(),
            sequence: 0,
            invite_sequence: 0,
            ack: None,
            wanted: Direction::SendRecv,
            description_id: rand::random::<u32>().into(),
            description_version: 0,
        };
        let body = dialog.describe(&self.config.codecs, Direction::SendRecv);
        let via = self.via(&branch);
        let contact = self.contact();
        let mut request = dialog
            .request(Method::Invite, &call_id, via, &contact, body)
            .map_err(PhoneError::BadTarget)?;
        if let Some(number) = &dial.asserted {
            let identity = format!("<sip:{number}@{}>", self.domain());
            request.headers.push(header("P-Asserted-Identity", identity));
        }
        for (name, value) in &dial.headers {
            request.headers.push(header(name, value.clone()));
        }
        request.headers.push(header("Allow", ALLOW));
        let call =
            self.call_handle(call_id.clone(), (&local, &remote), &request, watching, &dialog)?;
        self.dialogs.insert(call_id.clone(), dialog);
        self.start_client(request, &call_id, to, branch).await;
        Ok(call)
    }

    pub(super) fn call_handle(
        &self,
        call_id: String,
        (caller, called): (&str, &str),
        invite: &Request,
        state: watch::Receiver<CallState>,
        dialog: &Dialog,
    ) -> Result<Call, PhoneError> {
        Ok(Call {
            invitation: Arc::new(Invitation {
                call_id,
                caller: Party::of_header(caller),
                called: Party::of_header(called),
                dialled: message::user(&invite.uri.to_string()).to_owned(),
                headers: invite.headers.clone(),
            }),
            state,
            stream: dialog.media.stream().clone(),
            commands: self.commands.upgrade().ok_or(PhoneError::Stopped)?,
        })
    }
}
