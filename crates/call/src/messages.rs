//! Short messages between our phones (RFC 3428): passed on to where the other one is registered.
//!
//! Nothing is kept: a message that cannot be delivered now is refused, so that its sender knows.
//! At most [`MAX_UNDER_WAY`] are under way, [`MAX_PER_EXTENSION`] of one sender; more get 503.

use std::collections::HashMap;

use cheling_sip::{ClientId, Method, Name, NameAddr, Request, Response, ServerId};

use crate::b2bua::outcome;
use crate::core::{Core, RETRY_AFTER_S};
use crate::registrar::Named;
use crate::router;

/// Messages under way at once.
pub const MAX_UNDER_WAY: usize = 256;
/// Messages under way of one sender.
pub const MAX_PER_EXTENSION: usize = 8;
/// The longest message, in bytes.
pub const MAX_BODY_BYTES: usize = 8192;
/// Phones of one extension that get a message.
const MAX_PHONES: usize = 8;

/// Messages under way.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    under_way: HashMap<ServerId, UnderWay>,
    clients: HashMap<ClientId, ServerId>,
}

#[derive(Debug)]
struct UnderWay {
    from: String,
    request: Request,
    /// Phones that have not answered.
    waiting: usize,
    /// What those said that did not take it.
    refusals: Vec<u16>,
    is_answered: bool,
}

impl Messages {
    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Passes a message of this extension on.
    pub(crate) fn pass(
        &mut self,
        core: &mut Core,
        server: ServerId,
        request: Request,
        sender: &str,
    ) {
        if request.headers.max_forwards() == Some(0) {
            return core.refuse(server, &request, 483);
        }
        if request.body.len() > MAX_BODY_BYTES {
            return core.refuse(server, &request, 413);
        }
        let own = self.under_way.values().filter(|other| other.from == sender).count();
        if self.under_way.len() >= MAX_UNDER_WAY || own >= MAX_PER_EXTENSION {
            return core.refuse_with(server, &request, 503, |response| {
                response.headers.push(Name::RetryAfter, RETRY_AFTER_S);
            });
        }
        let directory = core.directory.clone();
        let (to, device) = match core.registrar.named(core.now.monotonic, &request.uri) {
            Named::Number(number) => (number, None),
            Named::Phone { extension, instance } => (extension, Some(instance)),
            Named::Nobody => return core.refuse(server, &request, 404),
        };
        let by = router::extension(&directory, sender);
        let to = router::extension(&directory, &to);
        let (Some(by), Some(to)) = (by, to) else { return core.refuse(server, &request, 404) };
        if by.dealership_id != to.dealership_id {
            return core.refuse(server, &request, 403);
        }
        let mut from = NameAddr::new(core.address_of(&by.number));
        from.display = Some(by.display_name.clone()).filter(|name| !name.is_empty());
        let now = core.now.monotonic;
        let phones = core.registrar.phones(now, &to.number).into_iter().map(|(newest, _)| newest);
        let phones = phones.filter(|at| device.is_none() || at.instance == device);
        let phones: Vec<_> =
            phones.take(MAX_PHONES).map(|at| (at.contact.clone(), at.flow)).collect();
        let mut waiting = 0;
        for (uri, flow) in phones {
            let (tag, call_id) = (core.token(), core.token());
            let to = NameAddr::new(core.address_of(&to.number));
            let from = from.clone().with_tag(&tag);
            let mut passed = Request::outside_dialog(Method::Message, uri, &from, &to, &call_id, 1);
            let hops = request.headers.max_forwards().unwrap_or(70).saturating_sub(1);
            passed.headers.set(Name::MaxForwards, hops);
            for name in [
                Name::ContentType,
                Name::ContentDisposition,
                Name::ContentEncoding,
                Name::Subject,
                Name::Date,
            ] {
                passed.headers.copy_from(&request.headers, name);
            }
            passed.body = request.body.clone();
            if let Some(client) = core.request_outside(passed, flow) {
                self.clients.insert(client, server);
                waiting += 1;
            }
        }
        if waiting == 0 {
            return core.refuse(server, &request, 480);
        }
        let from = by.number.clone();
        let message = UnderWay { from, request, waiting, refusals: Vec::new(), is_answered: false };
        self.under_way.insert(server, message);
    }

    /// A phone has answered, with 408 for no answer; false if it was no message of these.
    pub(crate) fn answered(&mut self, core: &mut Core, client: ClientId, status: u16) -> bool {
        if status < 200 {
            return self.clients.contains_key(&client);
        }
        let Some(server) = self.clients.remove(&client) else { return false };
        let Some(message) = self.under_way.get_mut(&server) else { return true };
        message.waiting -= 1;
        if (200..300).contains(&status) {
            // The first phone that has it is enough.
            if !std::mem::replace(&mut message.is_answered, true) {
                respond(core, server, &message.request, status);
            }
        } else {
            message.refusals.push(status);
        }
        if message.waiting == 0
            && let Some(message) = self.under_way.remove(&server)
            && !message.is_answered
        {
            let status = outcome::best(message.refusals);
            respond(core, server, &message.request, status);
        }
        true
    }
}

fn respond(core: &mut Core, server: ServerId, request: &Request, status: u16) {
    let tag = core.token();
    core.respond(server, Response::to(request, status, "", Some(&tag)));
}
