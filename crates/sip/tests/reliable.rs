//! RFC 3262 over a network that delays, reorders and loses.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod link;

use std::time::Instant;

use cheling_sip::endpoint::Event;
use cheling_sip::reliable::{OPTION_TAG, Prack, Receipt, Uac, Uas, UasOutput, Wish};
use cheling_sip::transaction::Timers;
use cheling_sip::{Dialog, Method, Name, Request, Response, ServerId};
use link::{Link, Side, Weather, request};

/// The callee: two reliable responses, the first with a description, then a 200 as soon as it may.
struct Callee {
    uas: Uas,
    invite: (ServerId, Request),
    pracks: usize,
    status: Option<u16>,
}

impl Callee {
    fn answer(&mut self, link: &mut Link, response: Option<Response>) {
        if let Some(response) = response {
            link.callee.respond(link.now, self.invite.0, &response);
        }
    }

    fn finish(&mut self, link: &mut Link, status: u16) {
        if self.status.is_some() {
            return;
        }
        self.status = Some(status);
        self.uas.finish();
        let mut response = Response::to(&self.invite.1, status, "", Some("b"));
        response.headers.push(Name::Contact, "<sip:b@10.0.0.2>");
        self.answer(link, Some(response));
    }

    fn begin(link: &mut Link, id: ServerId, invite: Request) -> Self {
        assert_eq!(Wish::of(&invite), Wish::Supported);
        let number = invite.headers.cseq().unwrap().number;
        let uas = Uas::new(number, 4711, Timers::default());
        let mut callee = Self { uas, invite: (id, invite), pracks: 0, status: None };
        for (status, body) in [(183, "v=0\r\n"), (180, "")] {
            let mut response = Response::to(&callee.invite.1, status, "", Some("b"));
            response.headers.push(Name::Contact, "<sip:b@10.0.0.2>");
            if !body.is_empty() {
                response.set_body("application/sdp", body);
            }
            let response = callee.uas.send(link.now, response).unwrap();
            callee.answer(link, response);
        }
        callee
    }

    fn prack(&mut self, link: &mut Link, id: ServerId, prack: &Request) {
        let status = match self.uas.acknowledge(link.now, prack) {
            Prack::Acknowledged { next } => {
                self.pracks += 1;
                self.answer(link, next);
                200
            }
            Prack::Unknown => 481,
            Prack::Malformed => 400,
        };
        link.callee.respond(link.now, id, &Response::to(prack, status, "", None));
        // Not before the second one is under way, or it would never be sent.
        if self.pracks > 0 && self.uas.may_accept() {
            self.finish(link, 200);
        }
    }

    fn time(&mut self, link: &mut Link) {
        match self.uas.handle_timeout(link.now) {
            Some(UasOutput::Send(response)) => self.answer(link, Some(response)),
            Some(UasOutput::GiveUp) => self.finish(link, 504),
            None => {}
        }
    }
}

/// Plays one call; what the caller used of it, in order.
fn play(link: &mut Link, has_prack: bool) -> (Vec<u16>, Option<Callee>) {
    let mut invite = request(Method::Invite);
    invite.headers.push(Name::Supported, OPTION_TAG);
    let flow = Link::flow_from(Side::Caller);
    link.caller.request(link.now, flow, invite.clone()).unwrap();
    let (mut uac, mut dialog, mut used, mut callee) =
        (Uac::default(), None::<Dialog>, Vec::new(), None::<Callee>);
    loop {
        let wake_at: Option<Instant> = callee.as_ref().and_then(|callee| callee.uas.next_timeout());
        if !link.step(wake_at) {
            return (used, callee);
        }
        if let Some(callee) = &mut callee {
            callee.time(link);
        }
        while let Some(event) = link.callee.poll_event() {
            match (event, &mut callee) {
                (Event::Request { id, request, .. }, None) => {
                    callee = Some(Callee::begin(link, id, request));
                }
                (Event::Request { id, request, .. }, Some(callee)) => {
                    assert_eq!(request.method, Method::Prack);
                    callee.prack(link, id, &request);
                }
                _ => {}
            }
        }
        while let Some(event) = link.caller.poll_event() {
            let Event::Response { id, response, .. } = event else { continue };
            if response.headers.cseq().unwrap().method != Method::Invite {
                continue;
            }
            if response.is_provisional() && has_prack {
                match uac.receive(&response) {
                    Receipt::Acknowledge(rack) => {
                        let dialog =
                            dialog.get_or_insert_with(|| Dialog::uac(&invite, &response).unwrap());
                        let prack = rack.request(dialog);
                        link.caller.request(link.now, flow, prack).unwrap();
                    }
                    Receipt::Plain => {}
                    Receipt::Repeated | Receipt::OutOfOrder => continue,
                }
            } else if response.is_success() {
                let dialog = dialog.get_or_insert_with(|| Dialog::uac(&invite, &response).unwrap());
                link.caller.ack(id, flow, dialog.ack(1));
            }
            used.push(response.status);
        }
    }
}

#[test]
fn each_reliable_response_is_used_once_and_in_order_whatever_is_lost() {
    for (lost, jitter_ms) in [(0, 0), (0, 900), (20, 300), (40, 900)] {
        for seed in 0..40 {
            let mut link = Link::new(Weather { lost, jitter_ms }, seed);
            let (used, callee) = play(&mut link, true);
            let Some(callee) = callee else {
                // None of the seven INVITEs got through.
                assert_eq!((link.count("INVITE"), used.len()), (7, 0), "seed {seed}");
                continue;
            };
            assert_eq!(callee.status, Some(200), "{lost} % {jitter_ms} ms seed {seed}");
            // A 200 may overtake the 180 before it, which is then of no use.
            let reliable: Vec<u16> = used.iter().copied().filter(|status| *status < 200).collect();
            assert!([&[183][..], &[183, 180]].contains(&&reliable[..]), "{used:?}");
            assert_eq!(used.last(), Some(&200), "{lost} % {jitter_ms} ms seed {seed}");
            assert_eq!((link.caller.transactions(), link.callee.transactions()), ((0, 0), (0, 0)));
        }
    }
}

#[test]
fn nothing_is_repeated_on_a_good_line() {
    let mut link = Link::new(Weather { lost: 0, jitter_ms: 0 }, 1);
    let (used, callee) = play(&mut link, true);
    assert_eq!(used, [183, 180, 200]);
    assert_eq!(callee.unwrap().pracks, 2);
    for (start, want) in [("INVITE", 1), ("SIP/2.0 183", 1), ("SIP/2.0 180", 1), ("PRACK", 2)] {
        assert_eq!(link.count(start), want, "{start}");
    }
}

#[test]
fn a_caller_that_never_acknowledges_is_refused_after_32_s() {
    let mut link = Link::new(Weather { lost: 0, jitter_ms: 0 }, 1);
    let (used, callee) = play(&mut link, false);
    assert_eq!(callee.unwrap().status, Some(504));
    assert_eq!(used.last(), Some(&504));
    assert_eq!(link.count("SIP/2.0 183"), 7);
    assert_eq!(link.count("SIP/2.0 180"), 0);
}
