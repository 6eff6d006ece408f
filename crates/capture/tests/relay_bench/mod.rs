//! A relay under test and the phones around it, over loopback. Nothing sleeps: each step waits for
//! what it needs, with a deadline.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use cheling_call::io::RelayRemote;
use cheling_capture::clock::AnchoredClock;
use cheling_capture::relay::{RelayConfig, RelayWatch};
use cheling_capture::relay::{Relays, Report};
use cheling_capture::sink::{SpareBlocks, TapSink};
use cheling_model::call::MediaFault;
use cheling_model::tap::TapBlock;
use cheling_model::{CallId, Lane, TapEvent, Timestamp};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

pub const DEADLINE: Duration = Duration::from_secs(10);
pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Each test takes its own ports, so that they may run at the same time.
pub fn ports(count: u16) -> std::ops::RangeInclusive<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static BASE: OnceLock<u16> = OnceLock::new();
    let base = *BASE.get_or_init(|| 21_000 + (std::process::id() % 400) as u16 * 20);
    let first = base + NEXT.fetch_add(count, Ordering::Relaxed);
    first..=first + count - 1
}

pub struct Sink {
    pub blocks: SyncSender<TapBlock>,
    pub is_full: AtomicBool,
}

impl TapSink for Sink {
    fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(block);
        }
        self.blocks.try_send(block).map_err(|err| match err {
            TrySendError::Full(block) | TrySendError::Disconnected(block) => block,
        })
    }
    fn event(&self, _: TapEvent) {}
}

pub struct Bench {
    pub relays: Relays,
    pub reports: Receiver<Report>,
    pub blocks: Receiver<TapBlock>,
    pub sink: Arc<Sink>,
    pub watch: RelayWatch,
}

impl Bench {
    pub fn start(config: &RelayConfig) -> Self {
        let (sender, blocks) = sync_channel(1024);
        let sink = Arc::new(Sink { blocks: sender, is_full: AtomicBool::new(false) });
        let (report, reports) = sync_channel(1024);
        let relays = Relays::start(
            config,
            Arc::clone(&sink) as Arc<dyn TapSink>,
            Arc::new(SpareBlocks::new(8)),
            Arc::new(move |it| {
                report.try_send(it).map_err(|err| match err {
                    TrySendError::Full(it) | TrySendError::Disconnected(it) => it,
                })
            }),
        )
        .unwrap();
        let watch = relays.watch();
        Self { relays, reports, blocks, sink, watch }
    }

    pub fn at(address: IpAddr) -> Self {
        Self::playing(address, None)
    }

    /// With this for those on hold.
    pub fn playing(address: IpAddr, hold_music: Option<Arc<[i16]>>) -> Self {
        let mut config = RelayConfig { hold_music, ..RelayConfig::at(address) };
        config.ports = ports(20);
        config.port_rest = Duration::ZERO;
        config.threads = 1;
        Self::start(&config)
    }

    /// Waits until all commands so far are obeyed, by giving one more that is answered.
    pub fn settle(&mut self) {
        let id = call(255);
        assert!(self.relays.open(id, AnchoredClock::start()));
        match self.report() {
            Report::Opened { call_id, .. } if call_id == id => {
                self.close(id);
            }
            report @ Report::Failed { call_id } if call_id == id => self.relays.note(&report),
            other => panic!("{other:?}"),
        }
    }

    pub fn report(&self) -> Report {
        self.reports.recv_timeout(DEADLINE).unwrap()
    }

    pub fn open(&mut self, id: CallId) -> [SocketAddr; 2] {
        assert!(self.relays.open(id, AnchoredClock::start()));
        match self.report() {
            Report::Opened { call_id, local } if call_id == id => local,
            other => panic!("{other:?}"),
        }
    }

    /// A call between two phones, customer and agent, that are where their SDP says; and where each
    /// talks to.
    pub fn talk(&mut self, address: IpAddr) -> (CallId, [SocketAddr; 2], [Phone; 2]) {
        let id = call(1);
        let local = self.open(id);
        let phones = [Phone::at(address, 11), Phone::at(address, 22)];
        self.point(id, Lane::Customer, phones[0].address());
        self.point(id, Lane::Agent, phones[1].address());
        (id, local, phones)
    }

    pub fn close(&mut self, id: CallId) -> ([u64; 2], [u64; 2]) {
        assert!(self.relays.close(id));
        match self.report() {
            Report::Closed { call_id, received_packets, tap_dropped_packets, .. }
                if call_id == id =>
            {
                (received_packets, tap_dropped_packets)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Closes a call that was recorded, and tells why nothing could be heard of a side.
    pub fn faults(&mut self, id: CallId) -> [Option<MediaFault>; 2] {
        assert!(self.relays.close(id));
        match self.report() {
            Report::Closed { call_id, faults, .. } if call_id == id => faults,
            other => panic!("{other:?}"),
        }
    }

    pub fn point(&mut self, id: CallId, lane: Lane, rtp: SocketAddr) {
        let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
        self.relays.point(id, lane, Some(RelayRemote { rtp, rtcp }));
    }

    /// Waits until the counters of a call satisfy `is_met`.
    pub fn await_counters(
        &self,
        id: CallId,
        is_met: impl Fn(&cheling_capture::relay::CallStatistics) -> bool,
    ) {
        let start = Instant::now();
        loop {
            let counters = self.watch.call(id, Timestamp::from_micros(0)).unwrap();
            if is_met(&counters) {
                return;
            }
            assert!(start.elapsed() < DEADLINE, "{counters:?}");
            std::thread::yield_now();
        }
    }
}

pub fn call(number: u8) -> CallId {
    CallId::mint(Timestamp::from_micros(1_700_000_000_000_000), [number; 10])
}

/// A phone's RTP and RTCP sockets.
pub struct Phone {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub ssrc: u32,
    pub sequence_number: u16,
}

impl Phone {
    pub fn at(address: IpAddr, ssrc: u32) -> Self {
        loop {
            let rtp = UdpSocket::bind((address, 0)).unwrap();
            let next = rtp.local_addr().unwrap().port().wrapping_add(1);
            if let Ok(rtcp) = UdpSocket::bind((address, next)) {
                for socket in [&rtp, &rtcp] {
                    socket.set_read_timeout(Some(DEADLINE)).unwrap();
                }
                return Self { rtp, rtcp, ssrc, sequence_number: 0 };
            }
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.rtp.local_addr().unwrap()
    }

    pub fn packet(&mut self) -> Vec<u8> {
        self.sequence_number = self.sequence_number.wrapping_add(1);
        let mut bytes = vec![0x80, 8];
        bytes.extend_from_slice(&self.sequence_number.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.ssrc.to_be_bytes());
        bytes.extend_from_slice(&[0xd5; 160]);
        bytes
    }

    pub fn say(&mut self, to: SocketAddr) -> Vec<u8> {
        let packet = self.packet();
        self.rtp.send_to(&packet, to).unwrap();
        packet
    }

    pub fn hear(&self) -> (Vec<u8>, SocketAddr) {
        receive(&self.rtp)
    }
}

pub fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..len].to_vec(), from)
}

pub fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 201, 0, 1];
    bytes.extend_from_slice(&ssrc.to_be_bytes());
    bytes
}
