//! What the relay, the journal and the render workers count, for `/metrics`.

use crate::oversight::OversightCounters;
use crate::trunks::TrunkBoard;
use cheling_capture::{Handle, Listeners};
use cheling_lookup::desk::Desk;
use cheling_store::conversion::ConversionCounters;
use cheling_store::journal::{JournalCounters, JournalHandle};
use cheling_store::workers::WorkerCounters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A registry that reads the counters when it is asked.
pub fn registry(meters: Meters) -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(meters));
    registry
}

/// Where the counters are.
pub struct Meters {
    /// Relay and SIP.
    pub capture: Handle,
    /// Journals of all disks.
    pub journal: JournalHandle,
    /// Render workers.
    pub workers: Arc<WorkerCounters>,
    /// The conversion of old recordings.
    pub conversion: Arc<ConversionCounters>,
    /// Running calls.
    pub desk: Arc<Desk>,
    /// Who listens to them.
    pub listeners: Arc<Listeners>,
    /// What they and the alarms came to.
    pub oversight: Arc<OversightCounters>,
    /// How the trunks are.
    pub trunks: Arc<TrunkBoard>,
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meters")
    }
}

impl Collector for Meters {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let relay = self.capture.relays().totals();
        let [one_way, silent] = self.desk.unheard();
        let (sip, events) = (self.capture.transports(), self.capture.events());
        let guard = self.capture.guard();
        let workers = &self.workers;
        let journal = |counter: fn(&JournalCounters) -> &AtomicU64| -> u64 {
            self.journal.disks().map(|disk| counter(disk.counters).load(Relaxed)).sum()
        };
        for (name, help, value) in [
            ("cheling_relay_packets", "Media packets passed on", relay.relayed_packets),
            (
                "cheling_relay_stranger_packets",
                "Media from unknown sources",
                relay.stranger_packets,
            ),
            (
                "cheling_relay_refused_packets",
                "SRTP that could not be opened",
                relay.refused_packets,
            ),
            (
                "cheling_relay_refused_checks",
                "ICE checks with wrong credentials, and handshakes from elsewhere",
                relay.refused_checks,
            ),
            ("cheling_relay_handshakes", "DTLS handshakes that brought keys", relay.handshakes),
            (
                "cheling_relay_failed_handshakes",
                "DTLS handshakes that brought none",
                relay.failed_handshakes,
            ),
            (
                "cheling_relay_dropped_handshakes",
                "Datagrams of DTLS handshakes that were too many",
                relay.dropped_handshakes,
            ),
            ("cheling_relay_unsent_packets", "Media that could not be sent", relay.unsent_packets),
            ("cheling_relay_failed_opens", "Calls without media ports", relay.failed_opens),
            ("cheling_tap_dropped_packets", "Media not recorded", relay.tap_dropped_packets),
            ("cheling_sip_received", "SIP messages received", sip.received_messages.load(Relaxed)),
            ("cheling_sip_sent", "SIP messages sent", sip.sent_messages.load(Relaxed)),
            ("cheling_sip_unsent", "SIP messages not sent", sip.unsent_messages.load(Relaxed)),
            (
                "cheling_sip_refused_connections",
                "SIP connections refused: too many or too fast",
                sip.refused_connections.load(Relaxed),
            ),
            (
                "cheling_sip_failed_handshakes",
                "TLS and WebSocket handshakes that failed",
                sip.failed_handshakes.load(Relaxed),
            ),
            ("cheling_sip_shut_out_sources", "Sources shut out", guard.shut_out.load(Relaxed)),
            (
                "cheling_sip_kept_out",
                "SIP messages of sources that are shut out",
                guard.kept_out.load(Relaxed),
            ),
            (
                "cheling_sip_too_fast",
                "SIP requests of strangers that came too fast",
                guard.too_fast.load(Relaxed),
            ),
            ("cheling_events", "Call events", events.events.load(Relaxed)),
            ("cheling_lookup_missed", "Events lookup missed", events.lookup_missed.load(Relaxed)),
            (
                "cheling_calls_given_up",
                "Calls not written because the database was away for too long",
                self.desk.given_up(),
            ),
            (
                "cheling_journal_packets",
                "Packets journalled",
                journal(|counters| &counters.packets),
            ),
            ("cheling_journal_bytes", "Bytes journalled", journal(|counters| &counters.bytes)),
            ("cheling_journal_writes", "Write calls", journal(|counters| &counters.writes)),
            (
                "cheling_journal_write_errors",
                "Failed writes",
                journal(|counters| &counters.write_errors),
            ),
            (
                "cheling_journal_lost_packets",
                "Packets lost to a full disk",
                journal(|counters| &counters.lost_packets),
            ),
            (
                "cheling_journal_rewritten_segments",
                "Old segments that a long call held on to, made small",
                journal(|counters| &counters.rewritten_segments),
            ),
            (
                "cheling_journal_lost_events",
                "Call events lost to a disk that hangs",
                journal(|counters| &counters.lost_events),
            ),
            (
                "cheling_recordings_converted",
                "Old recordings made into Opus",
                self.conversion.converted.load(Relaxed),
            ),
            (
                "cheling_conversion_failures",
                "Old recordings that could not be made into Opus",
                self.conversion.failed.load(Relaxed),
            ),
            (
                "cheling_conversion_saved_bytes",
                "Bytes won by making old recordings into Opus",
                self.conversion.saved_bytes.load(Relaxed),
            ),
            ("cheling_recordings_landed", "Recordings finished", workers.landed.load(Relaxed)),
            ("cheling_render_failures", "Failed renderings", workers.failures.load(Relaxed)),
            (
                "cheling_silence_alarms",
                "Times a side of a running call was no longer heard",
                self.oversight.alarms.load(Relaxed),
            ),
            (
                "cheling_listening_dropped_packets",
                "Packets that live listeners missed because they were behind",
                self.listeners.dropped_packets(),
            ),
            (
                "cheling_listening_left_out",
                "Stretches of sound that browsers were too slow to take",
                self.oversight.left_out.load(Relaxed),
            ),
        ] {
            let counter = ConstCounter::new(value);
            let kind = counter.metric_type();
            counter.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        for (name, help, value) in [
            ("cheling_calls", "Calls with media now", relay.open_calls),
            ("cheling_calls_one_way", "Calls with one side unheard now", one_way as u64),
            ("cheling_calls_silent", "Calls with both sides unheard now", silent as u64),
            (
                "cheling_calls_unwritten",
                "Calls of which the database has not got everything yet",
                self.desk.backlog() as u64,
            ),
            ("cheling_listeners", "Who listens to running calls", self.listeners.count() as u64),
            ("cheling_journal_calls", "Calls in the journal", self.journal.calls() as u64),
            (
                "cheling_conversion_waiting",
                "Old recordings that this run has still to make into Opus",
                self.conversion.waiting.load(Relaxed),
            ),
            (
                "cheling_recording_stopped",
                "1 while no disk takes media: calls go on and are not recorded",
                u64::from(self.journal.is_blind()),
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        self.trunks.encode(&mut encoder)?;
        self.encode_disks(&mut encoder)
    }
}

type DiskGauge = (&'static str, &'static str, fn(&JournalCounters) -> u64);

/// What is told of each disk.
const DISK_GAUGES: [DiskGauge; 3] = [
    ("cheling_journal_free_bytes", "Space left on a journal's disk", |disk| {
        disk.free_bytes.load(Relaxed)
    }),
    ("cheling_journal_refusing", "1 while a disk is too full to record", |disk| {
        disk.is_refusing.load(Relaxed).into()
    }),
    ("cheling_journal_failing", "1 while a disk cannot be written", |disk| {
        disk.is_failing.load(Relaxed).into()
    }),
];

impl Meters {
    fn encode_disks(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, help, value) in DISK_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for disk in self.journal.disks() {
                let gauge =
                    ConstGauge::new(i64::try_from(value(disk.counters)).unwrap_or(i64::MAX));
                let labels = [("journal", disk.folder.display().to_string())];
                gauge.encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
