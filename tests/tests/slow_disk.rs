//! A journal's disk that does not come back from a write: the relay goes on, what cannot be kept is
//! counted against the call that lost it, and what was kept is whole.
#![allow(clippy::unwrap_used, missing_docs)]

use cheling_call::io::RelayRemote;
use cheling_capture::clock::AnchoredClock;
use cheling_capture::relay::{RelayConfig, Relays, Report};
use cheling_capture::{SpareBlocks, TapSink};
use cheling_model::call::{Offer, Party};
use cheling_model::tap::TapBlock;
use cheling_model::{
    CallId, DealershipId, Direction, Lane, Presentation, TapEvent, TapKind, Timestamp,
};
use cheling_store::disk::{AppendFile, Disk, LocalDisk};
use cheling_store::journal::{Journal, JournalError, JournalHandle, JournalSettings};
use cheling_tests::ports::Ports;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(20);

/// Open, or writes wait before it.
#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn shut(&self, is_shut: bool) {
        *self.is_shut.lock().unwrap() = is_shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let is_shut = self.is_shut.lock().unwrap();
        drop(self.changed.wait_while(is_shut, |is_shut| *is_shut).unwrap());
    }
}

struct SlowDisk(Arc<Gate>);
struct SlowFile(Arc<Gate>, Box<dyn AppendFile>);

impl Disk for SlowDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Ok(Box::new(SlowFile(Arc::clone(&self.0), LocalDisk.create(path)?)))
    }
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl AppendFile for SlowFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.pass();
        self.1.append(bytes)
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.1.cut(len)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.0.pass();
        self.1.sync()
    }
}

struct Sink(JournalHandle);

impl TapSink for Sink {
    fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
        self.0.try_media(block)
    }
    fn event(&self, event: TapEvent) {
        self.0.event(event).unwrap();
    }
}

/// A call of two phones through relay and journal.
struct Talk {
    id: CallId,
    local: [SocketAddr; 2],
    phones: [UdpSocket; 2],
    said: u16,
}

impl Talk {
    fn start(number: u8, relays: &mut Relays, reports: &Receiver<Report>, sink: &Sink) -> Self {
        let id = CallId::mint(Timestamp::from_micros(1), [number; 10]);
        assert!(relays.open(id, AnchoredClock::start()));
        let Ok(Report::Opened { local, .. }) = reports.recv_timeout(DEADLINE) else {
            panic!("not opened")
        };
        let phones = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        for (phone, lane) in phones.iter().zip(Lane::BOTH) {
            phone.set_read_timeout(Some(DEADLINE)).unwrap();
            let rtp = phone.local_addr().unwrap();
            relays.point(id, lane, Some(RelayRemote { rtp, rtcp: rtp }));
        }
        let at = AnchoredClock::start().now().wall;
        let answered = TapKind::Answered { extension: "8001".into() };
        for kind in [TapKind::Offered(offer()), answered] {
            sink.event(TapEvent { call_id: id, at, kind });
        }
        relays.start_recording(id);
        // It has obeyed all that once it answers.
        relays.pause_recording(id, false);
        let paused = reports.recv_timeout(DEADLINE);
        assert!(matches!(paused, Ok(Report::RecordingPaused { .. })), "{paused:?}");
        Self { id, local, phones, said: 0 }
    }

    /// The customer says a word, and the agent hears it.
    fn word(&mut self) {
        self.said += 1;
        let mut packet = vec![0x80, 8];
        packet.extend(self.said.to_be_bytes());
        packet.resize(172, self.id.0.as_bytes()[15]);
        self.phones[0].send_to(&packet, self.local[0]).unwrap();
        let mut heard = [0; 2048];
        let (len, _) = self.phones[1].recv_from(&mut heard).expect("the relay waits for the disk");
        assert_eq!(heard[..len], packet);
    }
}

fn offer() -> Offer {
    Offer {
        direction: Direction::Inbound,
        dealership_id: DealershipId::from(uuid::Uuid::from_u128(1)),
        caller: Party {
            number: "13812345678".into(),
            display_name: None,
            presentation: Presentation::Allowed,
        },
        called: "02155550000".into(),
        trunk: None,
        line_id: None,
        extension: None,
        user_id: None,
        follow_up_id: None,
    }
}

#[test]
fn a_disk_that_hangs_costs_recordings_and_never_a_packet_and_each_call_knows_its_own_loss() {
    let folder = tempfile::tempdir().unwrap();
    let gate = Arc::new(Gate::default());
    let settings = JournalSettings {
        free_floor_bytes: 0,
        media_queue_blocks: 4,
        ..JournalSettings::new(folder.path())
    };
    let disk = Box::new(SlowDisk(Arc::clone(&gate)));
    let (journal, _) = Journal::open_on(vec![(disk, settings)], |_| {}).unwrap();
    let sink = Arc::new(Sink(journal.handle()));
    let ports = Ports::claim();
    let mut config = RelayConfig::at(Ipv4Addr::LOCALHOST.into());
    config.ports = ports.rtp().0..=ports.rtp().1;
    config.threads = 1;
    let (report, reports) = sync_channel(64);
    let mut relays = Relays::start(
        &config,
        Arc::clone(&sink) as Arc<dyn TapSink>,
        Arc::new(SpareBlocks::new(4)),
        Arc::new(move |it| {
            report.try_send(it).map_err(|err| match err {
                TrySendError::Full(it) | TrySendError::Disconnected(it) => it,
            })
        }),
    )
    .unwrap();
    let mut talks = [1, 2, 3].map(|number| Talk::start(number, &mut relays, &reports, &sink));
    let watch = relays.watch();
    let dropped = |id| {
        let now = AnchoredClock::start().now().wall;
        watch.call(id, now).map_or(0, |call| call.lanes[0].tap_dropped_packets)
    };
    // The third call is over for its phones before the disk hangs.
    for _ in 0..100 {
        talks.iter_mut().for_each(Talk::word);
    }
    assert!(relays.close(talks[2].id));
    let closed = reports.recv_timeout(DEADLINE).unwrap();
    assert!(matches!(closed, Report::Closed { tap_dropped_packets: [0, 0], .. }), "{closed:?}");

    gate.shut(true);
    while talks[..2].iter().any(|talk| dropped(talk.id) < 100) {
        talks[..2].iter_mut().for_each(Talk::word);
        assert!(talks[0].said < 30_000, "nothing is dropped: is the queue bounded?");
    }
    gate.shut(false);
    for talk in &mut talks[..2] {
        for _ in 0..100 {
            talk.word();
        }
        assert!(relays.close(talk.id));
        let closed = reports.recv_timeout(DEADLINE).unwrap();
        let Report::Closed { call_id, received_packets, tap_dropped_packets, .. } = closed else {
            panic!("{closed:?}")
        };
        assert_eq!((call_id, received_packets), (talk.id, [u64::from(talk.said), 0]));
        assert!(tap_dropped_packets[0] >= 100 && tap_dropped_packets[1] == 0);
        sink.0.flush().unwrap();
        let mut kept = 0;
        let records = sink.0.read(talk.id).unwrap();
        let word = talk.id.0.as_bytes()[15];
        let read = records.packets(|packet| {
            kept += 1;
            assert!(packet.bytes[4..].iter().all(|byte| *byte == word), "another call's word");
            Ok::<(), JournalError>(())
        });
        assert_eq!(read.unwrap().damaged_records, 0);
        assert_eq!(
            kept + tap_dropped_packets[0],
            u64::from(talk.said),
            "each packet is accounted for"
        );
    }
    let mut kept = 0;
    let whole = sink.0.read(talks[2].id).unwrap();
    whole
        .packets(|_| {
            kept += 1;
            Ok::<(), JournalError>(())
        })
        .unwrap();
    assert_eq!(kept, 100);
}
