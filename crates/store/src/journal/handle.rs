//! One journal over several disks: which call is kept where.
//!
//! A call stays on the disk it began on: its packets are read back from one place. What a slow
//! disk cannot take is dropped here and counted against its own calls, so that the calls on the
//! other disks do not wait for it. With one disk nothing is looked at: blocks go as they are.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cheling_model::tap::TapBlock;
use cheling_model::{CallId, TapEvent, TapKind};

use super::feed::Feed;
use super::{CallRecords, JournalCounters, JournalError};
use crate::disk::by_room;

/// Ways kept for calls that the journals know no more, before they are looked through.
const SPARE_ROUTES: usize = 1000;

/// How long a way is kept whether or not the journal has heard of its call.
const NEW_ROUTE: Duration = Duration::from_secs(60);

/// Sends to the journal and reads from it; cheap to clone.
#[derive(Clone, Debug)]
pub struct JournalHandle {
    feeds: Arc<[Feed]>,
    routes: Arc<RwLock<HashMap<CallId, Route>>>,
}

/// Where a call is kept.
#[derive(Clone, Copy, Debug)]
struct Route {
    feed: usize,
    since: Instant,
}

/// One of the journal's disks.
#[derive(Clone, Copy, Debug)]
pub struct JournalDisk<'a> {
    /// Folder of its segments.
    pub folder: &'a Path,
    /// What was done there.
    pub counters: &'a JournalCounters,
}

impl JournalHandle {
    pub(super) fn new(feeds: Vec<Feed>) -> Self {
        Self { feeds: feeds.into(), routes: Arc::default() }
    }

    /// Hands over a block of packets. Never waits.
    ///
    /// # Errors
    /// The block comes back if the queue is full or the journal closed: its packets are lost to
    /// the recording and must be counted against their calls. With several disks it never does:
    /// what one cannot take is counted here.
    pub fn try_media(&self, block: TapBlock) -> Result<(), TapBlock> {
        if let [feed] = &*self.feeds {
            return feed.try_media(block);
        }
        for (feed, part) in self.feeds.iter().zip(self.parts(&block)) {
            if !part.is_empty()
                && let Err(part) = feed.try_media(part)
            {
                feed.drop_media(&part);
            }
        }
        Ok(())
    }

    /// What of a block goes to each disk. Packets of calls without a way go to the first, which
    /// counts them as strays.
    fn parts(&self, block: &TapBlock) -> Vec<TapBlock> {
        let mut parts = vec![TapBlock::default(); self.feeds.len()];
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        for packet in block.packets() {
            match packet {
                Ok(packet) => {
                    let feed = routes.get(&packet.call_id).map_or(0, |route| route.feed);
                    parts[feed].push(packet);
                }
                Err(err) => {
                    tracing::error!(%err, "a tap block with a malformed frame");
                    break;
                }
            }
        }
        parts
    }

    /// Gives blocks back once they are written, so that their memory need not be asked for anew. To
    /// be said once; `take` is called by the journal's thread and must not wait.
    pub fn on_emptied(&self, take: impl Fn(TapBlock) + Send + Sync + 'static) {
        let take = Arc::new(take);
        for feed in self.feeds.iter() {
            let take = Arc::clone(&take);
            feed.on_emptied(Box::new(move |block| take(block)));
        }
    }

    /// Hands over an event, waiting for room if the disk is far behind.
    ///
    /// # Errors
    /// [`JournalError::Closed`] if the journal has ended.
    pub fn event(&self, event: TapEvent) -> Result<(), JournalError> {
        self.feed_of(&event).event(event)
    }

    /// Hands over an event without waiting, for those who may not.
    ///
    /// # Errors
    /// The event comes back if there is no room now or the journal has ended: try again, or tell
    /// [`JournalHandle::count_lost_event`].
    pub fn try_event(&self, event: TapEvent) -> Result<(), Box<TapEvent>> {
        self.feed_of(&event).try_event(event)
    }

    /// Counts an event that is given up.
    pub fn count_lost_event(&self, call_id: CallId) {
        let feed = &self.feeds[self.route(call_id)];
        JournalCounters::add(&feed.shared().counters.lost_events, 1);
    }

    fn feed_of(&self, event: &TapEvent) -> &Feed {
        let is_new = matches!(event.kind, TapKind::Offered(_)) && self.feeds.len() > 1;
        let feed = if is_new { self.choose(event.call_id) } else { self.route(event.call_id) };
        &self.feeds[feed]
    }

    fn route(&self, call_id: CallId) -> usize {
        if self.feeds.len() == 1 {
            return 0;
        }
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let route = routes.get(&call_id).map(|route| route.feed);
        route.or_else(|| self.feeds.iter().position(|feed| feed.knows(call_id))).unwrap_or(0)
    }

    /// Gives a new call its disk: the more room one has, the more calls it gets.
    fn choose(&self, call_id: CallId) -> usize {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = routes.get(&call_id) {
            return route.feed;
        }
        let now = Instant::now();
        if routes.len() > SPARE_ROUTES + 2 * self.calls() {
            // A new call may not have reached its journal yet.
            routes.retain(|&call_id, route| {
                now.duration_since(route.since) < NEW_ROUTE || self.feeds[route.feed].knows(call_id)
            });
        }
        let room: Vec<u64> = self.feeds.iter().map(Feed::room_bytes).collect();
        // The low half of an id is random but for its first bits; the factor (2^64 by the golden
        // ratio) spreads it over all of the range.
        let random = (call_id.0.as_u128() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let feed = by_room(&room, random);
        routes.insert(call_id, Route { feed, since: now });
        feed
    }

    /// Lets the journal forget a call: its recording has landed, or there is none to make.
    ///
    /// # Errors
    /// [`JournalError::Closed`] if the journal has ended.
    pub fn done(&self, call_id: CallId) -> Result<(), JournalError> {
        self.feeds[self.route(call_id)].done(call_id)?;
        self.routes.write().unwrap_or_else(PoisonError::into_inner).remove(&call_id);
        Ok(())
    }

    /// Waits until all that was sent before is written and synced.
    ///
    /// # Errors
    /// [`JournalError::Closed`] if the journal has ended.
    pub fn flush(&self) -> Result<(), JournalError> {
        self.feeds.iter().try_for_each(Feed::flush)
    }

    pub(super) fn stop(&self) {
        self.feeds.iter().for_each(Feed::stop);
    }

    /// The records of a call as written so far; `None` if the journal does not know it.
    pub fn read(&self, call_id: CallId) -> Option<CallRecords> {
        self.feeds.iter().find_map(|feed| feed.read(call_id))
    }

    /// How many calls the journal holds.
    pub fn calls(&self) -> usize {
        self.feeds.iter().map(Feed::calls).sum()
    }

    /// Its disks, and what was done on each.
    pub fn disks(&self) -> impl Iterator<Item = JournalDisk<'_>> {
        self.feeds.iter().map(|feed| JournalDisk {
            folder: &feed.shared().folder,
            counters: &feed.shared().counters,
        })
    }

    /// Tells whether no disk takes media now: calls go on and are not recorded.
    pub fn is_blind(&self) -> bool {
        self.disks().all(|disk| {
            disk.counters.is_refusing.load(Ordering::Relaxed)
                || disk.counters.is_failing.load(Ordering::Relaxed)
        })
    }
}
