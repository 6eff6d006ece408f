//! A network between two endpoints on virtual time: it delays, reorders and loses datagrams.
#![allow(dead_code)] // Each test uses its part of it.

use std::time::{Duration, Instant};

use cheling_dice::Dice;
use cheling_sip::endpoint::Config;
use cheling_sip::{Endpoint, Flow, Message, Method, Name, NameAddr, Request, Uri};

/// Who is who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who calls.
    Caller,
    /// Who is called.
    Callee,
}

/// What the network does to datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Of 100 datagrams.
    pub lost: u64,
    /// Each datagram takes 5 ms and up to this many more.
    pub jitter_ms: u64,
}

/// Two endpoints and what is on its way between them.
pub struct Link {
    pub now: Instant,
    pub start: Instant,
    pub caller: Endpoint,
    pub callee: Endpoint,
    weather: Weather,
    dice: Dice,
    on_the_way: Vec<(Instant, Side, Message)>,
    /// Start lines of all that was sent, lost or not.
    pub sent: Vec<String>,
}

impl Link {
    /// A link whose losses follow from `seed`.
    pub fn new(weather: Weather, seed: u64) -> Self {
        let start = Instant::now();
        Self {
            now: start,
            start,
            caller: Endpoint::new(Config::default(), [1; 32]),
            callee: Endpoint::new(Config::default(), [2; 32]),
            weather,
            dice: Dice::new(seed),
            on_the_way: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// The way to the other side.
    pub fn flow_from(side: Side) -> Flow {
        let (caller, callee) = ("10.0.0.1:5060".parse(), "10.0.0.2:5060".parse());
        let (caller, callee) = (caller.unwrap(), callee.unwrap());
        match side {
            Side::Caller => Flow::udp(caller, callee),
            Side::Callee => Flow::udp(callee, caller),
        }
    }

    pub fn endpoint(&mut self, side: Side) -> &mut Endpoint {
        match side {
            Side::Caller => &mut self.caller,
            Side::Callee => &mut self.callee,
        }
    }

    /// Seconds since the start.
    pub fn seconds(&self) -> f32 {
        (self.now - self.start).as_secs_f32()
    }

    /// How many messages with this start were sent.
    pub fn count(&self, start: &str) -> usize {
        self.sent.iter().filter(|line| line.starts_with(start)).count()
    }

    /// Goes on to whatever comes next: an arrival, a timer of an endpoint, or `other`, a timer of
    /// the test's own. `false` if nothing will ever come.
    pub fn step(&mut self, other: Option<Instant>) -> bool {
        self.collect();
        let arrival = self.on_the_way.iter().map(|(at, ..)| *at).min();
        let timers = [self.caller.next_timeout(), self.callee.next_timeout(), arrival, other];
        let Some(next) = timers.into_iter().flatten().min() else { return false };
        self.now = self.now.max(next);
        self.caller.handle_timeout(self.now);
        self.callee.handle_timeout(self.now);
        let now = self.now;
        let (arrived, rest) = self.on_the_way.drain(..).partition(|(at, ..)| *at <= now);
        self.on_the_way = rest;
        let arrived: Vec<_> = arrived;
        for (_, to, message) in arrived {
            self.endpoint(to).handle_message(now, Self::flow_from(to), message);
        }
        true
    }

    fn collect(&mut self) {
        for (from, to) in [(Side::Caller, Side::Callee), (Side::Callee, Side::Caller)] {
            while let Some((_, bytes)) = self.endpoint(from).poll() {
                let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                self.sent.push(String::from_utf8_lossy(line).into_owned());
                if self.dice.percent(self.weather.lost) {
                    continue;
                }
                let ms = 5 + self.dice.roll() % (self.weather.jitter_ms + 1);
                let at = self.now + Duration::from_millis(ms);
                self.on_the_way.push((at, to, Message::parse(&bytes).unwrap()));
            }
        }
    }
}

/// A request of the caller outside any dialog.
pub fn request(method: Method) -> Request {
    let from = NameAddr::parse("<sip:a@h>;tag=a").unwrap();
    let to = NameAddr::parse("<sip:b@h>").unwrap();
    let uri = Uri::parse("sip:b@h").unwrap();
    let mut request = Request::outside_dialog(method, uri, &from, &to, "call", 1);
    request.headers.push(Name::Contact, "<sip:a@10.0.0.1>");
    request
}
