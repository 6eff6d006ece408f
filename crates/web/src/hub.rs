//! Numbers the events of each user, keeps the last of them, and hands them to open WebSockets.
//!
//! # Numbers
//! Each user has a stream of events with its own `seq`, one more for each event. A stream begins at
//! the microseconds of the wall clock when it was made, or just above the highest number that this
//! process ever gave out, whichever is more. Events come far slower than microseconds, so a number
//! from before a restart is below the new beginning and gets `reset`; it is never taken for a number
//! of the new stream. Microseconds fit in a JavaScript number until the year 2255.
//!
//! # Resuming
//! `since` is the last number a browser has seen. If every later event is still kept (the last
//! [`Limits::events`], at most [`Limits::age`] old), exactly those are replayed, in order; otherwise
//! the browser gets one `reset` that carries the present number, reloads its snapshot, and goes on.
//! A snapshot reads the number first and the facts after, so an event between the two is replayed:
//! events are idempotent, so that is harmless, where the reverse would lose one.
//!
//! Belongs here: everything that can be decided without a socket. Does not: the socket (`socket`).

use cheling_model::console::{ConsoleEvent, Notice};
use cheling_model::{Timestamp, UserId};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// What the hub may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events kept for one user's replay.
    pub events: usize,
    /// How long they are kept.
    pub age: Duration,
    /// Users with a stream; above that the one idle for longest loses its own.
    pub users: usize,
    /// Open sockets of one user; above that the oldest is closed.
    pub sockets: usize,
    /// Events waiting for one socket; when they are more, the socket is closed and its browser
    /// resumes.
    pub queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: 1000, age: Duration::from_secs(600), users: 4096, sockets: 16, queue: 256 }
    }
}

/// One numbered event, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number in the user's stream.
    pub seq: u64,
    /// The JSON text.
    pub text: Arc<str>,
}

/// What a new socket starts with.
#[derive(Debug)]
pub struct Subscription {
    /// Events missed, oldest first, or one `reset`.
    pub replay: Vec<Frame>,
    /// The number that the socket stands at after `replay`.
    pub seq: u64,
    /// Events from now on. Ends when the hub drops the socket.
    pub events: mpsc::Receiver<Frame>,
    /// Names the socket to [`Hub::unsubscribe`].
    pub socket: u64,
}

/// What the hub has done, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events numbered, one per user who got it.
    pub events: u64,
    /// Sockets open now.
    pub sockets: u64,
    /// Sockets dropped because their queue was full.
    pub overflows: u64,
    /// Sockets that were told to reload.
    pub resets: u64,
}

/// All users' streams.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    streams: HashMap<UserId, Stream>,
    /// The highest number ever given out, over all users.
    highest: u64,
    next_socket: u64,
    totals: Totals,
}

#[derive(Debug)]
struct Stream {
    /// The last number given out.
    last: u64,
    /// Replay is possible from this number on.
    floor: u64,
    kept: VecDeque<Kept>,
    sockets: Vec<Socket>,
    touched: Timestamp,
}

#[derive(Debug)]
struct Kept {
    at: Timestamp,
    frame: Frame,
}

#[derive(Debug)]
struct Socket {
    id: u64,
    queue: mpsc::Sender<Frame>,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl Hub {
    /// A hub without users.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Gives one event to all whom it concerns. Never waits.
    pub fn publish(&self, notice: &Notice) {
        self.publish_at(notice, wall_clock());
    }

    /// See [`Hub::publish`]; `now` is the wall clock.
    pub fn publish_at(&self, notice: &Notice, now: Timestamp) {
        let Some(tail) = event_tail(&notice.event) else { return };
        let mut state = self.state();
        for (position, user) in notice.to.iter().enumerate() {
            if notice.to[..position].contains(user) {
                continue;
            }
            let stream = state.stream(*user, now, &self.limits);
            stream.expire(now, &self.limits);
            let seq = stream.last + 1;
            let frame = Frame { seq, text: envelope(seq, notice.at, &tail) };
            stream.last = seq;
            stream.kept.push_back(Kept { at: now, frame: frame.clone() });
            stream.expire(now, &self.limits);
            let before = stream.sockets.len();
            let mut overflows = 0;
            stream.sockets.retain(|socket| match socket.queue.try_send(frame.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    overflows += 1;
                    false
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            });
            let gone = (before - stream.sockets.len()) as u64;
            state.highest = state.highest.max(seq);
            state.totals.events += 1;
            state.totals.overflows += overflows;
            state.totals.sockets = state.totals.sockets.saturating_sub(gone);
        }
    }

    /// The number that this user's stream stands at: what a snapshot taken after this resumes from.
    pub fn seq(&self, user: UserId) -> u64 {
        self.seq_at(user, wall_clock())
    }

    fn seq_at(&self, user: UserId, now: Timestamp) -> u64 {
        self.state().stream(user, now, &self.limits).last
    }

    /// Opens a socket. Without `since` it begins with the next event.
    pub fn subscribe(&self, user: UserId, since: Option<u64>) -> Subscription {
        self.subscribe_at(user, since, wall_clock())
    }

    /// See [`Hub::subscribe`]; `now` is the wall clock.
    pub fn subscribe_at(&self, user: UserId, since: Option<u64>, now: Timestamp) -> Subscription {
        let (queue, events) = mpsc::channel(self.limits.queue);
        let mut state = self.state();
        let id = state.next_socket;
        state.next_socket += 1;
        let stream = state.stream(user, now, &self.limits);
        stream.expire(now, &self.limits);
        let seq = stream.last;
        let mut reset = false;
        let replay = match since {
            None => Vec::new(),
            Some(since) if (stream.floor..=stream.last).contains(&since) => {
                let missed = stream.kept.iter().filter(|kept| kept.frame.seq > since);
                missed.map(|kept| kept.frame.clone()).collect()
            }
            Some(_) => {
                reset = true;
                let tail = event_tail(&ConsoleEvent::Reset {}).unwrap_or_default();
                vec![Frame { seq, text: envelope(seq, now, &tail) }]
            }
        };
        if stream.sockets.len() >= self.limits.sockets {
            stream.sockets.remove(0);
        } else {
            state.totals.sockets += 1;
        }
        if let Some(stream) = state.streams.get_mut(&user) {
            stream.sockets.push(Socket { id, queue });
        }
        state.totals.resets += u64::from(reset);
        Subscription { replay, seq, events, socket: id }
    }

    /// Forgets a socket that has closed.
    pub fn unsubscribe(&self, user: UserId, socket: u64) {
        let mut state = self.state();
        let Some(stream) = state.streams.get_mut(&user) else { return };
        let before = stream.sockets.len();
        stream.sockets.retain(|open| open.id != socket);
        let gone = (before - stream.sockets.len()) as u64;
        state.totals.sockets = state.totals.sockets.saturating_sub(gone);
    }

    /// Closes all sockets of a user who may no longer listen.
    pub fn disconnect(&self, user: UserId) {
        let mut state = self.state();
        let Some(stream) = state.streams.get_mut(&user) else { return };
        let gone = std::mem::take(&mut stream.sockets).len() as u64;
        state.totals.sockets = state.totals.sockets.saturating_sub(gone);
    }

    /// What the hub has done so far.
    pub fn totals(&self) -> Totals {
        self.state().totals
    }

    /// Every change is made whole before the lock is let go, so a panic elsewhere poisons nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The user's stream, made if there is none.
    fn stream(&mut self, user: UserId, now: Timestamp, limits: &Limits) -> &mut Stream {
        if !self.streams.contains_key(&user) && self.streams.len() >= limits.users {
            self.evict();
        }
        let highest = &mut self.highest;
        let stream = self.streams.entry(user).or_insert_with(|| {
            let clock = u64::try_from(now.as_micros()).unwrap_or(0);
            let base = clock.max(*highest + 1);
            *highest = base;
            Stream {
                last: base,
                floor: base,
                kept: VecDeque::new(),
                sockets: Vec::new(),
                touched: now,
            }
        });
        stream.touched = stream.touched.max(now);
        stream
    }

    /// Drops the stream that nobody listens to and that was used longest ago.
    fn evict(&mut self) {
        let idle = self.streams.iter().filter(|(_, stream)| stream.sockets.is_empty());
        if let Some(user) = idle.min_by_key(|(_, stream)| stream.touched).map(|(user, _)| *user) {
            self.streams.remove(&user);
        }
    }
}

impl Stream {
    /// Forgets what is too much or too old for a replay.
    fn expire(&mut self, now: Timestamp, limits: &Limits) {
        while let Some(oldest) = self.kept.front() {
            if self.kept.len() <= limits.events && now.since(oldest.at) <= limits.age {
                break;
            }
            self.floor = oldest.frame.seq;
            self.kept.pop_front();
        }
    }
}

/// `"type": …, …}` of an event: what follows the number and the time.
fn event_tail(event: &ConsoleEvent) -> Option<String> {
    match serde_json::to_string(event) {
        Ok(json) => json.strip_prefix('{').map(Into::into),
        Err(error) => {
            tracing::error!(%error, "a console event cannot be written as JSON");
            None
        }
    }
}

fn envelope(seq: u64, at: Timestamp, tail: &str) -> Arc<str> {
    format!("{{\"seq\":{seq},\"at\":{},{tail}", at.as_micros()).into()
}

/// Microseconds since 1970-01-01 UTC.
pub(crate) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
