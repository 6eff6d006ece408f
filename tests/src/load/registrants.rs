//! Many phones that register and refresh, each keeping its nonce as phones do.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use cheling_sip::digest::{Algorithm, Challenge, ha1};

use super::percentile;
use super::wire::{Text, Wire, wait};

/// A REGISTER without an answer is repeated after this long.
const REPEAT: Duration = Duration::from_millis(500);
/// How often it is repeated before it counts as lost.
const TRIES: u32 = 8;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct RegisterLoad {
    /// REGISTERs a second, phone after phone.
    pub rate: f64,
    /// How many REGISTERs in all.
    pub count: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct RegisterReport {
    /// REGISTERs answered with 200.
    pub accepted: usize,
    /// Challenges: at first one a phone, later only where a nonce was too old.
    pub challenged: usize,
    /// Other final answers; 0 for none at all.
    pub failed: BTreeMap<u16, usize>,
    /// REGISTERs that had to be repeated.
    pub repeated: usize,
    /// From REGISTER to 200 without a challenge between: median and 99th percentile.
    pub accepted_after: [Duration; 2],
}

struct Phone {
    number: String,
    ha1: String,
    wire: usize,
    cseq: u32,
    challenge: Option<Challenge>,
    uses: u32,
    sent: Option<Sent>,
}

struct Sent {
    first_at: Instant,
    last_at: Instant,
    tries: u32,
    was_challenged: bool,
    text: String,
}

/// The phones, behind some hundred addresses as branch offices are.
pub struct Registrants {
    registrar: SocketAddr,
    wires: Vec<Wire>,
    phones: Vec<Phone>,
    by_number: HashMap<String, usize>,
    /// The phone whose turn it is.
    next: usize,
    /// Phones that wait for an answer, oldest question first; some have theirs already.
    waiting: VecDeque<(Instant, usize)>,
}

impl Registrants {
    /// Phones of these numbers and passwords, a hundred to an address of 127.1.0.0/16.
    ///
    /// # Errors
    /// If an address cannot be had.
    pub fn new(
        registrar: SocketAddr,
        realm: &str,
        accounts: impl Iterator<Item = (String, String)>,
    ) -> io::Result<Self> {
        let mut phones: Vec<Phone> = Vec::new();
        for (number, password) in accounts {
            let ha1 = ha1(Algorithm::Md5, &number, realm, &password);
            let wire = phones.len() / 100;
            let (cseq, uses) = (0, 0);
            phones.push(Phone { number, ha1, wire, cseq, challenge: None, uses, sent: None });
        }
        let wires = (0..phones.len().div_ceil(100))
            .map(|n| {
                let ip = Ipv4Addr::new(127, 1, (n / 250) as u8, (n % 250 + 1) as u8);
                Wire::bind(SocketAddr::new(IpAddr::V4(ip), 0))
            })
            .collect::<io::Result<_>>()?;
        let by_number =
            phones.iter().enumerate().map(|(n, phone)| (phone.number.clone(), n)).collect();
        Ok(Self { registrar, wires, phones, by_number, next: 0, waiting: VecDeque::new() })
    }

    /// How many phones there are.
    pub fn len(&self) -> usize {
        self.phones.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.phones.is_empty()
    }

    /// Registers phone after phone and waits for the last answer.
    pub fn run(&mut self, load: RegisterLoad) -> RegisterReport {
        let mut report = RegisterReport::default();
        let mut took = Vec::with_capacity(load.count);
        let (start, gap) = (Instant::now(), Duration::from_secs_f64(1.0 / load.rate));
        let mut begun = 0_usize;
        let done =
            |report: &RegisterReport| report.accepted + report.failed.values().sum::<usize>();
        while done(&report) < load.count {
            let now = Instant::now();
            while begun < load.count && start + gap * begun as u32 <= now {
                let index = self.next;
                self.next = (self.next + 1) % self.phones.len();
                begun += 1;
                if self.phones[index].sent.is_some() {
                    // A whole round has gone by without an answer.
                    *report.failed.entry(0).or_default() += 1;
                }
                self.send(index, now, None);
            }
            self.repeat(now, &mut report);
            let next = if begun < load.count { start + gap * begun as u32 } else { now + REPEAT };
            for wire in wait(&self.wires, next) {
                self.read(wire, &mut report, &mut took);
            }
        }
        report.accepted_after = [percentile(&mut took, 0.5), percentile(&mut took, 0.99)];
        report
    }

    fn send(&mut self, index: usize, now: Instant, first_at: Option<Instant>) {
        let phone = &mut self.phones[index];
        let wire = &self.wires[phone.wire];
        let (from, to) = (wire.address(), self.registrar);
        phone.cseq += 1;
        let number = &phone.number;
        let authorization = phone.challenge.as_ref().map(|challenge| {
            phone.uses += 1;
            (challenge, phone.ha1.as_str(), phone.uses)
        });
        let text = register(number, from, to, phone.cseq, authorization);
        wire.send(&text, to);
        phone.sent = Some(Sent {
            first_at: first_at.unwrap_or(now),
            last_at: now,
            tries: 1,
            was_challenged: first_at.is_some(),
            text,
        });
        self.waiting.push_back((now, index));
    }

    fn repeat(&mut self, now: Instant, report: &mut RegisterReport) {
        while let Some((at, index)) = self.waiting.front().copied() {
            if at + REPEAT > now {
                return;
            }
            self.waiting.pop_front();
            let phone = &mut self.phones[index];
            let Some(sent) = phone.sent.as_mut().filter(|sent| sent.last_at == at) else {
                continue;
            };
            if sent.tries == TRIES {
                phone.sent = None;
                *report.failed.entry(0).or_default() += 1;
                continue;
            }
            sent.tries += 1;
            sent.last_at = now;
            report.repeated += 1;
            self.wires[phone.wire].send(&sent.text, self.registrar);
            self.waiting.push_back((now, index));
        }
    }

    fn read(&mut self, wire: usize, report: &mut RegisterReport, took: &mut Vec<Duration>) {
        while let Some((bytes, _)) = self.wires[wire].receive() {
            // Copied, since answering a challenge needs the socket too.
            let bytes = bytes.to_vec();
            if let Some(text) = Text::read(&bytes) {
                self.take(text, report, took);
            }
        }
    }

    fn take(&mut self, text: Text<'_>, report: &mut RegisterReport, took: &mut Vec<Duration>) {
        let now = Instant::now();
        let index =
            text.first("Call-ID").split('@').next().and_then(|number| self.by_number.get(number));
        let (Some(&index), Some(status)) = (index, text.status()) else { return };
        let phone = &mut self.phones[index];
        let cseq = text.first("CSeq").split(' ').next().and_then(|n| n.parse().ok());
        if cseq != Some(phone.cseq) || status < 200 {
            return;
        }
        let Some(sent) = phone.sent.take() else { return };
        match status {
            200..300 => {
                report.accepted += 1;
                if !sent.was_challenged {
                    took.push(now - sent.first_at);
                }
            }
            401 if !sent.was_challenged => {
                report.challenged += 1;
                phone.challenge = text.all("WWW-Authenticate").find_map(Challenge::parse);
                phone.uses = 0;
                self.send(index, now, Some(sent.first_at));
            }
            status => *report.failed.entry(status).or_default() += 1,
        }
    }
}

/// A REGISTER for two minutes; `authorization` is the challenge, HA1 and how often its nonce is used.
pub(super) fn register(
    number: &str,
    from: SocketAddr,
    to: SocketAddr,
    cseq: u32,
    authorization: Option<(&Challenge, &str, u32)>,
) -> String {
    let uri = format!("sip:{to}");
    let authorization = authorization.map_or(String::new(), |(challenge, ha1, uses)| {
        let answer = challenge.answer(number, ha1, "REGISTER", &uri, &format!("c{number}"), uses);
        format!("Authorization: {answer}\r\n")
    });
    format!(
        "REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKr{number}x{cseq};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:{number}@{to}>;tag=r{number}\r\nTo: <sip:{number}@{to}>\r\n\
         Call-ID: {number}@{ip}\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:{number}@{from}>\r\n\
         Expires: 120\r\nUser-Agent: load\r\n{authorization}Content-Length: 0\r\n\r\n",
        ip = from.ip(),
    )
}
