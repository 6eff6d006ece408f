//! What a third party asks within its dialog: it moves, holds, hangs up.

use cheling_model::{Lane, TapKind};
use cheling_sip::sdp::{self, CONTENT_TYPE, Direction, LocalMedia, Sdp};
use cheling_sip::{Flow, Method, Name, Request, Response, ServerId};

use super::guest::{Guest, GuestState};
use super::guests::{is_listening, remote, sends};
use super::media::read_body;
use super::{Call, formats};
use crate::core::{ALLOW, Core};
use crate::io::Output;

impl Call {
    /// A request within a guest's dialog.
    pub(super) fn guest_request(
        &mut self,
        core: &mut Core,
        at: usize,
        server: ServerId,
        flow: Flow,
        request: &Request,
    ) {
        let Some(leg) = self.guests.all[at].leg_mut() else {
            return core.refuse(server, request, 481);
        };
        if let Err(err) = leg.receive(request, flow) {
            return core.refuse(server, request, err.status());
        }
        match request.method {
            Method::Bye => {
                core.refuse(server, request, 200);
                self.guest_leaves(core, at, false);
                self.remix(core);
            }
            Method::Invite | Method::Update => self.guest_offers(core, at, server, request),
            Method::Options | Method::Info => core.refuse(server, request, 200),
            Method::Refer => core.refuse(server, request, 403),
            _ => core.refuse(server, request, 405),
        }
    }

    /// A re-INVITE or UPDATE of a guest: we answer it ourselves.
    fn guest_offers(&mut self, core: &mut Core, at: usize, server: ServerId, request: &Request) {
        let theirs = match read_body(&request.headers, &request.body) {
            Ok(theirs) => theirs,
            Err(err) => return core.refuse(server, request, err.status()),
        };
        if let Some(theirs) = theirs {
            let taken = self.take_guests_offer(core, at, &theirs);
            if let Err(status) = taken {
                return core.refuse(server, request, status);
            }
        }
        let guest = &self.guests.all[at];
        let GuestState::Joined(joined) = &guest.state else {
            // Our own offer is on its way there (RFC 3261 §14.2).
            return core.refuse(server, request, 491);
        };
        if request.method == Method::Invite {
            core.bind_server(self.id, &mut self.entries, server);
        }
        let mut response = Response::to(request, 200, "", None);
        response.headers.push(Name::Contact, joined.leg.contact(core));
        response.headers.push(Name::Allow, ALLOW);
        if request.method == Method::Invite || !request.body.is_empty() {
            response.set_body(CONTENT_TYPE, joined.sent.to_bytes());
        }
        core.respond(server, response);
        self.remix(core);
    }

    /// Takes what a guest says of its media from now on.
    ///
    /// # Errors
    /// The status to refuse it with.
    fn take_guests_offer(&mut self, core: &mut Core, at: usize, theirs: &Sdp) -> Result<(), u16> {
        let Guest { number, origin, state, .. } = &mut self.guests.all[at];
        let GuestState::Joined(joined) = state else { return Err(491) };
        let new = sends(theirs).ok_or(488_u16)?;
        let place = LocalMedia {
            address: joined.local.ip(),
            rtp_port: joined.local.port(),
            rtcp_port: joined.local.port().saturating_add(1),
        };
        origin.version += 1;
        let is_spoken =
            |format: &sdp::Format| format.is(&new.format.encoding) || format.is("telephone-event");
        if let Err(err) = joined.protection.hear(theirs, &mut core.random) {
            tracing::warn!(call_id = %self.id, %err, "offer of a third party refused");
            return Err(488);
        }
        let protection = joined.protection.of_relay().map(Box::new);
        let mut plain = theirs.clone();
        plain.set_crypto("RTP/AVP", &[]);
        joined.sent = plain.answer(origin, &[Some(place)], Direction::SendRecv, is_spoken);
        joined.protection.write_answer(&mut joined.sent);
        joined.formats = formats::formats(&joined.sent, theirs);
        joined.sends = new;
        joined.is_listening = is_listening(theirs);
        let (guest, formats) = (*number, joined.formats.clone());
        let remote = remote(theirs);
        core.put(Output::PointGuest { call_id: self.id, guest, remote, protection });
        core.tap(self.id, TapKind::Formats { lane: Lane::Agent, voice: guest, formats });
        Ok(())
    }
}
