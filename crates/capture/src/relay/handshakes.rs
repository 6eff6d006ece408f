//! The handshakes of all calls (DTLS, RFC 5764), on one thread of their own: a step of one takes up
//! to a millisecond, which packets of other calls must not wait for.
//!
//! A relay thread hands over what belongs to a handshake; what comes of it goes back to that thread
//! as a command. Datagrams that find the queue full are dropped and counted: a handshake sends again
//! what has no answer. What comes back waits for room: keys are not made twice.

use super::poller::Waker;
use super::thread::Command;
use cheling_call::io::Speaker;
use cheling_media::dtls::{Association, Event, Fingerprint, Identity, Role};
use cheling_model::CallId;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Datagrams and beginnings that may wait: some hundred calls that begin at once.
const QUEUE: usize = 1024;
/// The largest datagram of a handshake that is taken: certificates come in pieces.
const MAX_DATAGRAM_BYTES: usize = 4096;
/// How long an association is kept that has brought its keys, or none: the other end may have missed
/// our last word.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// An association's number, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AssociationId(u64);

/// Whose handshake it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) thread: usize,
    pub(super) call_id: CallId,
    pub(super) who: Speaker,
}

enum Request {
    Begin { id: AssociationId, owner: Owner, identity: u8, role: Role, theirs: Fingerprint },
    Datagram { id: AssociationId, bytes: Box<[u8]> },
}

/// Hands over to the thread. Cheap to clone.
#[derive(Clone)]
pub(super) struct Handshakes {
    requests: SyncSender<Request>,
    next: Arc<AtomicU64>,
}

/// Where what comes of a handshake goes: the relay threads.
pub(super) type Owners = Arc<RwLock<Vec<(SyncSender<Command>, Waker)>>>;

impl Handshakes {
    /// Starts the thread, which ends with the last of these handles.
    pub(super) fn start(
        identities: Arc<[Identity]>,
        owners: Owners,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (requests, receiver) = sync_channel(QUEUE);
        let join = std::thread::Builder::new()
            .name("handshakes".into())
            .spawn(move || Thread::new(identities, owners).run(&receiver))?;
        Ok((Self { requests, next: Arc::default() }, join))
    }

    /// Begins an association; `None` if too many wait.
    pub(super) fn begin(
        &self,
        owner: Owner,
        identity: u8,
        role: Role,
        theirs: Fingerprint,
    ) -> Option<AssociationId> {
        let id = AssociationId(self.next.fetch_add(1, Ordering::Relaxed));
        let begin = Request::Begin { id, owner, identity, role, theirs };
        self.requests.try_send(begin).is_ok().then_some(id)
    }

    /// Hands a datagram over; false if it is dropped.
    pub(super) fn receive(&self, id: AssociationId, datagram: &[u8]) -> bool {
        if datagram.len() > MAX_DATAGRAM_BYTES {
            return false;
        }
        match self.requests.try_send(Request::Datagram { id, bytes: datagram.into() }) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

struct Kept {
    owner: Owner,
    association: Association,
    /// When it is forgotten.
    until: Instant,
}

struct Thread {
    identities: Arc<[Identity]>,
    owners: Owners,
    kept: HashMap<AssociationId, Kept>,
}

impl Thread {
    fn new(identities: Arc<[Identity]>, owners: Owners) -> Self {
        Self { identities, owners, kept: HashMap::new() }
    }

    fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let request = match self.wait() {
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => requests.recv_timeout(wait),
            };
            let now = Instant::now();
            match request {
                Ok(request) => self.handle(now, request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.run_timers(now);
        }
    }

    fn wait(&self) -> Option<Duration> {
        let due = self.kept.values().map(|kept| match kept.association.due() {
            Some(due) => due.min(kept.until),
            None => kept.until,
        });
        due.min().map(|due| due.saturating_duration_since(Instant::now()))
    }

    fn handle(&mut self, now: Instant, request: Request) {
        let id = match request {
            Request::Begin { id, owner, identity, role, theirs } => {
                let Some(identity) = self.identities.get(usize::from(identity)) else { return };
                let association = Association::new(identity, role, theirs, now);
                self.kept.insert(id, Kept { owner, association, until: now + KEPT_FOR });
                id
            }
            Request::Datagram { id, bytes } => {
                let Some(kept) = self.kept.get_mut(&id) else { return };
                kept.association.receive(now, &bytes);
                id
            }
        };
        self.tell(id, now);
    }

    fn run_timers(&mut self, now: Instant) {
        let is_due = |kept: &Kept| kept.association.due().is_some_and(|due| due <= now);
        let due: Vec<_> =
            self.kept.iter().filter(|(_, kept)| is_due(kept)).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(kept) = self.kept.get_mut(&id) {
                kept.association.handle_timeout(now);
            }
            self.tell(id, now);
        }
        self.kept.retain(|_, kept| kept.until > now);
    }

    /// Tells the owner what there is to tell.
    fn tell(&mut self, id: AssociationId, now: Instant) {
        let Some(kept) = self.kept.get_mut(&id) else { return };
        let owner = kept.owner;
        let mut events = Vec::new();
        while let Some(event) = kept.association.poll() {
            if !matches!(event, Event::Send(_)) {
                kept.until = now + KEPT_FOR;
            }
            events.push(event);
        }
        if events.is_empty() {
            return;
        }
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        let Some((commands, waker)) = owners.get(owner.thread) else { return };
        for event in events {
            let Owner { call_id, who, .. } = owner;
            // Fails only when the thread is gone, and its calls with it.
            let _ = commands.send(Command::Handshake { call_id, who, id, event: Box::new(event) });
        }
        waker.wake();
    }
}
