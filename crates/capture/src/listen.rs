//! Copies of one running call's packets and events for those who listen in.
//!
//! Taken where the packets go into the journal, so the relay does not know of it, nothing is added
//! to the way of a packet, and what is not recorded (a pause) is not heard either. As long as
//! nobody listens it costs one look at a number for each block of packets.
//!
//! Queues are bounded: whoever is behind misses packets, and they are counted. The number of
//! listeners is bounded too.

use crate::sink::TapSink;
use cheling_model::tap::{PacketKind, TapBlock};
use cheling_model::{CallId, Lane, TapEvent, TapKind, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::mpsc;

/// Packets and events that may wait for one listener: some 5 s of both sides.
const QUEUE: usize = 512;
/// Who may listen at once, to all calls and to one.
const MAX_LISTENERS: usize = 32;
/// See [`MAX_LISTENERS`].
const MAX_LISTENERS_OF_CALL: usize = 4;
/// Running calls whose formats are remembered; more cannot be listened to.
const MAX_CALLS: usize = 20_000;
/// Descriptions remembered of one call: both lanes and all their voices.
const MAX_FORMATS: usize = 16;

/// What a listener gets.
#[derive(Clone, Debug)]
pub enum Overheard {
    /// An RTP packet.
    Packet {
        /// Who sent it.
        lane: Lane,
        /// Which voice of the lane.
        voice: u8,
        /// When it arrived.
        at: Timestamp,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Something happened to the call.
    Event(TapEvent),
}

/// Why nobody can listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenRefusal {
    /// No such call runs here.
    #[error("no such call is running")]
    NotRunning,
    /// As many listen as may.
    #[error("too many listen already")]
    TooMany,
}

/// All that is listened to, and what must be known to begin.
#[derive(Debug, Default)]
pub struct Listeners {
    calls: Mutex<HashMap<CallId, Known>>,
    queues: RwLock<Vec<Queue>>,
    count: AtomicUsize,
    next: AtomicU64,
    dropped: AtomicU64,
}

/// What a call's packets mean, and where it stands.
#[derive(Debug, Default)]
struct Known {
    is_answered: bool,
    /// The last `Formats` of each lane and voice, and `RecordingPaused` while it is.
    events: Vec<TapEvent>,
}

#[derive(Debug)]
struct Queue {
    id: u64,
    call_id: CallId,
    sender: mpsc::Sender<Overheard>,
}

/// One who listens; no longer once this is dropped.
#[derive(Debug)]
pub struct Listening {
    listeners: Arc<Listeners>,
    id: u64,
    receiver: mpsc::Receiver<Overheard>,
}

impl Listening {
    /// The next packet or event; `None` once the call is over.
    pub async fn next(&mut self) -> Option<Overheard> {
        self.receiver.recv().await
    }

    /// The next one, if it is here already.
    pub fn try_next(&mut self) -> Option<Overheard> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listeners.change(|queues| queues.retain(|queue| queue.id != self.id));
    }
}

impl Listeners {
    /// Begins to listen. First comes what is known of the call: its formats, and whether its
    /// recording is paused.
    ///
    /// # Errors
    /// [`ListenRefusal`].
    pub fn listen(self: &Arc<Self>, call_id: CallId) -> Result<Listening, ListenRefusal> {
        let id = self.next.fetch_add(1, Relaxed);
        let (sender, receiver) = mpsc::channel(QUEUE);
        // Held to the end, so that no event falls between what is known and what is new.
        let calls = self.calls();
        let known = calls.get(&call_id).filter(|known| known.is_answered);
        let known = known.ok_or(ListenRefusal::NotRunning)?;
        for event in &known.events {
            let _room_for_all = sender.try_send(Overheard::Event(event.clone()));
        }
        self.change(|queues| {
            let of_call = queues.iter().filter(|queue| queue.call_id == call_id).count();
            if queues.len() >= MAX_LISTENERS || of_call >= MAX_LISTENERS_OF_CALL {
                return Err(ListenRefusal::TooMany);
            }
            queues.push(Queue { id, call_id, sender });
            Ok(())
        })?;
        drop(calls);
        Ok(Listening { listeners: Arc::clone(self), id, receiver })
    }

    /// How many listen now.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Packets that listeners missed because they were behind.
    pub fn dropped_packets(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Each change is made whole before a lock is let go, so a panic elsewhere leaves no mess.
    fn calls(&self) -> MutexGuard<'_, HashMap<CallId, Known>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Queue>) -> T) -> T {
        let mut queues = self.queues.write().unwrap_or_else(PoisonError::into_inner);
        let done = change(&mut queues);
        self.count.store(queues.len(), Relaxed);
        done
    }

    /// The packets of a block that somebody listens to. Never waits: while the list of listeners
    /// changes, they miss a block.
    fn copy(&self, block: &TapBlock) -> Vec<(mpsc::Sender<Overheard>, Overheard)> {
        let mut copies = Vec::new();
        let Ok(queues) = self.queues.try_read() else { return copies };
        for packet in block.packets().flatten() {
            if packet.kind != PacketKind::Rtp {
                continue;
            }
            for queue in queues.iter().filter(|queue| queue.call_id == packet.call_id) {
                let copy = Overheard::Packet {
                    lane: packet.lane,
                    voice: packet.voice,
                    at: packet.at,
                    bytes: packet.bytes.to_vec(),
                };
                copies.push((queue.sender.clone(), copy));
            }
        }
        copies
    }

    fn hand_out(&self, copies: Vec<(mpsc::Sender<Overheard>, Overheard)>) {
        for (sender, copy) in copies {
            if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(copy) {
                self.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    fn note(&self, event: &TapEvent) {
        let mut calls = self.calls();
        if let TapKind::RelayClosed { .. } = event.kind {
            calls.remove(&event.call_id);
            self.change(|queues| queues.retain(|queue| queue.call_id != event.call_id));
            return;
        }
        if calls.len() >= MAX_CALLS && !calls.contains_key(&event.call_id) {
            return;
        }
        let known = match &event.kind {
            TapKind::Offered(_) => calls.entry(event.call_id).or_default(),
            _ => match calls.get_mut(&event.call_id) {
                Some(known) => known,
                None => return,
            },
        };
        known.note(event);
        if self.count() > 0 {
            let queues = self.queues.read().unwrap_or_else(PoisonError::into_inner);
            for queue in queues.iter().filter(|queue| queue.call_id == event.call_id) {
                let told = queue.sender.try_send(Overheard::Event(event.clone()));
                self.dropped.fetch_add(u64::from(told.is_err()), Relaxed);
            }
        }
    }
}

impl Known {
    fn note(&mut self, event: &TapEvent) {
        match &event.kind {
            TapKind::Answered { .. } => self.is_answered = true,
            TapKind::Formats { lane, voice, .. } => {
                let (lane, voice) = (*lane, *voice);
                self.events.retain(|known| {
                    !matches!(known.kind, TapKind::Formats { lane: l, voice: v, .. }
                        if (l, v) == (lane, voice))
                });
                if self.events.len() < MAX_FORMATS {
                    self.events.push(event.clone());
                }
            }
            TapKind::RecordingPaused { .. } => self.events.push(event.clone()),
            TapKind::RecordingResumed { .. } => {
                self.events.retain(|it| !matches!(it.kind, TapKind::RecordingPaused { .. }));
            }
            _ => {}
        }
    }
}

/// The journal, with listeners before it.
pub struct ListeningSink {
    journal: Arc<dyn TapSink>,
    listeners: Arc<Listeners>,
}

impl ListeningSink {
    /// Puts listeners before the journal.
    pub fn new(journal: Arc<dyn TapSink>, listeners: Arc<Listeners>) -> Self {
        Self { journal, listeners }
    }
}

impl TapSink for ListeningSink {
    fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
        if self.listeners.count() == 0 {
            return self.journal.packets(block);
        }
        let copies = self.listeners.copy(&block);
        // A block that is refused comes again.
        self.journal.packets(block)?;
        self.listeners.hand_out(copies);
        Ok(())
    }

    fn event(&self, event: TapEvent) {
        self.listeners.note(&event);
        self.journal.event(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_model::call::{Offer, Party, PausedBy};
    use cheling_model::tap::TapPacket;
    use cheling_model::{DealershipId, Direction, EndCause};
    use std::sync::atomic::AtomicBool;

    #[derive(Default)]
    struct Journal {
        is_full: AtomicBool,
        events: AtomicU64,
    }

    impl TapSink for Journal {
        fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
            if self.is_full.load(Relaxed) { Err(block) } else { Ok(()) }
        }
        fn event(&self, _: TapEvent) {
            self.events.fetch_add(1, Relaxed);
        }
    }

    fn id(number: u8) -> CallId {
        CallId::mint(Timestamp::from_micros(1), [number; 10])
    }

    fn event(call_id: CallId, kind: TapKind) -> TapEvent {
        TapEvent { call_id, at: Timestamp::from_micros(1), kind }
    }

    fn offered() -> TapKind {
        TapKind::Offered(Offer {
            direction: Direction::Inbound,
            dealership_id: DealershipId::mint(Timestamp::from_micros(1), [0; 10]),
            caller: Party::default(),
            called: String::new(),
            trunk: None,
            line_id: None,
            extension: None,
            user_id: None,
            follow_up_id: None,
        })
    }

    fn formats(lane: Lane) -> TapKind {
        TapKind::Formats { lane, voice: 0, formats: Vec::new() }
    }

    fn block(calls: &[u8]) -> TapBlock {
        let mut block = TapBlock::default();
        for (&call, byte) in calls.iter().zip(0..) {
            for kind in [PacketKind::Rtp, PacketKind::Rtcp] {
                block.push(TapPacket {
                    call_id: id(call),
                    lane: Lane::Agent,
                    voice: 0,
                    kind,
                    at: Timestamp::from_micros(5),
                    bytes: &[byte],
                });
            }
        }
        block
    }

    fn answered(sink: &ListeningSink, call: u8) {
        for kind in [
            offered(),
            formats(Lane::Customer),
            formats(Lane::Agent),
            TapKind::Answered { extension: "8001".into() },
        ] {
            sink.event(event(id(call), kind));
        }
    }

    fn rig() -> (Arc<Journal>, Arc<Listeners>, ListeningSink) {
        let (journal, listeners) = (Arc::new(Journal::default()), Arc::new(Listeners::default()));
        let sink = ListeningSink::new(journal.clone(), Arc::clone(&listeners));
        (journal, listeners, sink)
    }

    async fn next(listening: &mut Listening) -> Overheard {
        listening.next().await.unwrap()
    }

    #[tokio::test]
    async fn a_listener_hears_its_call_alone_until_it_is_over() {
        let (journal, listeners, sink) = rig();
        assert_eq!(listeners.listen(id(1)).unwrap_err(), ListenRefusal::NotRunning);
        sink.event(event(id(1), offered()));
        assert_eq!(listeners.listen(id(1)).unwrap_err(), ListenRefusal::NotRunning);
        answered(&sink, 1);
        answered(&sink, 2);
        // Told anew, the formats of before are forgotten.
        sink.event(event(id(1), formats(Lane::Agent)));
        sink.packets(block(&[1])).unwrap();
        let mut listening = listeners.listen(id(1)).unwrap();
        for want in [Lane::Customer, Lane::Agent] {
            let Overheard::Event(event) = next(&mut listening).await else { panic!() };
            assert_eq!(event.kind, formats(want));
        }
        // What the journal refuses is heard once, when it takes it.
        journal.is_full.store(true, Relaxed);
        let refused = sink.packets(block(&[2, 1])).unwrap_err();
        journal.is_full.store(false, Relaxed);
        sink.packets(refused).unwrap();
        let Overheard::Packet { lane, bytes, .. } = next(&mut listening).await else { panic!() };
        assert_eq!((lane, bytes), (Lane::Agent, vec![1]));
        let ended = TapKind::Ended { cause: EndCause::HungUp, by: None, sip_status: None };
        sink.event(event(id(1), ended.clone()));
        let Overheard::Event(event_) = next(&mut listening).await else { panic!() };
        assert_eq!(event_.kind, ended);
        let closed = TapKind::RelayClosed { received_packets: [0; 2], tap_dropped_packets: [0; 2] };
        sink.event(event(id(1), closed));
        assert!(listening.next().await.is_none());
        assert_eq!(listeners.count(), 0);
        assert_eq!(journal.events.load(Relaxed), 12);
        assert_eq!(listeners.listen(id(1)).unwrap_err(), ListenRefusal::NotRunning);
    }

    #[tokio::test]
    async fn whoever_is_behind_misses_packets_and_they_are_counted() {
        let (_, listeners, sink) = rig();
        answered(&sink, 1);
        let slow = listeners.listen(id(1)).unwrap();
        for _ in 0..QUEUE + 100 {
            sink.packets(block(&[1])).unwrap();
        }
        assert_eq!(listeners.dropped_packets(), 100 + 2);
        drop(slow);
        assert_eq!(listeners.count(), 0);
    }

    #[tokio::test]
    async fn only_so_many_listen_and_a_pause_is_told_first() {
        let (_, listeners, sink) = rig();
        answered(&sink, 1);
        let by = PausedBy::Phone;
        let paused = TapKind::RecordingPaused { by, until: Timestamp::from_micros(9) };
        sink.event(event(id(1), paused.clone()));
        let mut many: Vec<_> =
            (0..MAX_LISTENERS_OF_CALL).map(|_| listeners.listen(id(1)).unwrap()).collect();
        assert_eq!(listeners.listen(id(1)).unwrap_err(), ListenRefusal::TooMany);
        next(&mut many[0]).await;
        next(&mut many[0]).await;
        let Overheard::Event(told) = next(&mut many[0]).await else { panic!() };
        assert_eq!(told.kind, paused);
        many.pop();
        assert!(listeners.listen(id(1)).is_ok());
        sink.event(event(id(1), TapKind::RecordingResumed { by }));
        many.clear();
        let mut after = listeners.listen(id(1)).unwrap();
        next(&mut after).await;
        next(&mut after).await;
        assert!(after.receiver.try_recv().is_err());
    }
}
