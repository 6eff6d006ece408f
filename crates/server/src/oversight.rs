//! Running calls heard in the console, and watched for sides that are not heard.

use cheling_capture::{Handle, Listeners, Listening, Overheard};
use cheling_lookup::desk::{Desk, Silence};
use cheling_media::codec::PayloadMap;
use cheling_media::dtmf_tones::InbandDigits;
use cheling_media::live::LiveStereo;
use cheling_media::rtp::RtpPacket;
use cheling_model::call::Format;
use cheling_model::{CallId, Lane, TapKind, Timestamp};
use cheling_web::{Hub, ListenRefusal, LiveAudio, LivePart};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often the packets of running calls are counted.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Stretches of sound that may wait for one browser: several seconds. What it does not take is
/// left out.
const PARTS: usize = 32;

/// What has been counted, for `/metrics`.
#[derive(Debug, Default)]
pub struct OversightCounters {
    /// Times a side of a call fell silent.
    pub alarms: AtomicU64,
    /// Stretches of sound that browsers were too slow to take.
    pub left_out: AtomicU64,
}

/// The calls of this process, to be heard.
pub struct LiveCalls {
    listeners: Arc<Listeners>,
    digits: InbandDigits,
    counters: Arc<OversightCounters>,
}

impl LiveCalls {
    /// Those that `listeners` knows, with their digits heard or not.
    pub fn new(
        listeners: Arc<Listeners>,
        digits: InbandDigits,
        counters: Arc<OversightCounters>,
    ) -> Self {
        Self { listeners, digits, counters }
    }
}

impl LiveAudio for LiveCalls {
    fn listen(&self, call_id: CallId) -> Result<mpsc::Receiver<LivePart>, ListenRefusal> {
        let listening = self.listeners.listen(call_id).map_err(|refusal| match refusal {
            cheling_capture::ListenRefusal::NotRunning => ListenRefusal::NotRunning,
            cheling_capture::ListenRefusal::TooMany => ListenRefusal::TooMany,
        })?;
        let (sender, receiver) = mpsc::channel(PARTS);
        tokio::spawn(mix(listening, Ear::new(self.digits), sender, Arc::clone(&self.counters)));
        Ok(receiver)
    }
}

/// Makes sound of packets until the call is over or nobody listens any more.
async fn mix(
    mut listening: Listening,
    mut ear: Ear,
    parts: mpsc::Sender<LivePart>,
    counters: Arc<OversightCounters>,
) {
    loop {
        let first = tokio::select! {
            () = parts.closed() => return,
            first = listening.next() => match first {
                Some(first) => first,
                None => return,
            },
        };
        let mut made = Vec::new();
        made.extend(ear.hear(first));
        // Packets come by the block: what is here makes one stretch.
        while let Some(next) = listening.try_next() {
            made.extend(ear.hear(next));
        }
        made.extend(ear.take());
        for part in made {
            match parts.try_send(part) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    counters.left_out.fetch_add(1, Relaxed);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }
}

/// What one listener hears with.
struct Ear {
    digits: InbandDigits,
    formats: HashMap<(Lane, u8), PayloadMap>,
    unknown: PayloadMap,
    live: Option<LiveStereo>,
}

impl Ear {
    fn new(digits: InbandDigits) -> Self {
        let unknown = PayloadMap::default();
        Self { digits, formats: HashMap::new(), unknown, live: None }
    }

    fn hear(&mut self, overheard: Overheard) -> Option<LivePart> {
        match overheard {
            Overheard::Packet { lane, voice, at, bytes } => {
                let rtp = RtpPacket::parse(&bytes).ok()?;
                let map = self.formats.get(&(lane, voice)).or(self.formats.get(&(lane, 0)));
                let format = map.unwrap_or(&self.unknown).format(rtp.header.payload_type);
                let begin = || LiveStereo::new(at.as_micros(), self.digits);
                let live = self.live.get_or_insert_with(begin);
                live.push(lane.index(), voice, at.as_micros(), &rtp, format);
                None
            }
            Overheard::Event(event) => match event.kind {
                TapKind::Formats { lane, voice, formats } => {
                    self.formats.insert((lane, voice), payload_map(&formats));
                    None
                }
                TapKind::RecordingPaused { .. } => Some(LivePart::Paused(true)),
                TapKind::RecordingResumed { .. } => Some(LivePart::Paused(false)),
                _ => None,
            },
        }
    }

    fn take(&mut self) -> Option<LivePart> {
        let mut samples = Vec::new();
        let at = self.live.as_mut()?.take(&mut samples)?;
        Some(LivePart::Sound { at: Timestamp::from_micros(at), samples })
    }
}

fn payload_map(formats: &[Format]) -> PayloadMap {
    let mut map = PayloadMap::default();
    for Format { payload_type, encoding, clock_hz, channels } in formats {
        map.bind(*payload_type, encoding, *clock_hz, *channels);
    }
    map
}

/// Tells the desk each second how long the sides of the running calls have been silent, until
/// stopped.
///
/// Silence is measured from when a count last moved, so a stepped clock makes no alarm.
pub async fn watch_silence(
    capture: Handle,
    desk: Arc<Desk>,
    hub: Arc<Hub>,
    patience: Duration,
    counters: Arc<OversightCounters>,
    stop: CancellationToken,
) {
    if patience.is_zero() {
        return;
    }
    let mut counts: HashMap<CallId, [(u64, Instant); 2]> = HashMap::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        let (now, at) = (Instant::now(), crate::facts::now());
        let calls = capture.relays().calls(at);
        counts.retain(|known, _| calls.iter().any(|(call_id, _)| call_id == known));
        let silences: Vec<Silence> = calls
            .iter()
            .map(|(call_id, statistics)| {
                let known = counts.entry(*call_id).or_insert([(0, now); 2]);
                let silent_for = [0, 1].map(|lane| {
                    let packets = statistics.lanes[lane].rtp_packets;
                    if known[lane].0 != packets {
                        known[lane] = (packets, now);
                    }
                    (packets > 0).then(|| now.saturating_duration_since(known[lane].1))
                });
                Silence { call_id: *call_id, silent_for }
            })
            .collect();
        let before = desk.unheard();
        for notice in desk.note_silence(&silences, patience, at) {
            hub.publish(&notice);
        }
        let after = desk.unheard();
        let risen = after.iter().sum::<usize>().saturating_sub(before.iter().sum());
        counters.alarms.fetch_add(risen as u64, Relaxed);
    }
}
