//! `cheling import-pcap`: recordings out of capture files, by the way that live calls take.

use crate::cli::ImportPcap;
use crate::config::Config;
use crate::facts::{self, private_dir};
use crate::node;
use crate::tap::{JournalSink, Rows};
use anyhow::Context as _;
use cheling_capture::TapSink;
use cheling_capture::pcap::{ImportReport, Perspective, import};
use cheling_lookup::desk::Desk;
use cheling_lookup::directory;
use cheling_model::TapEvent;
use cheling_model::recording::Recording;
use cheling_model::tap::TapBlock;
use cheling_store::workers::RenderQueue;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Rendering may take this long after the last packet is read.
const RENDERING: Duration = Duration::from_secs(3600);
/// Events and recordings on their way to the database; who sends waits.
const QUEUE: usize = 1024;

/// Exit code 1 if a file could not be read to its end.
pub async fn run(command: ImportPcap, config: Config) -> anyhow::Result<ExitCode> {
    let facts = facts::open(&config).await?;
    let files = node::files(&config)?;
    // A journal of its own: the service may be running on the other one.
    private_dir(&config.data_dir)?;
    let folder = tempfile::Builder::new().prefix("import-").tempdir_in(&config.data_dir)?;
    let journal_config = Config {
        recording: crate::config::Recording {
            journal_dir: Some(folder.path().to_owned()),
            disk: Vec::new(),
            ..config.recording.clone()
        },
        ..config.clone()
    };
    let queue = RenderQueue::default();
    let (journal, _) = node::journal(&journal_config, &files, &queue)?;
    let (landed, mut landings) = mpsc::channel(QUEUE);
    let desk = Arc::new(Desk::new(facts.database.clone()).await?);
    let rows = Rows::beside(Arc::clone(&desk), facts.database.clone());
    let workers = node::workers(&config, rows, &journal, &files, &queue, landed)?;
    let perspective = Perspective {
        dealership_id: facts.dealership.dealership_id,
        directory: Arc::new(
            directory::build(&facts.database, &config.sip.realm, config.utc_offset_s()).await?,
        ),
        trunks: config.trunks()?,
    };

    let (told, mut events) = mpsc::channel(QUEUE);
    let sink = Arc::new(ImportSink { journal: JournalSink(journal.handle()), told });
    let handle = journal.handle();
    let paths = command.files.clone();
    let shows_progress = !command.output.json;
    let reading = tokio::task::spawn_blocking(move || {
        let reports: Vec<_> = paths
            .iter()
            .map(|path| read(path, perspective.clone(), sink.as_ref(), shows_progress))
            .collect();
        drop(sink);
        let is_written = handle.flush().is_ok();
        let is_rendered = is_written && queue.wait_until_empty(Instant::now() + RENDERING);
        drop(workers);
        (reports, is_rendered)
    });
    while let Some(event) = events.recv().await {
        desk.handle(event).await;
    }
    desk.write().await;
    let mut recordings = Vec::new();
    while let Some(recording) = landings.recv().await {
        desk.recordings_landed(std::slice::from_ref(&recording), facts::now()).await;
        recordings.push(recording);
    }
    let (reports, is_rendered) = reading.await?;
    anyhow::ensure!(is_rendered, "not every recording was finished");
    tokio::task::spawn_blocking(move || drop(journal)).await?;

    let mut is_whole = true;
    let mut rows = Vec::new();
    for (path, report) in command.files.iter().zip(reports) {
        let report = report?;
        is_whole &= report.fault.is_none();
        let of_file: Vec<&Recording> =
            recordings.iter().filter(|it| report.calls.contains(&it.call_id)).collect();
        if command.output.json {
            rows.push(to_json(path, &report, &of_file));
        } else {
            print(path, &report, &of_file);
        }
    }
    if command.output.json {
        println!("{}", Value::from(rows));
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The journal, and the desk beside it.
struct ImportSink {
    journal: JournalSink,
    told: mpsc::Sender<TapEvent>,
}

impl TapSink for ImportSink {
    fn packets(&self, block: TapBlock) -> Result<(), TapBlock> {
        self.journal.packets(block)
    }

    fn event(&self, event: TapEvent) {
        self.journal.event(event.clone());
        // Nobody is talking: the reader waits for the database.
        let _ = self.told.blocking_send(event);
    }
}

fn read(
    path: &Path,
    perspective: Perspective,
    sink: &dyn TapSink,
    shows_progress: bool,
) -> anyhow::Result<ImportReport> {
    let bar = if shows_progress { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes}") {
        bar.set_style(style);
    }
    bar.set_message(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    let report = import(path, perspective, sink, |progress| {
        bar.set_length(progress.file_bytes);
        bar.set_position(progress.read_bytes);
    });
    bar.finish_and_clear();
    report.with_context(|| format!("import of {}", path.display()))
}

fn print(path: &Path, report: &ImportReport, recordings: &[&Recording]) {
    println!(
        "{}: {} frames, {} SIP messages, {} calls, {} answered, {} RTP packets",
        path.display(),
        report.frames,
        report.sip_messages,
        report.calls.len(),
        report.answered_calls,
        report.rtp_packets
    );
    for recording in recordings {
        let detail = match recording.verdict_detail.as_str() {
            "" => String::new(),
            detail => format!(" ({detail})"),
        };
        println!(
            "  {:.2} s  {}{detail}  {}|{}  {}",
            recording.duration_us as f64 / 1e6,
            recording.verdict.as_str(),
            recording.encodings[0],
            recording.encodings[1],
            recording.path
        );
    }
    if let Some(fault) = &report.fault {
        println!("  the file breaks off: {fault}; everything before is imported");
    }
}

fn to_json(path: &Path, report: &ImportReport, recordings: &[&Recording]) -> Value {
    json!({
        "file": path.display().to_string(),
        "frames": report.frames,
        "sip_messages": report.sip_messages,
        "calls": report.calls,
        "answered_calls": report.answered_calls,
        "rtp_packets": report.rtp_packets,
        "unrecorded_packets": report.unrecorded_packets,
        "refused_packets": report.refused_packets,
        "unclaimed_packets": report.unclaimed_packets,
        "fault": report.fault.as_ref().map(ToString::to_string),
        "recordings": recordings,
    })
}
