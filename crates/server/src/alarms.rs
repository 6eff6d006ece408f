//! Watches the recorder's disks and tells what is wrong with them.

use cheling_capture::Handle;
use cheling_model::Timestamp;
use cheling_store::journal::JournalHandle;
use cheling_web::{Alarm, AlarmKind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The journal is behind until it has kept up for so long.
const BEHIND_FOR: Duration = Duration::from_secs(60);

/// What a look found.
#[derive(Clone, Debug, Default)]
struct Look {
    disks: Vec<DiskLook>,
    /// Packets lost to recordings since the start.
    lost: u64,
}

#[derive(Clone, Debug, Default)]
struct DiskLook {
    folder: String,
    free_bytes: u64,
    is_full: bool,
    is_failing: bool,
}

impl DiskLook {
    fn takes_media(&self) -> bool {
        !self.is_full && !self.is_failing
    }
}

/// What is wrong, and since when.
#[derive(Debug, Default)]
struct Judge {
    alarms: Vec<Alarm>,
    /// Packets lost when the alarms of now began, and at the last look.
    lost_before: u64,
    lost: u64,
    /// When packets were last lost though no disk is to blame.
    behind_at: Option<Instant>,
}

impl Judge {
    fn look(&mut self, now: Instant, at: Timestamp, look: &Look) {
        if self.alarms.is_empty() {
            self.lost_before = self.lost;
        }
        let is_blind = look.disks.iter().all(|disk| !disk.takes_media());
        let is_well = look.disks.iter().all(DiskLook::takes_media);
        if look.lost > self.lost && is_well {
            self.behind_at = Some(now);
        }
        self.lost = look.lost;
        let is_behind =
            self.behind_at.is_some_and(|behind| now.saturating_duration_since(behind) < BEHIND_FOR);
        let mut found = Vec::new();
        let nowhere = DiskLook::default();
        if is_blind {
            found.push((AlarmKind::RecordingStopped, &nowhere));
        }
        for disk in &look.disks {
            let kinds =
                [(disk.is_full, AlarmKind::DiskFull), (disk.is_failing, AlarmKind::DiskFailing)];
            found.extend(kinds.iter().filter(|(is, _)| *is).map(|(_, kind)| (*kind, disk)));
        }
        if is_behind {
            found.push((AlarmKind::JournalBehind, &nowhere));
        }
        let lost = self.lost.saturating_sub(self.lost_before);
        let alarms = found.into_iter().map(|(kind, disk)| {
            let known = self.alarms.iter().find(|it| it.kind == kind && it.disk == disk.folder);
            let since = known.map_or(at, |known| known.since);
            if known.is_none() && kind == AlarmKind::JournalBehind {
                // The disks tell of themselves.
                tracing::error!("the journal does not keep up: recordings have gaps, calls go on");
            }
            Alarm { kind, disk: disk.folder.clone(), free_bytes: disk.free_bytes, lost, since }
        });
        self.alarms = alarms.collect();
    }
}

/// The alarms of this process; cheap to clone.
#[derive(Clone)]
pub struct RecorderAlarms {
    journal: JournalHandle,
    capture: Handle,
    judge: Arc<Mutex<Judge>>,
}

impl RecorderAlarms {
    /// Begins with none.
    pub fn new(journal: JournalHandle, capture: Handle) -> Self {
        Self { journal, capture, judge: Arc::default() }
    }

    /// What is wrong now.
    pub fn now(&self) -> Vec<Alarm> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner).alarms.clone()
    }

    /// Looks each second until stopped.
    pub async fn watch(self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            let look = self.look();
            let mut judge = self.judge.lock().unwrap_or_else(PoisonError::into_inner);
            judge.look(Instant::now(), crate::facts::now(), &look);
        }
    }

    fn look(&self) -> Look {
        let disk = |disk: cheling_store::journal::JournalDisk<'_>| DiskLook {
            folder: disk.folder.display().to_string(),
            free_bytes: disk.counters.free_bytes.load(Relaxed),
            is_full: disk.counters.is_refusing.load(Relaxed),
            is_failing: disk.counters.is_failing.load(Relaxed),
        };
        let journal = self.journal.disks().map(|disk| disk.counters.lost_packets.load(Relaxed));
        let lost = journal.sum::<u64>() + self.capture.relays().totals().tap_dropped_packets;
        Look { disks: self.journal.disks().map(disk).collect(), lost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(folder: &str, free_bytes: u64, is_full: bool, is_failing: bool) -> DiskLook {
        DiskLook { folder: folder.into(), free_bytes, is_full, is_failing }
    }

    fn told(judge: &Judge) -> Vec<(AlarmKind, &str, u64)> {
        let told = judge.alarms.iter();
        told.map(|alarm| (alarm.kind, alarm.disk.as_str(), alarm.lost)).collect()
    }

    #[test]
    fn a_disk_that_fills_is_told_of_until_it_has_room() {
        use AlarmKind::{DiskFailing, DiskFull, RecordingStopped};
        let mut judge = Judge::default();
        let (start, at) = (Instant::now(), Timestamp::from_micros);
        let (good, full) = (disk("a", 9, false, false), disk("b", 1, true, false));
        let broken = disk("a", 9, false, true);
        for (second, disks, lost, want) in [
            (0, [good.clone(), disk("b", 9, false, false)], 5, vec![]),
            (1, [good.clone(), full.clone()], 8, vec![(DiskFull, "b", 3)]),
            (
                2,
                [broken, full.clone()],
                9,
                vec![(RecordingStopped, "", 4), (DiskFailing, "a", 4), (DiskFull, "b", 4)],
            ),
            (3, [good.clone(), full], 9, vec![(DiskFull, "b", 4)]),
            (4, [good.clone(), disk("b", 9, false, false)], 9, vec![]),
        ] {
            let look = Look { disks: disks.to_vec(), lost };
            // What was lost before the first look is nobody's news.
            if second == 0 {
                judge.lost = lost;
            }
            judge.look(start + Duration::from_secs(second), at(second as i64), &look);
            assert_eq!(told(&judge), want, "{second}");
            let since = judge.alarms.iter().find(|it| it.kind == DiskFull).map(|it| it.since);
            assert!(since.is_none_or(|since| since == at(1)), "{second}");
        }
    }

    #[test]
    fn a_journal_is_behind_while_packets_are_lost_and_a_minute_after() {
        let mut judge = Judge::default();
        let start = Instant::now();
        let good = vec![disk("a", 9, false, false)];
        for (second, lost, want) in [
            (0, 0, None),
            (1, 40, Some(40)),
            (30, 50, Some(50)),
            (89, 50, Some(50)),
            (90, 50, None),
            (95, 51, Some(1)),
        ] {
            let look = Look { disks: good.clone(), lost };
            let at = Timestamp::from_micros(0);
            judge.look(start + Duration::from_secs(second), at, &look);
            let want: Vec<_> =
                want.map(|lost| (AlarmKind::JournalBehind, "", lost)).into_iter().collect();
            assert_eq!(told(&judge), want, "{second}");
        }
    }
}
