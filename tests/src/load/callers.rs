//! The calling side: so many calls a second, each set up, held for a while and hung up.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::percentile;
use super::wire::{Text, Wire};

/// T1 of RFC 3261 §17: the first repetition of a request without an answer.
const T1: Duration = Duration::from_millis(500);
/// When a request without an answer is given up; shorter than RFC 3261's 64 T1, for one machine.
const GIVE_UP: Duration = Duration::from_secs(16);

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct CallLoad<'a> {
    /// Where the calls come from.
    pub from: SocketAddr,
    /// Who takes them.
    pub to: SocketAddr,
    /// The user part that is called.
    pub number: &'a str,
    /// How many.
    pub calls: usize,
    /// How many a second.
    pub rate: f64,
    /// From the answer to the BYE.
    pub talk: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct CallReport {
    /// Calls set up and torn down as they should be.
    pub completed: usize,
    /// The others, by the status they got; 0 for no answer.
    pub failed: BTreeMap<u16, usize>,
    /// Requests that had to be repeated.
    pub repeated: usize,
    /// From INVITE to 200: median and 99th percentile.
    pub answered_after: [Duration; 2],
    /// From the first INVITE to the last answer.
    pub took: Duration,
}

impl CallReport {
    /// Calls that did not go as they should.
    pub fn lost(&self) -> usize {
        self.failed.values().sum()
    }
}

enum Stage {
    Inviting,
    Talking,
    Leaving,
    Over,
}

struct Caller {
    stage: Stage,
    began: Instant,
    /// What is repeated until it is answered, and since when.
    request: String,
    sent_at: Instant,
    /// What ACK and BYE have in common, once there is an answer.
    dialog: String,
    target: String,
}

struct Run<'a> {
    load: CallLoad<'a>,
    wire: Wire,
    /// Makes Call-IDs differ from those of earlier runs.
    name: String,
    calls: Vec<Caller>,
    /// When which call has something to do.
    due: BinaryHeap<Reverse<(Instant, usize, Due)>>,
    over: usize,
    waited: Vec<Duration>,
    report: CallReport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    HangUp,
    Repeat { after: Duration },
}

/// Places the calls and waits until the last is over.
///
/// # Errors
/// If the address to call from cannot be had.
pub fn place_calls(load: CallLoad<'_>) -> io::Result<CallReport> {
    let start = Instant::now();
    let mut run = Run {
        load,
        wire: Wire::bind(load.from)?,
        name: format!("{:x}", std::process::id() ^ unique()),
        calls: Vec::with_capacity(load.calls),
        due: BinaryHeap::new(),
        over: 0,
        waited: Vec::with_capacity(load.calls),
        report: CallReport::default(),
    };
    let gap = Duration::from_secs_f64(1.0 / load.rate);
    while run.over < load.calls {
        let now = Instant::now();
        while run.calls.len() < load.calls && start + gap * run.calls.len() as u32 <= now {
            run.invite(now);
        }
        while let Some(Reverse((at, index, what))) = run.due.peek().copied() {
            if at > now {
                break;
            }
            run.due.pop();
            run.act(index, what, now);
        }
        run.read();
        let next_call =
            (run.calls.len() < load.calls).then(|| start + gap * run.calls.len() as u32);
        let next_due = run.due.peek().map(|Reverse((at, ..))| *at);
        let later = now + Duration::from_millis(100);
        run.wire.wait([next_call, next_due].into_iter().flatten().min().unwrap_or(later));
    }
    let mut report = run.report;
    report.took = start.elapsed();
    report.answered_after = [percentile(&mut run.waited, 0.5), percentile(&mut run.waited, 0.99)];
    Ok(report)
}

impl Run<'_> {
    fn invite(&mut self, now: Instant) {
        let index = self.calls.len();
        let (from, to, number) = (self.wire.address(), self.load.to, self.load.number);
        let sdp = sdp(from);
        let request = format!(
            "INVITE sip:{number}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{name}i{index};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:138{index:08}@{from}>;tag=f{name}{index}\r\n\
             To: <sip:{number}@{to}>\r\nCall-ID: {index}-{name}@{ip}\r\nCSeq: 1 INVITE\r\n\
             Contact: <sip:138{index:08}@{from}>\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n\
             Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{sdp}",
            name = self.name,
            ip = from.ip(),
            length = sdp.len(),
        );
        self.wire.send(&request, to);
        self.calls.push(Caller {
            stage: Stage::Inviting,
            began: now,
            request,
            sent_at: now,
            dialog: String::new(),
            target: String::new(),
        });
        self.due.push(Reverse((now + T1, index, Due::Repeat { after: T1 })));
    }

    fn act(&mut self, index: usize, what: Due, now: Instant) {
        let call = &mut self.calls[index];
        match (what, &call.stage) {
            (Due::HangUp, Stage::Talking) => {
                let name = &self.name;
                call.request = format!(
                    "BYE {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{name}b{index};rport\r\n\
                     {}CSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n",
                    call.target,
                    self.wire.address(),
                    call.dialog
                );
                call.stage = Stage::Leaving;
                call.sent_at = now;
                self.wire.send(&call.request, self.load.to);
                self.due.push(Reverse((now + T1, index, Due::Repeat { after: T1 })));
            }
            (Due::Repeat { after }, Stage::Inviting | Stage::Leaving) => {
                let due = call.sent_at + after;
                if now < due {
                    // Of the INVITE, answered since; the BYE has its own.
                    return;
                }
                if now > call.sent_at + GIVE_UP {
                    return self.end(index, Err(0));
                }
                if !call.request.is_empty() {
                    self.report.repeated += 1;
                    self.wire.send(&call.request, self.load.to);
                }
                let after = after + (after * 2).min(Duration::from_secs(4));
                self.due.push(Reverse((call.sent_at + after, index, Due::Repeat { after })));
            }
            _ => {}
        }
    }

    fn read(&mut self) {
        while let Some((bytes, _)) = self.wire.receive() {
            // Copied, since answering needs the socket too.
            let bytes = bytes.to_vec();
            if let Some(text) = Text::read(&bytes) {
                self.take(text);
            }
        }
    }

    fn take(&mut self, text: Text<'_>) {
        let Some(status) = text.status() else { return };
        let Some((index, rest)) = text.first("Call-ID").split_once('-') else { return };
        let Some(index) = index.parse::<usize>().ok().filter(|n| *n < self.calls.len()) else {
            return;
        };
        if !rest.starts_with(&self.name) {
            return;
        }
        let now = Instant::now();
        let is_invite = text.first("CSeq").ends_with("INVITE");
        let call = &mut self.calls[index];
        match (&call.stage, is_invite, status) {
            (Stage::Inviting, true, 100..200) => call.request.clear(),
            (Stage::Inviting, true, 200..300) => {
                self.waited.push(now - call.began);
                call.dialog = dialog(text);
                call.target = text.uri("Contact").to_owned();
                call.stage = Stage::Talking;
                self.acknowledge(index);
                self.due.push(Reverse((now + self.load.talk, index, Due::HangUp)));
            }
            // Our ACK was lost, or is on its way.
            (Stage::Talking | Stage::Leaving, true, 200..300) => self.acknowledge(index),
            (Stage::Inviting, true, _) => {
                call.dialog = dialog(text);
                call.target = format!("sip:{}@{}", self.load.number, self.load.to);
                let ack = format!(
                    "ACK {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{}i{index};rport\r\n\
                     {}CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
                    call.target,
                    self.wire.address(),
                    self.name,
                    call.dialog
                );
                self.wire.send(&ack, self.load.to);
                self.end(index, Err(status));
            }
            (Stage::Leaving, false, 200..300) => self.end(index, Ok(())),
            (Stage::Leaving, false, 300..) => self.end(index, Err(status)),
            _ => {}
        }
    }

    fn acknowledge(&self, index: usize) {
        let call = &self.calls[index];
        let ack = format!(
            "ACK {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{}a{index};rport\r\n\
             {}CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
            call.target,
            self.wire.address(),
            self.name,
            call.dialog
        );
        self.wire.send(&ack, self.load.to);
    }

    fn end(&mut self, index: usize, how: Result<(), u16>) {
        self.calls[index].stage = Stage::Over;
        self.over += 1;
        match how {
            Ok(()) => self.report.completed += 1,
            Err(status) => *self.report.failed.entry(status).or_default() += 1,
        }
    }
}

/// What every further request of the dialog says (RFC 3261 §12.2.1.1).
fn dialog(text: Text<'_>) -> String {
    let routes: Vec<&str> =
        text.all("Record-Route").flat_map(|value| value.split(',')).map(str::trim).collect();
    let mut out = String::from("Max-Forwards: 70\r\n");
    for route in routes.iter().rev() {
        let _ = write!(out, "Route: {route}\r\n");
    }
    let _ = write!(
        out,
        "From: {}\r\nTo: {}\r\nCall-ID: {}\r\n",
        text.first("From"),
        text.first("To"),
        text.first("Call-ID")
    );
    out
}

/// An offer or answer of G.711 at a port where nobody listens: no media is sent.
pub(super) fn sdp(address: SocketAddr) -> String {
    let ip = address.ip();
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio 9 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    )
}

/// A number that no other run of this process has.
fn unique() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(0x0100_0000, std::sync::atomic::Ordering::Relaxed)
}
