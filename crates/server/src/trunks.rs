//! How the trunks are: watched for `/metrics`, and told by `cheling trunk list`.

use crate::cli::Output;
use crate::config::Config;
use crate::control::trunk_state;
use anyhow::{Context as _, bail};
use cheling_capture::Handle;
use cheling_web::TrunkState;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use serde::Deserialize;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// How often the switch is asked.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the service may take to tell.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const MAX_ANSWER: u64 = 1 << 20;

/// What was last seen of the trunks: a scrape must not wait for the switch.
#[derive(Debug, Default)]
pub struct TrunkBoard {
    latest: Mutex<Vec<TrunkState>>,
}

impl TrunkBoard {
    /// Looks until stopped.
    pub async fn watch(&self, handle: Handle, stop: CancellationToken) {
        loop {
            let Ok(trunks) = handle.trunks().await else { return };
            let states = trunks.into_iter().map(trunk_state).collect();
            *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = states;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Writes the gauges of all trunks.
    pub fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let trunks = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for trunk in trunks.iter() {
                let Some(value) = value(trunk) else { continue };
                let labels = [("trunk", trunk.name.clone())];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

type TrunkGauge = (&'static str, &'static str, fn(&TrunkState) -> Option<i64>);

/// What is told of each trunk; what does not apply to it is left out.
const GAUGES: [TrunkGauge; 5] = [
    ("cheling_trunk_up", "1 unless a trunk is silent, not registered or not resolved", |it| {
        Some(matches!(it.standing(), "up" | "unknown").into())
    }),
    ("cheling_trunk_registered", "1 while a trunk that we register at knows us", |it| {
        it.registration.as_ref().map(|it| it.is_registered.into())
    }),
    ("cheling_trunk_answers", "1 while a trunk answers OPTIONS", |it| it.answers.map(i64::from)),
    ("cheling_trunk_calls", "Calls on a trunk now, in and out", |it| Some(it.calls.into())),
    ("cheling_trunk_max_calls", "Calls that a trunk may carry", |it| it.max_calls.map(i64::from)),
];

/// What `/readyz` tells.
#[derive(Deserialize)]
struct Told {
    trunks: serde_json::Value,
}

/// Carries out `cheling trunk list`: asks the service that runs with this configuration.
pub async fn list(output: Output, config: &Config) -> anyhow::Result<()> {
    let at = reachable(config.web.listen);
    let asked = tokio::time::timeout(PATIENCE, ask(at));
    let body = asked
        .await
        .unwrap_or_else(|_| bail!("no answer in {} s", PATIENCE.as_secs()))
        .with_context(|| format!("the service does not answer at http://{at} (web.listen)"))?;
    let told: Told = serde_json::from_str(&body).context("the service says nothing of trunks")?;
    if output.json {
        println!("{}", told.trunks);
        return Ok(());
    }
    let trunks = told.trunks.as_array().map(Vec::as_slice).unwrap_or_default();
    if trunks.is_empty() {
        println!("none; a [[trunk]] in the configuration makes one");
    }
    for trunk in trunks {
        let text = |key: &str| trunk[key].as_str().unwrap_or_default().to_owned();
        let limit = trunk["max_calls"].as_u64().map(|most| format!("/{most}")).unwrap_or_default();
        let places: Vec<_> = trunk["addresses"].as_array().into_iter().flatten().collect();
        let place = places.first().and_then(|place| place.as_str()).unwrap_or("-");
        let more = match places.len() {
            0 | 1 => String::new(),
            all => format!(" +{}", all - 1),
        };
        let status = trunk["registration"]["last_status"].as_u64();
        let status = status.filter(|_| trunk["state"] == "unregistered");
        let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
        let calls = format!("{}{limit}", trunk["calls"]);
        let state = format!("{}{status}", text("state"));
        println!("{:<16} {state:<18} {calls:<8} {place}{more}", text("name"));
    }
    Ok(())
}

/// Where a listener on all addresses is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(at: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!(
        "GET /readyz HTTP/1.1\r\nHost: {at}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        bail!("it answers {status}: {}", body.trim());
    }
    Ok(body.to_owned())
}
