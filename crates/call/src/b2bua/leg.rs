//! One side of a call that has answered, or was answered: its dialog and the way to it.

use cheling_model::CallId;
use cheling_sip::dialog::DialogError;
use cheling_sip::sdp::{CONTENT_TYPE, Sdp};
use cheling_sip::{ClientId, Dialog, Flow, Method, Name, Request, Response};

use crate::core::{Core, Entries};

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
}

impl Leg {
    /// The dialog that we asked for and `response` made.
    pub(crate) fn called(
        side: Side,
        flow: Flow,
        client: ClientId,
        invite: &Request,
        response: &Response,
    ) -> Option<Self> {
        let dialog = Dialog::uac(invite, response)?;
        let cseq = invite.headers.cseq()?.number;
        Some(Self { side, flow, dialog, unacknowledged: Some((client, cseq)) })
    }

    /// The dialog that `request` asked for and our 2xx with this tag makes.
    pub(crate) fn caller(side: Side, flow: Flow, request: &Request, tag: &str) -> Option<Self> {
        Some(Self { side, flow, dialog: Dialog::uas(request, tag)?, unacknowledged: None })
    }

    /// Our tag.
    pub(crate) fn tag(&self) -> &str {
        &self.dialog.id.local_tag
    }

    /// The way there.
    pub(crate) fn flow(&self) -> Flow {
        self.flow
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
            request.headers.push(Name::Contact, core.contact(self.flow.transport));
        }
        fill(&mut request);
        core.request(call_id, entries, request, self.flow)
    }

    /// A 2xx to our re-INVITE came: it waits for its ACK, and may have moved the target.
    pub(crate) fn reinvited(&mut self, client: ClientId, response: &Response) {
        if let Some(cseq) = response.headers.cseq() {
            self.unacknowledged = Some((client, cseq.number));
        }
        self.dialog.refresh_target(&response.headers);
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
        self.flow = flow;
        Ok(())
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
