//! Finds where messages end in a stream (RFC 3261 §18.3), and the keep-alives between them
//! (RFC 5626 §3.5.1).
//!
//! On a WebSocket each message is one SIP message (RFC 7118 §5) and needs no framing.

use bytes::{Buf, Bytes, BytesMut};

use crate::header::Name;
use crate::reader::{MAX_MESSAGE_BYTES, content_length};

/// Cuts one connection's octets into messages. After an error the connection must be closed.
///
/// A ping and two answers to pings look alike where they arrive in parts. Who opened a connection
/// sends the pings (RFC 5626 §4.4.1), so what came to us is a ping in two parts, and what we opened
/// brings answers. A ping that comes in one piece is one either way: some who were called ping too
/// (RFC 6223), and whoever does not ping passes an answer over.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// How far the search for the empty line has come.
    searched: usize,
    /// Length of the message at the front, once its header is whole.
    message_bytes: Option<usize>,
    /// A lone CRLF has been reported; another one makes it a ping.
    has_half_ping: bool,
    /// We opened the connection, and send the pings.
    is_ours: bool,
}

/// What was found in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// One whole message, not yet read.
    Message(Bytes),
    /// CRLF CRLF: answer with CRLF.
    Ping,
    /// One CRLF: the answer to our ping, a stray line end, or the first half of a ping.
    Pong,
}

/// Why the end of a message cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Header or header and body are longer than [`MAX_MESSAGE_BYTES`].
    #[error("message is too large")]
    TooLarge,
    /// No Content-Length, which a stream needs (RFC 3261 §20.14).
    #[error("no Content-Length in a stream")]
    NoContentLength,
    /// A Content-Length that is no number, or two that differ.
    #[error("bad Content-Length")]
    BadContentLength,
}

impl Framer {
    /// For a connection that we have opened.
    pub fn of_ours() -> Self {
        Self { is_ours: true, ..Self::default() }
    }

    /// Takes the next octets from the connection.
    pub fn push(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    /// The next thing in the stream; `None` if more octets are needed.
    ///
    /// # Errors
    /// [`FramingError`]; where the next message begins is then unknown.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FramingError> {
        if self.message_bytes.is_none() {
            if let Some(frame) = self.keep_alive() {
                return Ok(Some(frame));
            }
            let Some(header_bytes) = self.find_body() else {
                if self.buffer.len() > MAX_MESSAGE_BYTES {
                    return Err(FramingError::TooLarge);
                }
                return Ok(None);
            };
            let body_bytes = declared_length(&self.buffer[..header_bytes])?;
            let message_bytes = header_bytes.saturating_add(body_bytes);
            if message_bytes > MAX_MESSAGE_BYTES {
                return Err(FramingError::TooLarge);
            }
            self.message_bytes = Some(message_bytes);
        }
        let Some(message_bytes) = self.message_bytes.filter(|bytes| *bytes <= self.buffer.len())
        else {
            return Ok(None);
        };
        self.message_bytes = None;
        self.searched = 0;
        Ok(Some(Frame::Message(self.buffer.split_to(message_bytes).freeze())))
    }

    /// Octets that wait for the rest of their message.
    pub fn waiting_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Takes line ends before a message off the front.
    fn keep_alive(&mut self) -> Option<Frame> {
        while self.buffer.first() == Some(&b'\n') {
            self.skip(1);
        }
        if self.buffer.starts_with(b"\r\n\r\n") {
            self.skip(4);
            self.has_half_ping = false;
            return Some(Frame::Ping);
        }
        if self.buffer.starts_with(b"\r\n") {
            self.skip(2);
            self.has_half_ping = !self.has_half_ping && !self.is_ours;
            let is_answer = self.has_half_ping || self.is_ours;
            return Some(if is_answer { Frame::Pong } else { Frame::Ping });
        }
        if !self.buffer.is_empty() && self.buffer[..] != b"\r"[..] {
            self.has_half_ping = false;
        }
        None
    }

    fn skip(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.searched = 0;
    }

    /// Offset of the body: behind the empty line, which CRLF or LF may end.
    fn find_body(&mut self) -> Option<usize> {
        let from = self.searched;
        for at in from..self.buffer.len() {
            if self.buffer[at] != b'\n' {
                continue;
            }
            let before = &self.buffer[..at];
            if before.ends_with(b"\n\r") || before.ends_with(b"\n") {
                return Some(at + 1);
            }
        }
        self.searched = self.buffer.len();
        None
    }
}

fn declared_length(header: &[u8]) -> Result<usize, FramingError> {
    let mut found = None;
    for line in header.split(|byte| *byte == b'\n').skip(1) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        if Name::find(line[..colon].trim_ascii_end()) != Some(Name::ContentLength) {
            continue;
        }
        let length = content_length(&line[colon + 1..]).ok_or(FramingError::BadContentLength)?;
        if found.is_some_and(|other| other != length) {
            return Err(FramingError::BadContentLength);
        }
        found = Some(length);
    }
    found.ok_or(FramingError::NoContentLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nl : 3\r\n\r\nabc";
    const TWO: &[u8] = b"SIP/2.0 200 OK\nContent-Length: 0\n\n";

    fn frames(framer: &mut Framer) -> Vec<Frame> {
        std::iter::from_fn(|| framer.next_frame().unwrap()).collect()
    }

    #[test]
    fn messages_are_found_however_the_octets_arrive() {
        let stream = [ONE, TWO, b"\r\n\r\n", ONE].concat();
        let want = [
            Frame::Message(Bytes::from_static(ONE)),
            Frame::Message(Bytes::from_static(TWO)),
            Frame::Ping,
            Frame::Message(Bytes::from_static(ONE)),
        ];
        for size in [3, 4, 7, 20, 64, 500] {
            let mut framer = Framer::default();
            let mut got = Vec::new();
            for part in stream.chunks(size) {
                framer.push(part);
                got.extend(frames(&mut framer));
            }
            got.retain(|frame| *frame != Frame::Pong); // The first half of a ping in two parts.
            assert_eq!(got, want, "{size}");
            assert_eq!(framer.waiting_bytes(), 0);
        }
    }

    #[test]
    fn a_ping_in_two_parts_is_still_a_ping() {
        let mut framer = Framer::default();
        framer.push(b"\r\n");
        assert_eq!(frames(&mut framer), [Frame::Pong]);
        framer.push(b"\r\n");
        assert_eq!(frames(&mut framer), [Frame::Ping]);
        framer.push(b"\r\n");
        assert_eq!(frames(&mut framer), [Frame::Pong]);
    }

    #[test]
    fn answers_in_a_row_on_a_connection_of_ours_are_no_ping() {
        let mut framer = Framer::of_ours();
        for _ in 0..3 {
            framer.push(b"\r\n");
            assert_eq!(frames(&mut framer), [Frame::Pong]);
        }
        // In three parts, of which one ends within an answer.
        for part in [&b"\r\n\r"[..], b"\n", TWO] {
            framer.push(part);
        }
        let last = Frame::Message(Bytes::from_static(TWO));
        assert_eq!(frames(&mut framer).last(), Some(&last));
        framer.push(b"\r\n\r\n");
        assert_eq!(frames(&mut framer), [Frame::Ping], "in one piece");
    }

    #[test]
    fn line_ends_of_all_kinds_before_a_message_hide_nothing_of_it() {
        for before in ["\n\r\n", "\r\n\n\r\n", "\n\n", "\r\n\r\n\n"] {
            let stream = [before.as_bytes(), TWO].concat();
            for size in 1..stream.len() {
                let mut framer = Framer::default();
                let mut got = Vec::new();
                for part in stream.chunks(size) {
                    framer.push(part);
                    got.extend(frames(&mut framer));
                }
                got.retain(|frame| matches!(frame, Frame::Message(_)));
                assert_eq!(got, [Frame::Message(Bytes::from_static(TWO))], "{before:?} {size}");
            }
        }
    }

    #[test]
    fn a_stream_without_lengths_is_refused() {
        for (text, want) in [
            ("A b SIP/2.0\r\nTo: x\r\n\r\n", FramingError::NoContentLength),
            ("A b SIP/2.0\r\nl: -1\r\n\r\n", FramingError::BadContentLength),
            ("A b SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\n", FramingError::BadContentLength),
            ("A b SIP/2.0\r\nl: 99999999999999999999999\r\n\r\n", FramingError::TooLarge),
        ] {
            let mut framer = Framer::default();
            framer.push(text.as_bytes());
            assert_eq!(framer.next_frame(), Err(want), "{text}");
        }
        let mut framer = Framer::default();
        framer.push(&vec![b'x'; MAX_MESSAGE_BYTES + 1]);
        assert_eq!(framer.next_frame(), Err(FramingError::TooLarge));
    }
}
