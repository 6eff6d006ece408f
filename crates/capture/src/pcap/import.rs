//! Plays a capture file into a sink: the same events and packets as of live calls, with the
//! times of the capture.

use super::file::{FileError, Frame, read_frames};
use super::media::{Attributed, MediaTable};
use super::protected::{Protected, Taken};
use super::streams::{Streams, is_sip};
use super::wire::{Decoder, Packet};
use crate::sink::TapSink;
use cheling_call::observer::{Observer, Perspective, Seen};
use cheling_media::srtp::MasterKey;
use cheling_model::call::Format;
use cheling_model::tap::{PacketKind, TapBlock, TapPacket};
use cheling_model::{CallId, Lane, TapEvent, TapKind, Timestamp};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A block is handed on at this size.
const BLOCK_BYTES: usize = 64 * 1024;
/// Room of a block for the packet that fills it: any but the longest.
const USUAL_FRAME_BYTES: usize = 2048;
/// How often progress is told.
const FRAMES_PER_PROGRESS: u64 = 4096;
/// How long to wait when the sink is full: nobody is talking, so there is time.
const SINK_PAUSE: Duration = Duration::from_millis(5);

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read of the file.
    pub read_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Frames read.
    pub frames: u64,
}

/// What a capture held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// Frames in the file.
    pub frames: u64,
    /// SIP messages.
    pub sip_messages: u64,
    /// Calls, in the order in which they began.
    pub calls: Vec<CallId>,
    /// Calls that were answered.
    pub answered_calls: u64,
    /// RTP packets of answered calls.
    pub rtp_packets: u64,
    /// RTCP packets of answered calls.
    pub rtcp_packets: u64,
    /// SRTP and SRTCP of a side that could be opened but for these packets.
    pub refused_packets: u64,
    /// RTP and RTCP that belongs to a call which was not answered then.
    pub unrecorded_packets: u64,
    /// Packets that look like RTP or RTCP and belong to no call.
    pub unclaimed_packets: u64,
    /// The file is broken after its last good frame.
    pub fault: Option<FileError>,
}

/// Why nothing could be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no capture file.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: FileError,
    },
}

/// Reads a whole capture file into `sink`. A file that breaks off is imported as far as it goes.
/// Blocks; call it from a thread that may.
///
/// # Errors
/// [`ImportError`] if the file cannot be opened or is no capture.
pub fn import(
    path: &Path,
    perspective: Perspective,
    sink: &dyn TapSink,
    mut progress: impl FnMut(Progress),
) -> Result<ImportReport, ImportError> {
    let file =
        File::open(path).map_err(|source| ImportError::Open { path: path.to_owned(), source })?;
    let file_bytes = file.metadata().map_or(0, |metadata| metadata.len());
    let read_bytes = Arc::new(AtomicU64::new(0));
    let reader = Counting { file, read_bytes: Arc::clone(&read_bytes) };
    let mut import = Import::new(perspective, sink);
    let result = read_frames(reader, |frame| {
        import.frame(frame);
        if import.report.frames.is_multiple_of(FRAMES_PER_PROGRESS) {
            let read_bytes = read_bytes.load(Ordering::Relaxed);
            progress(Progress { read_bytes, file_bytes, frames: import.report.frames });
        }
    });
    if let Err(source @ FileError::NotACapture) = result {
        return Err(ImportError::File { path: path.to_owned(), source });
    }
    let mut report = import.finish();
    report.fault = result.err();
    progress(Progress { read_bytes: file_bytes, file_bytes, frames: report.frames });
    Ok(report)
}

/// An import under way, frame by frame.
pub struct Import<'a> {
    observer: Observer,
    decoder: Decoder,
    streams: Streams,
    media: MediaTable,
    recorder: Recorder<'a>,
    report: ImportReport,
    last: Timestamp,
}

impl<'a> Import<'a> {
    /// An import into `sink`.
    pub fn new(perspective: Perspective, sink: &'a dyn TapSink) -> Self {
        Self {
            observer: Observer::new(perspective),
            decoder: Decoder::default(),
            streams: Streams::default(),
            media: MediaTable::default(),
            recorder: Recorder { sink, block: TapBlock::default(), calls: HashMap::default() },
            report: ImportReport::default(),
            last: Timestamp::default(),
        }
    }

    /// Takes the next frame.
    pub fn frame(&mut self, frame: Frame<'_>) {
        self.report.frames += 1;
        // A merged capture may step back a little; events must not.
        self.last = self.last.max(frame.at);
        let Self { observer, decoder, streams, media, recorder, report, .. } = self;
        decoder.decode(frame, |packet| match packet {
            Packet::Udp { from, to, payload } => {
                if is_sip(payload) {
                    report.sip_messages += 1;
                    observer.handle(frame.at, from, to, payload);
                } else if let Some(packet) = media.datagram(frame.at, from, to, payload) {
                    recorder.packet(packet, report);
                }
            }
            Packet::Tcp { from, to, sequence_number, flags, payload } => {
                let ends = (from, to);
                streams.segment(frame.at, ends, sequence_number, flags, payload, |message| {
                    report.sip_messages += 1;
                    observer.handle(frame.at, from, to, message);
                });
            }
        });
        self.drain();
    }

    /// Ends what has not ended, hands on what is left, and says what was found.
    pub fn finish(mut self) -> ImportReport {
        let recorder = &self.recorder;
        self.observer.finish(self.last, |call_id| recorder.last_packet_at(call_id));
        self.drain();
        self.recorder.flush();
        self.report.unclaimed_packets = self.media.unclaimed_packets();
        self.report
    }

    fn drain(&mut self) {
        while let Some(seen) = self.observer.poll() {
            match seen {
                Seen::Listens { call_id, lane, rtp, rtcp, behind_nat } => {
                    let Self { media, recorder, report, .. } = self;
                    for address in rtcp.into_iter().chain(behind_nat) {
                        media.also(call_id, lane, address);
                    }
                    media.expect(call_id, lane, rtp, |packet| recorder.packet(packet, report));
                }
                Seen::Keys { call_id, lane, key, formats } => {
                    self.recorder.protect(call_id, lane, key, formats);
                }
                Seen::Tap(event) => {
                    match event.kind {
                        TapKind::Offered(_) => self.report.calls.push(event.call_id),
                        TapKind::Answered { .. } => self.report.answered_calls += 1,
                        TapKind::Ended { .. } => self.media.forget(event.call_id),
                        _ => {}
                    }
                    self.recorder.event(event);
                }
            }
        }
    }
}

/// Writes into the sink as the relay does: packets of answered calls only, and a call's packets
/// before its `RelayClosed`.
struct Recorder<'a> {
    sink: &'a dyn TapSink,
    block: TapBlock,
    /// Calls that are being recorded.
    calls: HashMap<CallId, Recording, RandomState>,
}

struct Recording {
    answered_at: Timestamp,
    last_packet_at: Timestamp,
    received_packets: [u64; Lane::BOTH.len()],
    /// Of the sides whose media is SRTP with keys that were seen.
    protected: [Option<Protected>; Lane::BOTH.len()],
}

impl Recorder<'_> {
    fn packet(&mut self, packet: Attributed<'_>, report: &mut ImportReport) {
        let Attributed { call_id, lane, kind, at, bytes } = packet;
        let recording = self.calls.get_mut(&call_id).filter(|call| at >= call.answered_at);
        let Some(recording) = recording else {
            report.unrecorded_packets += 1;
            return;
        };
        recording.last_packet_at = recording.last_packet_at.max(at);
        let protected = recording.protected[lane.index()].as_mut();
        let bytes = match protected.map(|protected| protected.take(kind, bytes)) {
            None | Some(Taken::AsItIs) => bytes,
            Some(Taken::Opened { plain, formats }) => {
                if let Some(formats) = formats {
                    let kind = TapKind::Formats { lane, voice: 0, formats };
                    self.sink.event(TapEvent { call_id, at, kind });
                }
                plain
            }
            Some(Taken::Refused) => {
                report.refused_packets += 1;
                return;
            }
        };
        match kind {
            PacketKind::Rtp => {
                recording.received_packets[lane.index()] += 1;
                report.rtp_packets += 1;
            }
            PacketKind::Rtcp => report.rtcp_packets += 1,
        }
        if self.block.is_empty() {
            self.block = TapBlock::with_capacity(BLOCK_BYTES + USUAL_FRAME_BYTES);
        }
        self.block.push(TapPacket { call_id, lane, voice: 0, kind, at, bytes });
        if self.block.len() >= BLOCK_BYTES {
            self.flush();
        }
    }

    /// From now on a side's media is protected by this key, or by none.
    fn protect(
        &mut self,
        call_id: CallId,
        lane: Lane,
        key: Option<MasterKey>,
        formats: Vec<Format>,
    ) {
        let Some(recording) = self.calls.get_mut(&call_id) else { return };
        let before = recording.protected[lane.index()].take();
        recording.protected[lane.index()] =
            key.and_then(|key| Protected::new(key, formats, before));
    }

    fn event(&mut self, mut event: TapEvent) {
        let (call_id, at) = (event.call_id, event.at);
        if let TapKind::Formats { lane, formats, .. } = &mut event.kind
            && let Some(recording) = self.calls.get(&call_id)
            && let Some(protected) = &recording.protected[lane.index()]
            && let Some(plain) = protected.formats()
        {
            formats.clone_from(plain);
        }
        let is_end = matches!(event.kind, TapKind::Ended { .. });
        if matches!(event.kind, TapKind::Answered { .. }) {
            let received_packets = [0; Lane::BOTH.len()];
            let recording = Recording {
                answered_at: at,
                last_packet_at: at,
                received_packets,
                protected: [None, None],
            };
            self.calls.insert(call_id, recording);
        }
        if is_end {
            self.flush();
        }
        self.sink.event(event);
        if is_end && let Some(recording) = self.calls.remove(&call_id) {
            let received_packets = recording.received_packets;
            let kind = TapKind::RelayClosed { received_packets, tap_dropped_packets: [0; 2] };
            self.sink.event(TapEvent { call_id, at, kind });
        }
    }

    /// When the last packet of a call that is being recorded was captured.
    fn last_packet_at(&self, call_id: CallId) -> Option<Timestamp> {
        self.calls.get(&call_id).map(|recording| recording.last_packet_at)
    }

    fn flush(&mut self) {
        let mut block = std::mem::take(&mut self.block);
        while !block.is_empty() {
            match self.sink.packets(block) {
                Ok(()) => return,
                Err(back) => block = back,
            }
            std::thread::sleep(SINK_PAUSE);
        }
    }
}

/// Counts what is read, for the progress bar.
struct Counting {
    file: File,
    read_bytes: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = self.file.read(buffer)?;
        self.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}
