//! Two endpoints and the network between them, which loses what it likes.

use std::time::Duration;

use super::*;
use crate::dialog::Dialog;
use crate::flow::Transport;
use crate::name_addr::NameAddr;
use crate::uri::Uri;

const CALLER: &str = "10.0.0.1:5060";
const CALLEE: &str = "10.0.0.2:5060";

/// Two sides; `loses` says of the n-th datagram whether it is lost.
struct Link {
    now: Instant,
    caller: Endpoint,
    callee: Endpoint,
    transport: Transport,
    sent: usize,
    loses: fn(usize) -> bool,
    /// Start lines of all that was sent, lost or not.
    seen: Vec<String>,
}

impl Link {
    fn new(transport: Transport, loses: fn(usize) -> bool) -> Self {
        Self {
            now: Instant::now(),
            caller: Endpoint::new(Config::default(), [1; 32]),
            callee: Endpoint::new(Config::default(), [2; 32]),
            transport,
            sent: 0,
            loses,
            seen: Vec::new(),
        }
    }

    fn flow(&self, local: &str, remote: &str) -> Flow {
        Flow {
            transport: self.transport,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            connection: None,
        }
    }

    fn to_callee(&self) -> Flow {
        self.flow(CALLER, CALLEE)
    }

    fn invite(&mut self) -> ClientId {
        let request = request(Method::Invite);
        self.caller.request(self.now, self.to_callee(), request).unwrap()
    }

    /// Carries everything there is to carry, at once.
    fn carry(&mut self) {
        loop {
            let mut is_idle = true;
            while let Some((flow, bytes)) = self.caller.poll() {
                is_idle = false;
                let arrived = self.arrived(flow, &bytes);
                if let Some((flow, message)) = arrived {
                    self.callee.handle_message(self.now, flow, message);
                }
            }
            while let Some((flow, bytes)) = self.callee.poll() {
                is_idle = false;
                let arrived = self.arrived(flow, &bytes);
                if let Some((flow, message)) = arrived {
                    self.caller.handle_message(self.now, flow, message);
                }
            }
            if is_idle {
                return;
            }
        }
    }

    fn arrived(&mut self, flow: Flow, bytes: &[u8]) -> Option<(Flow, Message)> {
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        self.seen.push(String::from_utf8_lossy(line).into_owned());
        self.sent += 1;
        let back = Flow { local: flow.remote, remote: flow.local, ..flow };
        (!(self.loses)(self.sent)).then(|| (back, Message::parse(bytes).unwrap()))
    }

    /// Lets time pass up to the next timer; `false` if there is none.
    fn wait(&mut self) -> bool {
        let next = [self.caller.next_timeout(), self.callee.next_timeout()];
        let Some(next) = next.into_iter().flatten().min() else { return false };
        self.now = self.now.max(next);
        self.caller.handle_timeout(self.now);
        self.callee.handle_timeout(self.now);
        self.carry();
        true
    }

    fn sent(&self, start: &str) -> usize {
        self.seen.iter().filter(|line| line.starts_with(start)).count()
    }
}

fn request(method: Method) -> Request {
    let from = NameAddr::parse("<sip:a@h>;tag=a").unwrap();
    let to = NameAddr::parse("<sip:b@h>").unwrap();
    let mut request =
        Request::outside_dialog(method, Uri::parse("sip:b@h").unwrap(), &from, &to, "call", 1);
    request.headers.push(Name::Contact, "<sip:a@10.0.0.1>");
    request
}

fn answer(link: &mut Link, id: ServerId, request: &Request, status: u16) {
    let mut response = Response::to(request, status, "", Some("b"));
    response.headers.push(Name::Contact, "<sip:b@10.0.0.2>");
    assert!(link.callee.respond(link.now, id, &response));
}

/// A number that follows no pattern the exchange of messages could fall in step with.
fn noise(n: usize) -> u64 {
    let mixed = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed >> 33
}

/// Runs a call to its end; the callee answers with `status`. What the caller got at last, whether
/// the callee saw the ACK.
fn call(link: &mut Link, status: u16) -> (Option<u16>, bool) {
    link.invite();
    link.carry();
    let (mut last, mut is_acknowledged) = (None, false);
    for _ in 0..1000 {
        while let Some(event) = link.callee.poll_event() {
            match event {
                Event::Request { id, request, .. } => {
                    answer(link, id, &request, 180);
                    answer(link, id, &request, status);
                }
                Event::Ack { .. } => is_acknowledged = true,
                _ => {}
            }
        }
        while let Some(event) = link.caller.poll_event() {
            match event {
                Event::Response { id, response, .. } => {
                    if response.is_success() {
                        let invite = request(Method::Invite);
                        let dialog = Dialog::uac(&invite, &response).unwrap();
                        let flow = link.to_callee();
                        link.caller.ack(id, flow, dialog.ack(1));
                    }
                    last = Some(response.status);
                }
                Event::TimedOut { .. } => last = Some(408),
                _ => {}
            }
        }
        let sent_before = link.sent;
        link.carry();
        if link.sent == sent_before && !link.wait() {
            break;
        }
    }
    (last, is_acknowledged)
}

#[test]
fn a_call_is_set_up_on_a_good_line_with_nothing_sent_twice() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut link = Link::new(transport, |_| false);
        assert_eq!(call(&mut link, 200), (Some(200), true));
        assert_eq!(
            link.seen,
            [
                "INVITE sip:b@h SIP/2.0",
                "SIP/2.0 180 Ringing",
                "SIP/2.0 200 OK",
                "ACK sip:b@10.0.0.2 SIP/2.0"
            ]
        );
        assert_eq!((link.caller.transactions(), link.callee.transactions()), ((0, 0), (0, 0)));
    }
}

#[test]
fn calls_come_through_a_lossy_line_and_leave_nothing_behind() {
    let losses: [fn(usize) -> bool; 6] = [
        |n| n == 1,
        |n| n == 2,
        |n| n == 3,
        |n| n < 6,
        |n| noise(n) % 10 < 2,
        |n| noise(n + 1000) % 10 < 3,
    ];
    for (number, loses) in losses.into_iter().enumerate() {
        for status in [200, 486] {
            let mut link = Link::new(Transport::Udp, loses);
            let (last, is_acknowledged) = call(&mut link, status);
            assert_eq!(last, Some(status), "loss {number}");
            assert_eq!(is_acknowledged, status == 200, "loss {number}");
            assert_eq!((link.caller.transactions(), link.callee.transactions()), ((0, 0), (0, 0)));
            assert!(link.caller.unacknowledged.is_empty() && link.callee.unacknowledged.is_empty());
            assert!(link.caller.client_ids.is_empty() && link.callee.server_ids.is_empty());
        }
    }
}

#[test]
fn a_dead_line_times_out_after_32_s() {
    let mut link = Link::new(Transport::Udp, |_| true);
    let start = link.now;
    assert_eq!(call(&mut link, 200).0, Some(408));
    assert_eq!(link.now - start, Duration::from_secs(32));
    assert_eq!(link.sent("INVITE"), 7);
}

#[test]
fn a_2xx_nobody_acknowledges_is_reported() {
    let mut link = Link::new(Transport::Tcp, |_| false);
    link.invite();
    link.carry();
    let Some(Event::Request { id, request, .. }) = link.callee.poll_event() else { panic!() };
    answer(&mut link, id, &request, 200);
    link.carry();
    let mut events = Vec::new();
    while link.wait() {
        events.extend(std::iter::from_fn(|| link.callee.poll_event()));
    }
    assert_eq!(events, [Event::NotAcknowledged { id }]);
    assert_eq!(link.sent("SIP/2.0 200"), 11);
}

#[test]
fn cancel_waits_for_a_provisional_and_ends_in_487() {
    let mut link = Link::new(Transport::Udp, |_| false);
    let invite = link.invite();
    link.caller.cancel(link.now, invite, Some("SIP;cause=200"));
    link.carry();
    assert_eq!(link.sent("CANCEL"), 0);
    let Some(Event::Request { id, request, .. }) = link.callee.poll_event() else { panic!() };
    answer(&mut link, id, &request, 180);
    link.carry();
    let Some(Event::Cancel { id: cancelled, request: cancel }) = link.callee.poll_event() else {
        panic!()
    };
    assert_eq!(cancelled, id);
    assert_eq!(cancel.headers.get(Name::Reason).unwrap(), "SIP;cause=200");
    answer(&mut link, id, &request, 487);
    link.carry();
    let statuses: Vec<u16> = std::iter::from_fn(|| link.caller.poll_event())
        .map(|event| match event {
            Event::Response { response, .. } => response.status,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(statuses, [180, 487]);
    assert_eq!(link.sent("ACK"), 1);
    while link.wait() {}
    assert_eq!((link.caller.transactions(), link.callee.transactions()), ((0, 0), (0, 0)));
}

#[test]
fn a_cancel_for_nothing_is_answered_with_481() {
    let mut link = Link::new(Transport::Udp, |_| false);
    let flow = link.flow(CALLEE, CALLER);
    let mut cancel = request(Method::Cancel);
    cancel.headers.insert_front(Name::Via, "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx");
    link.callee.handle_message(link.now, flow, cancel.into());
    let (_, bytes) = link.callee.poll().unwrap();
    assert!(bytes.starts_with(b"SIP/2.0 481"));
    assert_eq!(link.callee.poll_event(), None);
}

#[test]
fn retransmissions_get_the_last_answer_and_no_event() {
    for via in [
        "SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKx",
        "SIP/2.0/UDP 10.0.0.1;branch=old",
        "SIP/2.0/UDP 10.0.0.1",
    ] {
        let mut link = Link::new(Transport::Udp, |_| false);
        let flow = link.flow(CALLEE, CALLER);
        let mut options = request(Method::Options);
        options.headers.insert_front(Name::Via, via);
        let options = Message::from(options);
        link.callee.handle_message(link.now, flow, options.clone());
        let Some(Event::Request { id, request, .. }) = link.callee.poll_event() else { panic!() };
        link.callee.handle_message(link.now, flow, options.clone());
        assert_eq!(link.callee.poll(), None);
        answer(&mut link, id, &request, 200);
        link.callee.handle_message(link.now, flow, options);
        assert_eq!(std::iter::from_fn(|| link.callee.poll()).count(), 2, "{via}");
        assert_eq!(link.callee.poll_event(), None);
    }
}

#[test]
fn requests_over_the_limit_are_reported_as_such() {
    let config = Config { max_transactions: 1, ..Config::default() };
    let mut endpoint = Endpoint::new(config, [1; 32]);
    let now = Instant::now();
    let flow = Flow::udp(CALLEE.parse().unwrap(), CALLER.parse().unwrap());
    for branch in ["z9hG4bK1", "z9hG4bK2"] {
        let mut options = request(Method::Options);
        options.headers.insert_front(Name::Via, format!("SIP/2.0/UDP h;branch={branch}"));
        endpoint.handle_message(now, flow, options.into());
    }
    assert!(matches!(endpoint.poll_event(), Some(Event::Request { .. })));
    assert!(matches!(endpoint.poll_event(), Some(Event::Overloaded { .. })));
    assert!(endpoint.request(now, flow, request(Method::Options)).is_ok());
    assert_eq!(endpoint.request(now, flow, request(Method::Options)), Err(TooManyTransactions));
}

#[test]
fn a_source_over_its_share_leaves_room_for_others_and_gets_its_share_back() {
    let mut endpoint = Endpoint::new(Config::default(), [1; 32]);
    let now = Instant::now();
    let asks = |endpoint: &mut Endpoint, now, from: &str, branch: &str, is_within: bool| {
        let mut options = request(Method::Options);
        options.headers.insert_front(Name::Via, format!("SIP/2.0/UDP h;branch=z9hG4bK{branch}"));
        options.headers.set(Name::CallId, format!("call-{branch}"));
        if is_within {
            let to = options.headers.to().unwrap().with_tag("t");
            options.headers.set(Name::To, to.to_string());
        }
        let flow = Flow::udp(CALLEE.parse().unwrap(), from.parse().unwrap());
        endpoint.handle_from(now, flow, options.into(), 2);
        match endpoint.poll_event() {
            Some(Event::Request { id, request, .. }) => {
                endpoint.respond(now, id, &Response::to(&request, 200, "", Some("t")));
                Some(true)
            }
            Some(Event::Overloaded { .. }) => Some(false),
            _ => None,
        }
    };
    for (from, branch, is_within, served) in [
        ("10.0.0.1:5060", "1", false, Some(true)),
        ("10.0.0.1:5062", "2", false, Some(true)),
        ("10.0.0.1:5060", "3", false, Some(false)),
        // Repeated, it is the same transaction.
        ("10.0.0.1:5060", "1", false, None),
        // What belongs to a dialog goes on.
        ("10.0.0.1:5060", "4", true, Some(true)),
        ("10.0.0.2:5060", "5", false, Some(true)),
        ("[2001:db8::1]:5060", "6", false, Some(true)),
        ("[2001:db8::2]:5060", "7", false, Some(true)),
        ("[2001:db8::3]:5060", "8", false, Some(false)),
    ] {
        assert_eq!(asks(&mut endpoint, now, from, branch, is_within), served, "{from} {branch}");
    }
    let later = now + Timers::default().patience();
    endpoint.handle_timeout(later);
    assert_eq!((endpoint.transactions(), endpoint.sources.len()), ((0, 0), 0));
    assert_eq!(asks(&mut endpoint, later, "10.0.0.1:5060", "9", false), Some(true));
}

#[test]
fn a_send_failure_ends_what_waits_for_that_place_only() {
    let mut link = Link::new(Transport::Udp, |_| false);
    let invite = link.invite();
    let elsewhere = link.flow(CALLER, "10.0.0.9:5060");
    link.caller.request(link.now, elsewhere, request(Method::Options)).unwrap();
    let flow = link.to_callee();
    link.caller.handle_send_failed(link.now, &flow);
    assert_eq!(link.caller.poll_event(), Some(Event::SendFailed { id: invite }));
    assert_eq!(link.caller.poll_event(), None);
    assert_eq!(link.caller.transactions(), (0, 1));
}

#[test]
fn a_fork_s_second_2xx_is_passed_up_and_each_keeps_its_own_ack() {
    let mut link = Link::new(Transport::Udp, |_| false);
    let id = link.invite();
    let (_, bytes) = link.caller.poll().unwrap();
    let Message::Request(invite) = Message::parse(&bytes).unwrap() else { panic!() };
    let flow = link.to_callee();
    for tag in ["one", "two"] {
        let ok = Response::to(&invite, 200, "", Some(tag));
        link.caller.handle_message(link.now, flow, ok.clone().into());
        let Some(Event::Response { response, .. }) = link.caller.poll_event() else { panic!() };
        let dialog = Dialog::uac(&invite, &response).unwrap();
        link.caller.ack(id, flow, dialog.ack(1));
        let (_, first) = link.caller.poll().unwrap();
        link.caller.handle_message(link.now, flow, ok.into());
        assert_eq!(link.caller.poll_event(), None);
        assert_eq!(link.caller.poll(), Some((flow, first)));
    }
}

#[test]
fn a_malformed_request_is_answered_where_it_came_from() {
    let mut endpoint = Endpoint::new(Config::default(), [1; 32]);
    let flow = Flow::udp(CALLEE.parse().unwrap(), "192.0.2.9:4444".parse().unwrap());
    let mut invite = request(Method::Invite);
    invite.headers.insert_front(Name::Via, "SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK1");
    invite.headers.set(Name::CSeq, "1 OPTIONS");
    let err = Message::parse(&invite.to_bytes()).unwrap_err();
    assert_eq!(endpoint.handle_malformed(flow, &err), Some(400));
    let (to, bytes) = endpoint.poll().unwrap();
    assert_eq!(to, flow);
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.contains("rport=4444") && text.contains("To: <sip:b@h>;tag="), "{text}");
    let err = Message::parse(b"x").unwrap_err();
    assert_eq!(endpoint.handle_malformed(flow, &err), None);
}

#[test]
fn a_bye_stands_for_the_ack_that_was_lost() {
    let mut link = Link::new(Transport::Udp, |_| false);
    link.invite();
    link.carry();
    let Some(Event::Request { id, request: invite, .. }) = link.callee.poll_event() else {
        panic!()
    };
    answer(&mut link, id, &invite, 200);
    link.carry();
    let Some(Event::Response { response, .. }) = link.caller.poll_event() else { panic!() };
    let bye = Dialog::uac(&invite, &response).unwrap().request(Method::Bye);
    let flow = link.to_callee();
    link.caller.request(link.now, flow, bye).unwrap();
    link.carry();
    let Some(Event::Request { id, request: bye, .. }) = link.callee.poll_event() else { panic!() };
    answer(&mut link, id, &bye, 200);
    link.carry();
    while link.wait() {}
    assert_eq!(link.sent("SIP/2.0 200"), 2);
    assert_eq!(link.callee.poll_event(), None);
}

fn from_proxy(request: &Request, branch: &str) -> Message {
    let mut request = request.clone();
    request.headers.insert_front(Name::Via, format!("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK{branch}"));
    request.into()
}

fn statuses(endpoint: &mut Endpoint) -> Vec<u16> {
    std::iter::from_fn(|| endpoint.poll())
        .filter_map(|(_, bytes)| match Message::parse(&bytes).unwrap() {
            Message::Response(response) => Some(response.status),
            Message::Request(_) => None,
        })
        .collect()
}

#[test]
fn the_second_branch_of_a_forked_request_is_refused_with_482() {
    let mut link = Link::new(Transport::Udp, |_| false);
    let flow = link.flow(CALLEE, CALLER);
    let invite = request(Method::Invite);
    link.callee.handle_message(link.now, flow, from_proxy(&invite, "1"));
    let Some(Event::Request { id, request: first, .. }) = link.callee.poll_event() else {
        panic!()
    };
    link.callee.handle_message(link.now, flow, from_proxy(&invite, "2"));
    link.callee.handle_message(link.now, flow, from_proxy(&invite, "2"));
    assert_eq!(link.callee.poll_event(), None);
    assert_eq!(statuses(&mut link.callee), [482, 482]);
    // Another number of ours, another request, or one in a dialog is none of it.
    let mut other_uri = invite.clone();
    other_uri.uri = Uri::parse("sip:c@h").unwrap();
    let mut later = invite.clone();
    later.headers.set(Name::CSeq, "2 INVITE");
    let mut inside = invite.clone();
    inside.headers.set(Name::To, "<sip:b@h>;tag=b");
    for (number, request) in [other_uri, later, inside.clone(), inside].into_iter().enumerate() {
        let message = from_proxy(&request, &format!("x{number}"));
        link.callee.handle_message(link.now, flow, message);
        assert!(matches!(link.callee.poll_event(), Some(Event::Request { .. })), "{number}");
    }
    // Once it was challenged or sent away, the same number may come again; and once it is over.
    answer(&mut link, id, &first, 407);
    link.callee.handle_message(link.now, flow, from_proxy(&invite, "3"));
    let Some(Event::Request { id, request: again, .. }) = link.callee.poll_event() else {
        panic!()
    };
    answer(&mut link, id, &again, 503);
    link.callee.handle_message(link.now, flow, from_proxy(&invite, "3b"));
    let Some(Event::Request { id, request, .. }) = link.callee.poll_event() else { panic!() };
    answer(&mut link, id, &request, 486);
    link.callee.handle_message(link.now, flow, from_proxy(&invite, "4"));
    assert_eq!(link.callee.poll_event(), None);
    link.now += Duration::from_secs(60);
    link.callee.handle_timeout(link.now);
    link.callee.handle_message(link.now, flow, from_proxy(&invite, "5"));
    assert!(matches!(link.callee.poll_event(), Some(Event::Request { .. })));
    assert_eq!(link.callee.merging.len(), 3);
}

#[test]
fn a_request_of_ours_that_comes_back_is_a_loop_unless_it_was_forwarded() {
    let mut link = Link::new(Transport::Udp, |_| false);
    let id = link.invite();
    let (_, bytes) = link.caller.poll().unwrap();
    let Message::Request(sent) = Message::parse(&bytes).unwrap() else { panic!() };
    let Message::Request(mut back) = from_proxy(&sent, "proxy") else { panic!() };
    assert_eq!(link.caller.looping(&back), Some(Looping::Loop(id)));
    back.uri = Uri::parse("sip:c@h").unwrap();
    assert_eq!(link.caller.looping(&back), Some(Looping::Spiral(id)));
    assert_eq!(link.callee.looping(&back), None);
    back.headers.set(Name::Via, "SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK0");
    assert_eq!(link.caller.looping(&back), None);
}

#[test]
fn max_forwards_goes_down_to_nothing() {
    let mut invite = request(Method::Invite);
    for (field, want) in [("70", Ok(69)), ("1", Ok(0)), ("0", Err(HopsExhausted)), ("x", Ok(70))] {
        invite.headers.set(Name::MaxForwards, field);
        assert_eq!(invite.next_max_forwards(), want, "{field}");
    }
}

#[test]
fn a_challenge_leaves_nothing_behind_and_is_made_anew_for_who_missed_it() {
    for method in [Method::Invite, Method::Register] {
        let mut endpoint = Link::new(Transport::Udp, |_| false).callee;
        let flow = Flow::udp(CALLEE.parse().unwrap(), CALLER.parse().unwrap());
        let (now, asked) = (Instant::now(), request(method.clone()));
        for round in 1..=3 {
            endpoint.handle_message(now, flow, from_proxy(&asked, "1"));
            let Some(Event::Request { id, request, .. }) = endpoint.poll_event() else { panic!() };
            endpoint.respond_once(id, &Response::to(&request, 407, "", Some("t")));
            assert!(endpoint.poll().is_some(), "{method} {round}");
            assert_eq!(endpoint.transactions(), (0, 0));
            assert!(!endpoint.respond(now, id, &Response::to(&request, 200, "", Some("t"))));
        }
        endpoint.handle_timeout(now + Duration::from_secs(40));
        assert_eq!(endpoint.poll(), None, "it is not repeated");
        assert!(endpoint.server_ids.is_empty() && endpoint.merging.is_empty());
        assert!(endpoint.sources.is_empty());
    }
}

#[test]
fn a_long_request_goes_by_stream_and_falls_back_to_datagrams() {
    let mut link = Link::new(Transport::Udp, |_| false);
    let datagrams = link.to_callee();
    let stream = Flow { transport: Transport::Tcp, ..datagrams };
    let way = Way { flow: datagrams, stream: Some(stream) };
    let mut long = request(Method::Message);
    long.set_body("text/plain", "x".repeat(1200));
    for (padding, transport) in [(0, Transport::Udp), (400, Transport::Tcp)] {
        let mut request = long.clone();
        request.set_body("text/plain", "x".repeat(800 + padding));
        let id = link.caller.request(link.now, way, request).unwrap();
        let (flow, bytes) = link.caller.poll().unwrap();
        assert_eq!(flow.transport, transport, "{} bytes", bytes.len());
        assert_eq!(bytes.len() <= MAX_DATAGRAM_REQUEST_BYTES, transport == Transport::Udp);
        assert_eq!(link.caller.flow_of(id), Some(flow));
    }
    // Nobody listens for streams.
    link.caller.handle_send_failed(link.now, &stream);
    let (flow, bytes) = link.caller.poll().unwrap();
    assert_eq!(flow, datagrams);
    let Message::Request(sent) = Message::parse(&bytes).unwrap() else { panic!() };
    assert_eq!(sent.headers.values(Name::Via).len(), 1);
    assert_eq!(sent.headers.via().unwrap().protocol, "UDP");
    let ok = Response::to(&sent, 200, "", Some("t"));
    link.caller.handle_message(link.now, datagrams, ok.into());
    assert!(matches!(link.caller.poll_event(), Some(Event::Response { .. })));
    // Neither way is open.
    let id = link.caller.request(link.now, way, long.clone()).unwrap();
    link.caller.handle_send_failed(link.now, &stream);
    assert!(link.caller.next_timeout().is_some());
    link.caller.handle_send_failed(link.now, &datagrams);
    let events: Vec<_> = std::iter::from_fn(|| link.caller.poll_event()).collect();
    assert!(events.contains(&Event::SendFailed { id }), "{events:?}");
    // What has been answered did arrive: its connection's end is not taken for a refusal.
    let id = link.caller.request(link.now, way, long).unwrap();
    let sent = std::iter::from_fn(|| link.caller.poll()).last().unwrap();
    let Message::Request(sent) = Message::parse(&sent.1).unwrap() else { panic!() };
    link.caller.handle_message(link.now, stream, Response::to(&sent, 100, "", None).into());
    link.caller.handle_send_failed(link.now, &stream);
    let events: Vec<_> = std::iter::from_fn(|| link.caller.poll_event()).collect();
    assert_eq!(events.last(), Some(&Event::SendFailed { id }));
    assert_eq!(link.caller.poll(), None, "it does not go a second time");
    while link.wait() {}
    assert!(link.caller.client_ids.is_empty());
}
