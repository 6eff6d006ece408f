//! What this crate counts for `/metrics`.

use crate::hub::Hub;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// Answers by their class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusClass {
    status: &'static str,
}

/// Counters of the HTTP side.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    answers: Family<StatusClass, Counter>,
}

impl Metrics {
    /// Registers everything this crate counts.
    pub fn register(registry: &mut Registry, hub: Arc<Hub>) -> Self {
        let metrics = Self::default();
        registry.register("cheling_http_answers", "HTTP answers", metrics.answers.clone());
        registry.register_collector(Box::new(HubCollector(hub)));
        metrics
    }

    /// Counts one answer.
    pub fn count_answer(&self, status: u16) {
        let status = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.answers.get_or_create(&StatusClass { status }).inc();
    }
}

#[derive(Debug)]
struct HubCollector(Arc<Hub>);

impl Collector for HubCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let totals = self.0.totals();
        let gauge = ConstGauge::new(i64::try_from(totals.sockets).unwrap_or(i64::MAX));
        let kind = gauge.metric_type();
        gauge.encode(encoder.encode_descriptor(
            "cheling_websockets",
            "Open WebSockets of consoles",
            None,
            kind,
        )?)?;
        for (name, help, value) in [
            ("cheling_console_events", "Events sent to users", totals.events),
            (
                "cheling_websocket_overflows",
                "WebSockets dropped because they did not read",
                totals.overflows,
            ),
            ("cheling_websocket_resets", "Resumes that could not be replayed", totals.resets),
        ] {
            let counter = ConstCounter::new(value);
            let kind = counter.metric_type();
            counter.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        Ok(())
    }
}
