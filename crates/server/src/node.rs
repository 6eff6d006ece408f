//! One running Cheling: every role in one process, started and stopped in written order.

use crate::alarms::RecorderAlarms;
use crate::config::{Config, TrunkEntry, hold};
use crate::control::Control;
use crate::conversion::Converter;
use crate::facts::{self, Facts, private_dir, time_zone};
use crate::meters::{self, Meters};
use crate::oversight::{LiveCalls, OversightCounters, watch_silence};
use crate::tap::{JournalSink, Rows, attend};
use crate::trunks::TrunkBoard;
use crate::{kept, recovery, switchboard};
use anyhow::Context as _;
use cheling_call::io::Settings;
use cheling_capture::relay::RelayConfig;
use cheling_capture::resolve::{self, Families, Names};
use cheling_capture::transport::{CertificateFiles, TlsFiles, TlsPeer, TlsTrust, TransportConfig};
use cheling_capture::{
    Capture, CaptureConfig, Dscp, LOOKUP_QUEUE, Listeners, ListeningSink, Sinks, SpareBlocks,
};
use cheling_lookup::desk::Desk;
use cheling_lookup::{attach, directory};
use cheling_model::Timestamp;
use cheling_model::reach::LocalMobiles;
use cheling_model::recording::Recording;
use cheling_records::{Database, admin, call};
use cheling_store::disk::{Disk, LocalDisk};
use cheling_store::files::RecordingFiles;
use cheling_store::journal::{Journal, JournalSettings, RecoveryReport};
use cheling_store::render::RenderSettings;
use cheling_store::roots::Root;
use cheling_store::workers::{RenderQueue, Rendering, Workers};
use cheling_web::{App, Hub, Parts};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long calls in progress may go on once we stop.
const CALLS_MAY_FINISH: Duration = Duration::from_secs(20);
/// How long recordings may be made once the calls are over; the rest is left for the next start.
const RENDERING_MAY_FINISH: Duration = Duration::from_secs(10);
/// Recordings told of but not yet attached; who tells waits.
const LANDED_QUEUE: usize = 1024;
/// How often the database's log is folded in, so that no pop waits for it.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);
/// How far back calls are looked through for whoever has been idle longest: a holiday.
const LAST_CALLS: Duration = Duration::from_secs(10 * 24 * 3600);
/// How far back recordings without a follow-up are looked at again at start.
const RECONCILE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A running Cheling.
pub struct Node {
    facts: Facts,
    sip: SocketAddr,
    web: SocketAddr,
    capture: Capture,
    journal: Journal,
    workers: Workers,
    converter: Converter,
    queue: RenderQueue,
    desk_task: JoinHandle<()>,
    web_task: JoinHandle<()>,
    watch_task: JoinHandle<()>,
    kept_task: JoinHandle<()>,
    board_task: JoinHandle<()>,
    names_task: Option<JoinHandle<()>>,
    silence_task: JoinHandle<()>,
    alarms_task: JoinHandle<()>,
    stop_watch: CancellationToken,
    stop_web: CancellationToken,
}

/// `cheling run`: until SIGINT or SIGTERM. A second signal ends at once.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let facts = facts::open(&config).await?;
    let node = Node::start(&config, facts).await?;
    tracing::info!(sip = %node.sip, console = %format_args!("http://{}", node.web), "ready");
    tokio::select! {
        () = signals.first() => {}
        // Without call control the process is of no use: a restart is quicker than a person.
        () = node.call_control_ended() => {
            anyhow::bail!("call control has ended; see the log before this line");
        }
    }
    tracing::info!("stopping: no new calls; calls in progress may go on for 20 s");
    tokio::select! {
        () = node.stop(CALLS_MAY_FINISH) => {}
        () = signals.first() => {
            tracing::warn!("stopped at once; the next start repairs what was cut");
            std::process::exit(130);
        }
    }
    tracing::info!("stopped");
    Ok(())
}

impl Node {
    /// Starts everything. What the process before left in the journal is repaired first.
    pub async fn start(config: &Config, facts: Facts) -> anyhow::Result<Self> {
        crate::open_files::raise_limit();
        let database = facts.database.clone();
        let web_listener = TcpListener::bind(config.web.listen)
            .await
            .with_context(|| format!("web.listen: cannot listen on {}", config.web.listen))?;
        let web = web_listener.local_addr()?;

        let desk = Arc::new(Desk::new(database.clone()).await?);
        let hub = Arc::new(Hub::new(Default::default()));
        let files = files(config)?;
        let queue = RenderQueue::default();
        let (journal, report) = journal(config, &files, &queue)?;
        let (landed, landings) = mpsc::channel(LANDED_QUEUE);
        let rows = Rows::beside(Arc::clone(&desk), database.clone());
        let workers = workers(config, rows, &journal, &files, &queue, landed)?;
        let converter = Converter::start(config, &facts, &files)?;
        recovery::run(&report, &journal.handle(), &desk, &queue).await?;
        desk.close_stale(facts::now()).await?;
        if journal.handle().disks().count() == config.journal_dirs().len() {
            let rows = Rows::of(database.clone());
            let told = recovery::tell_unrecorded(&rows, &report, &desk, facts::now());
            if let Err(error) = told.await {
                tracing::error!(%error, "calls without a recording are left to `cheling check`");
            }
        }

        let known = directory::build(&database, &config.sip.realm, config.utc_offset_s()).await?;
        let (lookup, events) = mpsc::channel(LOOKUP_QUEUE);
        let listeners = Arc::new(Listeners::default());
        let sink = Arc::new(JournalSink(journal.handle()));
        let spare_blocks = Arc::new(SpareBlocks::new(SpareBlocks::USUAL));
        let emptied = Arc::clone(&spare_blocks);
        journal.handle().on_emptied(move |block| emptied.give(block));
        let sinks = Sinks {
            journal: Arc::new(ListeningSink::new(sink, Arc::clone(&listeners))),
            spare_blocks,
            lookup,
        };
        let capture = Capture::start(
            capture_config(config)?,
            call_settings(config, last_calls(&database).await?)?,
            Arc::new(known.clone()),
            sinks,
        )
        .await?;
        let registrations = config.registrations_file();
        capture.handle().restore_registrations(kept::read(&registrations)).await?;
        let sip = capture.udp_addresses().first().copied().unwrap_or(config.sip.udp);
        let desk_task = tokio::spawn(attend(Arc::clone(&desk), Arc::clone(&hub), events, landings));

        let control = Arc::new(Control::new(
            capture.handle(),
            database.clone(),
            Arc::clone(&desk),
            config.sip.realm.clone(),
            config.utc_offset_s(),
            known,
        ));
        let stop_watch = CancellationToken::new();
        let names_task = names(config, &capture, stop_watch.clone())?;
        let kept_task =
            tokio::spawn(kept::keep(capture.handle(), registrations, stop_watch.clone()));
        let watch_task = tokio::spawn(watch(control.clone(), database.clone(), stop_watch.clone()));
        let oversight = Arc::new(OversightCounters::default());
        let silence_task = tokio::spawn(watch_silence(
            capture.handle(),
            Arc::clone(&desk),
            Arc::clone(&hub),
            Duration::from_secs(config.media.silence_seconds),
            Arc::clone(&oversight),
            stop_watch.clone(),
        ));
        let alarms = RecorderAlarms::new(journal.handle(), capture.handle());
        let alarms_task = tokio::spawn(alarms.clone().watch(stop_watch.clone()));
        let board = Arc::new(TrunkBoard::default());
        let board_task = tokio::spawn({
            let (board, handle, stop) = (board.clone(), capture.handle(), stop_watch.clone());
            async move { board.watch(handle, stop).await }
        });
        let registry = meters::registry(Meters {
            capture: capture.handle(),
            journal: journal.handle(),
            workers: workers.counters(),
            conversion: converter.counters(),
            desk: Arc::clone(&desk),
            listeners: Arc::clone(&listeners),
            oversight: Arc::clone(&oversight),
            trunks: board,
        });
        let app = App::new(Parts {
            settings: web_settings(config, sip.port()),
            database,
            hub,
            desk,
            calls: control,
            live: Arc::new(LiveCalls::new(listeners, config.recording.inband_digits(), oversight)),
            alarms: Arc::new(move || alarms.now()),
            files,
            registry,
        });
        let stop_web = CancellationToken::new();
        let web_task = tokio::spawn(cheling_web::serve(app, web_listener, stop_web.clone()));
        Ok(Self {
            facts,
            sip,
            web,
            capture,
            journal,
            workers,
            converter,
            queue,
            desk_task,
            web_task,
            watch_task,
            kept_task,
            board_task,
            names_task,
            silence_task,
            alarms_task,
            stop_watch,
            stop_web,
        })
    }

    /// Where phones register.
    pub fn sip(&self) -> SocketAddr {
        self.sip
    }

    /// Where the console is.
    pub fn web(&self) -> SocketAddr {
        self.web
    }

    /// Waits until call control has ended of itself.
    pub async fn call_control_ended(&self) {
        self.capture.handle().ended().await;
    }

    /// Stops in this order: no new calls, calls finish or end after `grace`, the tap drains into
    /// the journal, recordings are made or left for the next start, consoles close, the journal is
    /// synced.
    pub async fn stop(self, grace: Duration) {
        self.stop_watch.cancel();
        // What is registered is asked of call control while it runs.
        ended("kept registrations", self.kept_task).await;
        self.capture.stop(grace).await;
        let (queue, journal) = (self.queue, self.journal.handle());
        let rendered = tokio::task::spawn_blocking(move || {
            // What was just written is known to be over once the journal has looked at it.
            if journal.flush().is_ok() {
                queue.wait_until_empty(Instant::now() + RENDERING_MAY_FINISH)
            } else {
                false
            }
        });
        if !rendered.await.unwrap_or(false) {
            tracing::info!("some recordings are left for the next start");
        }
        // Their threads hold the last sender of landed recordings.
        let (workers, converter) = (self.workers, self.converter);
        ended("render workers", tokio::task::spawn_blocking(move || drop(workers))).await;
        ended("conversion", tokio::task::spawn_blocking(move || drop(converter))).await;
        ended("desk", self.desk_task).await;
        ended("directory watch", self.watch_task).await;
        ended("trunk watch", self.board_task).await;
        if let Some(task) = self.names_task {
            ended("trunk names", task).await;
        }
        ended("silence watch", self.silence_task).await;
        ended("recorder watch", self.alarms_task).await;
        self.stop_web.cancel();
        ended("console", self.web_task).await;
        let journal = self.journal;
        ended("journal", tokio::task::spawn_blocking(move || drop(journal))).await;
        self.facts.database.close().await;
    }
}

/// What is looked at again and again: the directory for changes from elsewhere, recordings without
/// a follow-up at start and once a day, the database's log.
async fn watch(control: Arc<Control>, database: Database, stop: CancellationToken) {
    let reconcile = async {
        let mut days = tokio::time::interval(Duration::from_secs(24 * 3600));
        loop {
            days.tick().await;
            if let Err(error) = attach::reconcile(&database, before(RECONCILE)).await {
                tracing::warn!(%error, "recordings without a follow-up are tried again tomorrow");
            }
        }
    };
    let checkpoint = async {
        loop {
            tokio::time::sleep(CHECKPOINT_EVERY).await;
            if let Err(error) = database.checkpoint().await {
                tracing::warn!(%error, "the database's log grows until the next try");
            }
        }
    };
    tokio::select! {
        () = control.watch(stop) => {}
        () = reconcile => {}
        () = checkpoint => {}
    }
}

async fn ended(what: &str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "{what} ended badly");
    }
}

fn before(span: Duration) -> Timestamp {
    let span_us = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(facts::now().as_micros().saturating_sub(span_us))
}

/// The recordings' folders.
pub fn files(config: &Config) -> anyhow::Result<RecordingFiles> {
    let dir = config.recordings_dir();
    private_dir(&dir)?;
    RecordingFiles::open_disks(&dir, &config.recording.further_disks())
        .with_context(|| format!("recording.dir: {}", dir.display()))
}

/// The journals of the disks that are there; each call that is over goes to `queue`.
pub fn journal(
    config: &Config,
    files: &RecordingFiles,
    queue: &RenderQueue,
) -> anyhow::Result<(Journal, RecoveryReport)> {
    let is_there = files.roots().iter().map(Root::is_there);
    let mut disks: Vec<(Box<dyn Disk>, _)> = Vec::new();
    for (dir, _) in config.journal_dirs().into_iter().zip(is_there).filter(|(_, there)| *there) {
        private_dir(&dir)?;
        let settings = JournalSettings {
            free_floor_bytes: config.recording.min_free_mib << 20,
            ..JournalSettings::new(dir)
        };
        disks.push((Box::new(LocalDisk), settings));
    }
    let finished = queue.clone();
    Journal::open_on(disks, move |call_id| finished.push_fresh(call_id))
        .context("recording.journal_dir")
}

/// The render workers; each recording that has its row goes to `landed`.
pub fn workers(
    config: &Config,
    rows: Rows,
    journal: &Journal,
    files: &RecordingFiles,
    queue: &RenderQueue,
    landed: mpsc::Sender<Recording>,
) -> anyhow::Result<Workers> {
    let rendering = Rendering {
        journal: journal.handle(),
        files: files.clone(),
        settings: RenderSettings {
            container: config.recording.container,
            opus: config.recording.opus(),
            utc_offset_s: config.utc_offset_s(),
            inband_digits: config.recording.inband_digits(),
        },
        rows,
        on_landed: Box::new(move |recording| {
            // A worker may wait; the desk is gone only when the process ends, and then the next
            // start attaches it.
            let _ = landed.blocking_send(recording.clone());
        }),
    };
    let runtime = tokio::runtime::Handle::current();
    Ok(Workers::start(config.recording.render_threads, queue.clone(), rendering, runtime)?)
}

fn capture_config(config: &Config) -> anyhow::Result<CaptureConfig> {
    let advertise = config.sip.advertised();
    Ok(CaptureConfig {
        transports: TransportConfig {
            udp: std::iter::once(config.sip.udp).chain(config.sip.also.clone()).collect(),
            tcp: std::iter::once(config.sip.tcp.unwrap_or(config.sip.udp))
                .chain(config.sip.also.clone())
                .collect(),
            tls: config.sip.tls.into_iter().collect(),
            ws: config.sip.ws.into_iter().collect(),
            wss: config.sip.wss.into_iter().collect(),
            tls_files: tls_files(config)?,
            tls_peers: config.trunk.iter().filter_map(tls_peer).collect(),
            advertise,
            dscp: Dscp::new(config.sip.dscp).unwrap_or_default(),
            max_connections: config.sip.max_connections,
            max_connections_per_source: config.sip.max_connections_per_source,
            connection_burst: u32::try_from(config.sip.max_connections_per_source)
                .unwrap_or(u32::MAX),
            ..TransportConfig::at(config.sip.udp)
        },
        relay: RelayConfig {
            advertise,
            bind: config.media_bind(),
            ports: config.media_ports(),
            threads: config.media.threads,
            dscp: Dscp::new(config.media.dscp).unwrap_or_default(),
            hold_music: hold::music(&config.media.hold_tone)?,
            ..RelayConfig::at(advertise)
        },
    })
}

/// Keeps call control told where trunks are that are known by name, if there are any.
fn names(
    config: &Config,
    capture: &Capture,
    stop: CancellationToken,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let wanted: Vec<_> = config.trunk.iter().filter_map(TrunkEntry::wanted).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let families = Families::of(capture.udp_addresses());
    let names = Names::new(&config.sip.dns_servers, families)?;
    Ok(Some(tokio::spawn(resolve::keep(names, wanted, capture.handle(), stop))))
}

/// What the TLS listeners show, if there are any: what is configured, else what we make ourselves.
fn tls_files(config: &Config) -> anyhow::Result<Option<TlsFiles>> {
    let sip = &config.sip;
    if sip.tls.is_none() && sip.wss.is_none() {
        return Ok(None);
    }
    let first = match (&sip.tls_certificate, &sip.tls_key) {
        (Some(certificate), Some(key)) => {
            CertificateFiles { certificate: certificate.clone(), key: key.clone() }
        }
        _ => {
            let dir = config.own_tls_dir();
            private_dir(&dir)?;
            CertificateFiles::own(&dir, &[config.sip.advertised().to_string()])?
        }
    };
    let named = sip.tls_named.iter().map(|named| CertificateFiles {
        certificate: named.certificate.clone(),
        key: named.key.clone(),
    });
    Ok(Some(TlsFiles {
        certificates: std::iter::once(first).chain(named).collect(),
        client_ca: sip.tls_client_ca.clone(),
    }))
}

fn tls_peer(trunk: &TrunkEntry) -> Option<TlsPeer> {
    if !trunk.may_be_tls() {
        return None;
    }
    let trust = match &trunk.tls_ca {
        _ if trunk.tls_insecure => {
            tracing::warn!(trunk = trunk.name, "tls_insecure: whoever answers is believed");
            TlsTrust::Anyone
        }
        Some(path) => TlsTrust::Authorities(path.clone()),
        None => TlsTrust::WebRoots,
    };
    let shown = match (&trunk.tls_certificate, &trunk.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(CertificateFiles { certificate: certificate.clone(), key: key.clone() })
        }
        _ => None,
    };
    let address =
        trunk.address.ip().map(|ip| SocketAddr::new(ip, trunk.address.port.unwrap_or(5061)));
    Some(TlsPeer {
        trunk: trunk.name.clone(),
        addresses: address.into_iter().collect(),
        name: trunk.certificate_name(),
        trust,
        shown,
    })
}

/// When the last call of each phone ended, of those that a group may care about.
async fn last_calls(database: &Database) -> anyhow::Result<Vec<(String, Timestamp)>> {
    let mut last = Vec::new();
    for dealership in admin::dealerships(database).await? {
        let calls = call::last_calls(database, dealership.dealership_id, before(LAST_CALLS));
        last.extend(calls.await?);
    }
    Ok(last)
}

fn call_settings(
    config: &Config,
    last_calls: Vec<(String, Timestamp)>,
) -> anyhow::Result<Settings> {
    let (nonce_secret, seed) = (rand::random(), rand::random());
    let registration =
        Duration::from_secs(60)..=Duration::from_secs(config.sip.registration_seconds);
    // Capture knows the ports it got, and makes the certificates.
    Ok(Settings {
        advertise_to: config.sip.advertised_to(),
        product: concat!("Cheling/", env!("CARGO_PKG_VERSION")).into(),
        trunks: config.trunks()?,
        local_mobiles: local_mobiles(config)?,
        guard: config.sip.guard(),
        digests: config.sip.offered_digests(),
        registration,
        max_calls: config.sip.max_calls,
        session_timer: config.sip.session_timer(),
        plays_on_hold: !config.media.hold_tone.is_empty(),
        pause: config.recording.pause(),
        srtp: config.media.srtp,
        last_calls,
        ..Settings::at(config.sip.advertised(), nonce_secret, seed)
    })
}

/// The mobile numbers that are from town, as the dealership's list has them.
fn local_mobiles(config: &Config) -> anyhow::Result<LocalMobiles> {
    let Some(path) = &config.dealership.local_mobiles else { return Ok(LocalMobiles::default()) };
    let list = std::fs::read_to_string(path);
    let list = list.with_context(|| format!("dealership.local_mobiles: {}", path.display()))?;
    let read = LocalMobiles::read(&list);
    read.with_context(|| format!("dealership.local_mobiles: {}", path.display()))
}

fn web_settings(config: &Config, sip_port: u16) -> cheling_web::Settings {
    cheling_web::Settings {
        secure_cookies: config.web.secure_cookies,
        trusted_proxies: config.web.trusted_proxies.clone(),
        metrics_token: config.web.metrics_token.clone(),
        metrics_open: false,
        time_zone: time_zone(config),
        realm: config.sip.realm.clone(),
        registrar: switchboard::registrar(config, sip_port),
        opus: config.recording.opus(),
        container: config.recording.container,
        opus_after_days: config.recording.opus_after_days,
    }
}

/// SIGINT and SIGTERM.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Begins to listen for them.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of either.
    pub async fn first(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
