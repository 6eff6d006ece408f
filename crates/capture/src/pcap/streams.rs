//! SIP over TCP as a bystander sees it: segments in order, then messages.
//!
//! A capture may begin in the middle of a connection and miss segments; then we wait for a
//! segment that begins like a SIP message and go on from there.

use super::wire::TcpFlags;
use bytes::Bytes;
use cheling_model::Timestamp;
use cheling_sip::framing::{Frame, Framer};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

/// Streams followed at once; the one silent for longest gives way.
const MAX_STREAMS: usize = 1024;
/// Segments that wait for a missing one before it is given up.
const MAX_WAITING: usize = 64;
/// Segments at the start of a stream that may be no SIP before it is ignored for good.
const PATIENCE: u8 = 8;

/// Reassembles the streams that carry SIP and ignores all others.
#[derive(Default)]
pub struct Streams {
    streams: HashMap<(SocketAddr, SocketAddr), Stream>,
}

struct Stream {
    last: Timestamp,
    state: State,
}

enum State {
    /// No SIP seen yet in so many segments.
    Looking(u8),
    /// Not SIP.
    Ignored,
    Following(Following),
}

struct Following {
    next: u32,
    waiting: BTreeMap<u32, Bytes>,
    framer: Framer,
}

impl Streams {
    /// Takes one segment and gives each message that is whole now to `each`.
    pub fn segment(
        &mut self,
        at: Timestamp,
        ends: (SocketAddr, SocketAddr),
        sequence_number: u32,
        flags: TcpFlags,
        payload: &[u8],
        mut each: impl FnMut(&[u8]),
    ) {
        if flags.rst {
            self.streams.remove(&ends);
            return;
        }
        if flags.syn {
            self.streams.remove(&ends);
        }
        if payload.is_empty() {
            if flags.fin {
                self.streams.remove(&ends);
            }
            return;
        }
        if !self.streams.contains_key(&ends) {
            self.make_room();
        }
        let stream = self
            .streams
            .entry(ends)
            .or_insert_with(|| Stream { last: at, state: State::Looking(0) });
        stream.last = at;
        let sequence_number = sequence_number.wrapping_add(u32::from(flags.syn));
        if let State::Looking(seen) = &mut stream.state {
            if is_sip(payload) {
                stream.state = State::Following(Following::from(sequence_number));
            } else {
                *seen += 1;
                if *seen >= PATIENCE {
                    stream.state = State::Ignored;
                }
            }
        }
        if let State::Following(following) = &mut stream.state
            && !following.segment(sequence_number, payload, &mut each)
        {
            stream.state = State::Looking(0);
        }
        if flags.fin {
            self.streams.remove(&ends);
        }
    }

    fn make_room(&mut self) {
        if self.streams.len() < MAX_STREAMS {
            return;
        }
        let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.last);
        if let Some(ends) = oldest.map(|(ends, _)| *ends) {
            self.streams.remove(&ends);
        }
    }
}

impl Following {
    fn from(sequence_number: u32) -> Self {
        Self { next: sequence_number, waiting: BTreeMap::new(), framer: Framer::default() }
    }

    /// False if the stream makes no sense any more.
    fn segment(
        &mut self,
        sequence_number: u32,
        payload: &[u8],
        each: &mut impl FnMut(&[u8]),
    ) -> bool {
        // Distance from what is expected: negative is what we have already.
        let ahead = sequence_number.wrapping_sub(self.next) as i32;
        if ahead > 0 {
            self.waiting.insert(sequence_number, Bytes::copy_from_slice(payload));
            if self.waiting.len() <= MAX_WAITING {
                return true;
            }
            return self.skip_gap(each);
        }
        let Some(fresh) = payload.get(ahead.unsigned_abs() as usize..) else { return true };
        self.take(fresh, each) && self.take_waiting(each)
    }

    fn take(&mut self, fresh: &[u8], each: &mut impl FnMut(&[u8])) -> bool {
        self.next = self.next.wrapping_add(fresh.len() as u32);
        self.framer.push(fresh);
        loop {
            match self.framer.next_frame() {
                Ok(Some(Frame::Message(message))) => each(&message),
                Ok(Some(Frame::Ping | Frame::Pong)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn take_waiting(&mut self, each: &mut impl FnMut(&[u8])) -> bool {
        loop {
            let ready = self.waiting.iter().find_map(|(at, bytes)| {
                let behind = self.next.wrapping_sub(*at) as i32;
                (behind >= 0).then(|| (*at, bytes.clone(), behind as usize))
            });
            let Some((at, bytes, behind)) = ready else { return true };
            self.waiting.remove(&at);
            if let Some(fresh) = bytes.get(behind..)
                && !self.take(fresh, each)
            {
                return false;
            }
        }
    }

    /// The missing segment will not come: goes on at the next that begins a message.
    fn skip_gap(&mut self, each: &mut impl FnMut(&[u8])) -> bool {
        let next = self.next;
        let start = self
            .waiting
            .iter()
            .filter(|(_, bytes)| is_sip(bytes))
            .map(|(at, _)| *at)
            .min_by_key(|at| at.wrapping_sub(next));
        let Some(start) = start else { return false };
        self.waiting.retain(|at, _| at.wrapping_sub(start) as i32 >= 0);
        self.next = start;
        self.framer = Framer::default();
        self.take_waiting(each)
    }
}

/// Whether bytes begin like a SIP message: a status line, or a line that ends in the version.
pub fn is_sip(bytes: &[u8]) -> bool {
    let bytes = match bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')) {
        Some(start) => &bytes[start..],
        None => return false,
    };
    if bytes.starts_with(b"SIP/2.0 ") {
        return true;
    }
    // Media, which is nearly all there is.
    if !bytes[0].is_ascii_graphic() {
        return false;
    }
    let Some(end) = bytes.iter().take(4096).position(|byte| *byte == b'\n') else { return false };
    bytes[..end].trim_ascii_end().ends_with(b" SIP/2.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nContent-Length: 3\r\n\r\nabc";
    const NONE: TcpFlags = TcpFlags { syn: false, fin: false, rst: false };

    fn ends() -> (SocketAddr, SocketAddr) {
        ("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap())
    }

    fn feed(segments: &[(u32, TcpFlags, &[u8])]) -> Vec<Vec<u8>> {
        let mut streams = Streams::default();
        let mut messages = Vec::new();
        for (sequence_number, flags, payload) in segments {
            streams.segment(
                Timestamp::from_micros(0),
                ends(),
                *sequence_number,
                *flags,
                payload,
                |message| messages.push(message.to_vec()),
            );
        }
        messages
    }

    #[test]
    fn segments_are_put_in_order_and_repeats_dropped_across_the_wrap() {
        let start = u32::MAX - 10;
        let at = |offset: usize| start.wrapping_add(offset as u32);
        let got = feed(&[
            (start.wrapping_sub(1), TcpFlags { syn: true, ..NONE }, b""),
            (at(0), NONE, &MESSAGE[..30]),
            (at(40), NONE, &MESSAGE[40..]),
            (at(0), NONE, &MESSAGE[..30]),
            (at(20), NONE, &MESSAGE[20..40]),
        ]);
        assert_eq!(got, [MESSAGE]);
    }

    #[test]
    fn a_capture_may_begin_in_the_middle() {
        let got = feed(&[(500, NONE, b"rest of something\r\n"), (900, NONE, MESSAGE)]);
        assert_eq!(got, [MESSAGE]);
    }

    #[test]
    fn a_segment_that_never_comes_costs_one_message_only() {
        let mut segments: Vec<(u32, TcpFlags, &[u8])> = vec![(0, NONE, &MESSAGE[..20])];
        let len = MESSAGE.len() as u32;
        for index in 1..=70 {
            segments.push((len * index, NONE, MESSAGE));
        }
        assert_eq!(feed(&segments).len(), 70);
    }

    #[test]
    fn other_protocols_are_ignored() {
        let mut segments: Vec<(u32, TcpFlags, &[u8])> =
            vec![(0, NONE, b"GET / HTTP/1.1\r\n\r\n"); 20];
        segments.push((1000, NONE, MESSAGE));
        assert!(feed(&segments).is_empty());
    }

    #[test]
    fn many_streams_are_bounded() {
        let mut streams = Streams::default();
        for port in 1..5_000 {
            let ends = (SocketAddr::new([192, 0, 2, 1].into(), port), ends().1);
            streams.segment(Timestamp::from_micros(0), ends, 0, NONE, MESSAGE, |_| {});
        }
        assert!(streams.streams.len() <= MAX_STREAMS);
    }

    #[test]
    fn sip_is_told_by_its_first_line() {
        for (bytes, want) in [
            (&b"SIP/2.0 200 OK\r\n"[..], true),
            (b"\r\n\r\nINVITE sip:a@b SIP/2.0\r\n", true),
            (b"KDMQ sip:a SIP/2.0\n", true),
            (b"GET / HTTP/1.1\r\n", false),
            (b"\x80\x08\x00\x01", false),
            (b"\r\n\r\n", false),
            (b"", false),
        ] {
            assert_eq!(is_sip(bytes), want, "{bytes:?}");
        }
    }
}
