//! A writer on a disk that fails, driven by inputs and a made-up clock.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicI64;

use cheling_model::call::{Offer, Party};
use cheling_model::tap::{PacketKind, TapPacket};
use cheling_model::{DealershipId, Direction, EndCause, Lane, TapKind, Timestamp};
use uuid::Uuid;

use super::super::*;
use crate::disk::AppendFile;

pub(super) fn call(n: u128) -> CallId {
    CallId(Uuid::from_u128(n))
}

pub(super) fn event(call_id: CallId, kind: TapKind) -> Input {
    Input::Event(Box::new(TapEvent { call_id, at: Timestamp::from_micros(1), kind }))
}

pub(in crate::journal) fn offered(call_id: CallId) -> Input {
    let offer = Offer {
        direction: Direction::Inbound,
        dealership_id: DealershipId(Uuid::from_u128(1)),
        caller: Party::default(),
        called: "4001".into(),
        trunk: None,
        line_id: None,
        extension: None,
        user_id: None,
        follow_up_id: None,
    };
    event(call_id, TapKind::Offered(offer))
}

pub(super) fn answered(call_id: CallId) -> Input {
    event(call_id, TapKind::Answered { extension: "8001".into() })
}

pub(super) fn ended(call_id: CallId) -> Input {
    event(call_id, TapKind::Ended { cause: EndCause::HungUp, by: None, sip_status: None })
}

pub(super) fn relay_closed(call_id: CallId) -> Input {
    let kind = TapKind::RelayClosed { received_packets: [1, 1], tap_dropped_packets: [0; 2] };
    event(call_id, kind)
}

pub(super) fn media(packets: &[(CallId, &[u8])]) -> Input {
    let mut block = TapBlock::default();
    for &(call_id, bytes) in packets {
        let at = Timestamp::from_micros(7);
        let (lane, kind) = (Lane::Agent, PacketKind::Rtp);
        block.push(TapPacket { call_id, lane, voice: 0, kind, at, bytes });
    }
    Input::Media(block)
}

/// A disk that has `room` bytes and says that `free` are left.

#[derive(Clone, Debug)]
pub(super) struct SmallDisk {
    pub(super) room: Arc<AtomicI64>,
    pub(super) free: Arc<AtomicU64>,
}

impl SmallDisk {
    pub(super) fn new() -> Self {
        let room = Arc::new(AtomicI64::new(i64::MAX));
        Self { room, free: Arc::new(AtomicU64::new(u64::MAX)) }
    }
}

struct SmallFile {
    file: Box<dyn AppendFile>,
    room: Arc<AtomicI64>,
}

impl Disk for SmallDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let file = LocalDisk.create(path)?;
        Ok(Box::new(SmallFile { file, room: self.room.clone() }))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::Relaxed))
    }
}

impl AppendFile for SmallFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len = bytes.len() as i64;
        let room = self.room.fetch_sub(len, Ordering::Relaxed);
        if room >= len {
            return self.file.append(bytes);
        }
        // As a full disk does: some of it is written.
        self.room.store(0, Ordering::Relaxed);
        self.file.append(&bytes[..room.max(0) as usize])?;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) settings: JournalSettings,
    pub(super) disk: SmallDisk,
    pub(super) writer: Option<Writer>,
    pub(super) now: Instant,
    pub(super) finished: Arc<Mutex<Vec<CallId>>>,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = JournalSettings {
            segment_bytes: 64 << 10,
            free_floor_bytes: 1000,
            ..JournalSettings::new(folder.path())
        };
        let (disk, now) = (SmallDisk::new(), Instant::now());
        let mut bench =
            Self { folder, settings, disk, writer: None, now, finished: Arc::default() };
        bench.open();
        bench
    }

    pub(super) fn open(&mut self) -> RecoveryReport {
        self.writer = None;
        let finished = self.finished.clone();
        let on_finished = move |call_id| finished.lock().unwrap().push(call_id);
        let (writer, report) = Writer::open(
            Box::new(self.disk.clone()),
            self.settings.clone(),
            Box::new(on_finished),
            self.now,
        )
        .unwrap();
        self.writer = Some(writer);
        report
    }

    /// Drops the writer without letting it write: what a kill -9 does.
    pub(super) fn kill(&mut self) -> RecoveryReport {
        self.open()
    }

    pub(super) fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().unwrap()
    }

    pub(super) fn take(&mut self, inputs: impl IntoIterator<Item = Input>) {
        for input in inputs {
            let now = self.now;
            if matches!(input, Input::Media(_)) {
                self.writer().shared().media_waiting.fetch_add(1, Ordering::AcqRel);
            }
            self.writer().handle(now, input);
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 250 {
            self.now += WRITE_EVERY;
            let now = self.now;
            self.writer().tick(now);
        }
    }

    pub(super) fn records(&mut self, call_id: CallId) -> Option<CallRecords> {
        let shared = self.writer().shared();
        let index = shared.index();
        Some(CallRecords::new(shared.folder.clone(), call_id, index.call(call_id)?))
    }

    pub(super) fn packets(&mut self, call_id: CallId) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let records = self.records(call_id).unwrap();
        records
            .packets(|packet| -> Result<(), JournalError> {
                found.push(packet.bytes.to_vec());
                Ok(())
            })
            .unwrap();
        found
    }

    pub(super) fn finished(&self) -> Vec<CallId> {
        self.finished.lock().unwrap().clone()
    }

    pub(super) fn segments(&self) -> Vec<u32> {
        let found = recovery::segments(self.folder.path()).unwrap();
        found.into_iter().map(|(number, _)| number).collect()
    }
}
