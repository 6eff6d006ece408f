//! The sound of one call: one UDP socket that sends a packet every 20 ms and keeps what it hears.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cheling_media::g711::Law;
use cheling_media::rtp::{DatagramKind, RtpHeader, RtpPacket, SequenceNumber, Ssrc, Timestamp};
use tokio::net::UdpSocket;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::sdp::of_payload_type;
use crate::sound::Sound;

/// Samples, and octets, of one 20 ms packet.
const PACKET_SAMPLES: usize = 160;

/// What a call has sent and heard so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaStatistics {
    /// RTP packets sent.
    pub packets_sent: u64,
    /// RTP packets of a known codec received.
    pub packets_received: u64,
    /// Holes in the sequence numbers of what was received.
    pub packets_lost: u64,
    /// Packets that came behind a later one, or twice.
    pub packets_late: u64,
    /// SSRC of the last packet received.
    pub ssrc: Option<u32>,
    /// Where the last packet came from.
    pub received_from: Option<SocketAddr>,
}

/// The part of a stream that the phone, the call's handle and the media task share.
///
/// The lock is held for the work on one packet and never across an await.
pub(crate) struct Stream {
    remote: Option<SocketAddr>,
    codec: Law,
    is_sending: bool,
    sound: Sound,
    position_samples: usize,
    heard: VecDeque<i16>,
    heard_limit: usize,
    last_sequence: Option<SequenceNumber>,
    statistics: MediaStatistics,
}

/// A stream that outlives its socket, so that what was heard can be looked at after the call.
#[derive(Clone)]
pub(crate) struct SharedStream(Arc<Mutex<Stream>>);

impl SharedStream {
    fn lock(&self) -> MutexGuard<'_, Stream> {
        // A panic elsewhere leaves at worst one packet half counted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn play(&self, sound: Sound) {
        let mut stream = self.lock();
        stream.sound = sound;
        stream.position_samples = 0;
    }

    pub(crate) fn heard(&self) -> Vec<i16> {
        self.lock().heard.iter().copied().collect()
    }

    pub(crate) fn forget_heard(&self) {
        self.lock().heard.clear();
    }

    pub(crate) fn statistics(&self) -> MediaStatistics {
        self.lock().statistics.clone()
    }

    /// Sets where and how to send from now on.
    pub(crate) fn direct(&self, remote: Option<SocketAddr>, codec: Law, is_sending: bool) {
        let mut stream = self.lock();
        stream.remote = remote;
        stream.codec = codec;
        stream.is_sending = is_sending;
    }
}

/// The running end of a stream; dropping it closes the socket.
pub(crate) struct Media {
    local: SocketAddr,
    stream: SharedStream,
    _stop: DropGuard,
}

impl Media {
    /// Opens a port and starts listening; nothing is sent until [`SharedStream::direct`].
    pub(crate) async fn open(bind: IpAddr, heard_limit: usize) -> io::Result<Self> {
        let socket = bind_even_port(bind).await?;
        let stream = SharedStream(Arc::new(Mutex::new(Stream {
            remote: None,
            codec: Law::A,
            is_sending: false,
            sound: Sound::Silence,
            position_samples: 0,
            heard: VecDeque::new(),
            heard_limit,
            last_sequence: None,
            statistics: MediaStatistics::default(),
        })));
        let stop = CancellationToken::new();
        let local = socket.local_addr()?;
        tokio::spawn(run(socket, stream.clone(), stop.clone()));
        Ok(Self { local, stream, _stop: stop.drop_guard() })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn stream(&self) -> &SharedStream {
        &self.stream
    }
}

/// RTP takes even ports, RTCP the odd one above (RFC 3550 §11).
async fn bind_even_port(bind: IpAddr) -> io::Result<UdpSocket> {
    let mut odd = Vec::new();
    for _ in 0..32 {
        let socket = UdpSocket::bind((bind, 0)).await?;
        if socket.local_addr()?.port() % 2 == 0 {
            return Ok(socket);
        }
        // Kept until the end, so that the kernel does not offer it again.
        odd.push(socket);
    }
    odd.pop().ok_or_else(|| io::ErrorKind::AddrInUse.into())
}

async fn run(socket: UdpSocket, stream: SharedStream, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    // After a stall the packets that are due go out at once, so that timestamps stay true.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sender = Sender::new();
    let mut buffer = [0; 2048];
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                if let Some((to, packet)) = sender.next(&mut stream.lock()) {
                    // A full socket buffer loses the packet, as a network would.
                    let _ = socket.try_send_to(&packet, to);
                }
            }
            received = socket.recv_from(&mut buffer) => {
                // An error here is an ICMP message about a packet of ours.
                if let Ok((len, from)) = received {
                    stream.lock().receive(from, &buffer[..len]);
                }
            }
        }
    }
}

/// What the RTP header of the next packet needs (RFC 3550 §5.1).
struct Sender {
    ssrc: Ssrc,
    sequence: SequenceNumber,
    timestamp: Timestamp,
    was_sending: bool,
}

impl Sender {
    fn new() -> Self {
        Self {
            ssrc: Ssrc(rand::random()),
            sequence: SequenceNumber(rand::random()),
            timestamp: Timestamp(rand::random()),
            was_sending: false,
        }
    }

    /// Builds the packet of this tick; the clock runs on while nothing is sent.
    fn next(&mut self, stream: &mut Stream) -> Option<(SocketAddr, Vec<u8>)> {
        self.timestamp = self.timestamp.plus(PACKET_SAMPLES as u32);
        let to = stream.remote.filter(|_| stream.is_sending && stream.sound.is_sent());
        let Some(to) = to else {
            self.was_sending = false;
            return None;
        };
        let mut pcm = [0; PACKET_SAMPLES];
        stream.sound.fill(stream.position_samples, &mut pcm);
        stream.position_samples += PACKET_SAMPLES;
        let mut payload = Vec::with_capacity(PACKET_SAMPLES);
        stream.codec.encode(&pcm, &mut payload);
        let header = RtpHeader {
            payload_type: stream.codec.payload_type(),
            // The first packet of a talk spurt (RFC 3551 §4.1).
            marker: !self.was_sending,
            sequence_number: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        let mut packet = Vec::with_capacity(12 + PACKET_SAMPLES);
        header.write(&payload, &mut packet).ok()?;
        self.sequence = self.sequence.next();
        self.was_sending = true;
        stream.statistics.packets_sent += 1;
        Some((to, packet))
    }
}

impl Stream {
    fn receive(&mut self, from: SocketAddr, bytes: &[u8]) {
        // RTCP on the same port (RFC 5761 §4) is none of ours.
        if DatagramKind::of(bytes) != DatagramKind::Rtp {
            return;
        }
        let Ok(packet) = RtpPacket::parse(bytes) else { return };
        let Some(codec) = of_payload_type(packet.header.payload_type) else { return };
        let sequence = packet.header.sequence_number;
        let ssrc = packet.header.ssrc.0;
        let statistics = &mut self.statistics;
        statistics.packets_received += 1;
        statistics.received_from = Some(from);
        let is_same_source = statistics.ssrc.replace(ssrc) == Some(ssrc);
        if let Some(last) = self.last_sequence.filter(|_| is_same_source) {
            let step = sequence.0.wrapping_sub(last.0);
            // Half the circle behind is late or twice (RFC 3550 §A.1).
            if step == 0 || step >= 0x8000 {
                statistics.packets_late += 1;
                return;
            }
            statistics.packets_lost += u64::from(step) - 1;
        }
        self.last_sequence = Some(sequence);
        if self.heard_limit == 0 {
            return;
        }
        let mut pcm = Vec::with_capacity(packet.payload.len());
        codec.decode(packet.payload, &mut pcm);
        self.heard.extend(pcm);
        let excess = self.heard.len().saturating_sub(self.heard_limit);
        self.heard.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream {
            remote: Some("127.0.0.1:9".parse().unwrap()),
            codec: Law::A,
            is_sending: true,
            sound: Sound::tone(440.0),
            position_samples: 0,
            heard: VecDeque::new(),
            heard_limit: 320,
            last_sequence: None,
            statistics: MediaStatistics::default(),
        }
    }

    #[test]
    fn the_clock_runs_while_on_hold_and_the_sequence_does_not() {
        let (mut sender, mut stream) = (Sender::new(), stream());
        let (_, first) = sender.next(&mut stream).unwrap();
        stream.is_sending = false;
        assert!(sender.next(&mut stream).is_none());
        stream.is_sending = true;
        let (_, second) = sender.next(&mut stream).unwrap();
        let first = RtpPacket::parse(&first).unwrap().header;
        let second = RtpPacket::parse(&second).unwrap().header;
        assert_eq!(second.timestamp.0.wrapping_sub(first.timestamp.0), 320);
        assert_eq!(second.sequence_number, first.sequence_number.next());
        assert!(first.marker && second.marker);
    }

    #[test]
    fn losses_and_late_packets_are_counted_and_the_newest_sound_kept() {
        let (mut sender, mut sending, mut hearing) = (Sender::new(), stream(), stream());
        let from = "127.0.0.1:9".parse().unwrap();
        let packets: Vec<_> = (0..6).map(|_| sender.next(&mut sending).unwrap().1).collect();
        for index in [0, 1, 4, 3, 5] {
            hearing.receive(from, &packets[index]);
        }
        hearing.receive(from, b"garbage");
        let statistics = &hearing.statistics;
        assert_eq!((statistics.packets_received, statistics.packets_lost), (5, 2));
        assert_eq!(statistics.packets_late, 1);
        assert_eq!(hearing.heard.len(), 320);
    }
}
