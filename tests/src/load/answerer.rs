//! The called side: rings and answers each call at once, remembering nothing.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cheling_sip::digest::{Algorithm, Challenge, ha1};

use super::registrants::register;
use super::wire::{Text, Wire};

/// A thread that answers; it ends when dropped.
pub struct Answerer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answerer {
    /// Answers at this address.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub fn start(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::with(Wire::bind(address)?))
    }

    /// Registers as a phone, from any port of localhost, and answers its calls.
    ///
    /// # Errors
    /// If the address cannot be had or the phone is refused.
    pub fn registered(
        registrar: SocketAddr,
        realm: &str,
        (number, password): (&str, &str),
    ) -> io::Result<Self> {
        let mut wire = Wire::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let from = wire.address();
        let ha1 = ha1(Algorithm::Md5, number, realm, password);
        let end = Instant::now() + crate::DEADLINE;
        let mut challenge = None;
        for cseq in 1..10 {
            let proof = challenge.as_ref().map(|challenge| (challenge, ha1.as_str(), 1));
            wire.send(&register(number, from, registrar, cseq, proof), registrar);
            let answer = loop {
                if Instant::now() > end {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                wire.wait(end);
                if let Some((bytes, _)) = wire.receive() {
                    break String::from_utf8_lossy(bytes).into_owned();
                }
            };
            let text = Text(&answer);
            if text.status() == Some(200) {
                return Ok(Self::with(wire));
            }
            challenge = text.all("WWW-Authenticate").find_map(Challenge::parse);
        }
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn with(mut wire: Wire) -> Self {
        let address = wire.address();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut answers = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                wire.wait(Instant::now() + Duration::from_millis(100));
                while let Some((bytes, from)) = wire.receive() {
                    if let Some(text) = Text::read(bytes) {
                        answer(text, address, &mut answers);
                    }
                    for text in answers.drain(..) {
                        wire.send(&text, from);
                    }
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(text: Text<'_>, address: SocketAddr, answers: &mut Vec<String>) {
    if text.status().is_some() {
        return;
    }
    match text.method() {
        "ACK" => {}
        "INVITE" => {
            answers.push(response(text, "180 Ringing", address, ""));
            let sdp = super::callers::sdp(address);
            answers.push(response(text, "200 OK", address, &sdp));
        }
        _ => answers.push(response(text, "200 OK", address, "")),
    }
}

/// The tag is made from the Call-ID, so that a request that is repeated gets the same.
fn response(text: Text<'_>, status: &str, address: SocketAddr, body: &str) -> String {
    let mut out = format!("SIP/2.0 {status}\r\n");
    for name in ["Via", "Record-Route", "From"] {
        for value in text.all(name) {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let (to, call_id) = (text.first("To"), text.first("Call-ID"));
    let tag = if to.contains("tag=") {
        String::new()
    } else {
        let tag: String = call_id.chars().filter(char::is_ascii_alphanumeric).collect();
        format!(";tag={tag}")
    };
    out.push_str(&format!(
        "To: {to}{tag}\r\nCall-ID: {call_id}\r\nCSeq: {}\r\nContact: <sip:{address}>\r\n",
        text.first("CSeq")
    ));
    if !body.is_empty() {
        out.push_str("Content-Type: application/sdp\r\n");
    }
    out.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    out
}
