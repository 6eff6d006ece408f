//! Old recordings become Ogg Opus: in the background as configured, or at once by
//! `cheling recording convert`.

use crate::cli::{Convert, Format};
use crate::config::Config;
use crate::facts::{self, Facts};
use crate::node;
use crate::tap::Rows;
use anyhow::Context as _;
use cheling_model::Timestamp;
use cheling_model::recording::Container;
use cheling_records::recording;
use cheling_store::conversion::{
    Conversion, ConversionCounters, ConversionError, ConversionReport,
};
use cheling_store::files::RecordingFiles;
use cheling_store::workers::lower_priority;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;

/// How often the background looks for recordings that have become old.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// How nice the thread is to those that relay and render.
const NICENESS: i32 = 15;

/// The thread that converts. Dropping it ends it, the recording it is at left as it was.
#[derive(Debug, Default)]
pub struct Converter {
    counters: Arc<ConversionCounters>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Converter {
    /// Starts the thread, if the configuration wants one.
    ///
    /// # Errors
    /// What the operating system says when it has no thread left.
    pub fn start(config: &Config, facts: &Facts, files: &RecordingFiles) -> anyhow::Result<Self> {
        let mut converter = Self::default();
        let Some(age) = config.recording.opus_age() else { return Ok(converter) };
        let mut conversion = conversion(config, facts, files.clone());
        let (counters, stop) = (converter.counters.clone(), converter.stop.clone());
        let thread = std::thread::Builder::new().name("convert".into()).spawn(move || {
            lower_priority(NICENESS);
            while !stop.load(Ordering::Relaxed) {
                match conversion.run(before(age), &stop, &counters, |_, _| {}) {
                    Ok(report) if report == ConversionReport::default() => {}
                    Ok(report) => tracing::info!(
                        converted = report.converted,
                        failed = report.failed,
                        saved_bytes = report.saved_bytes,
                        "old recordings were converted to Opus"
                    ),
                    Err(ConversionError::Busy) => {}
                    Err(error) => {
                        tracing::error!(%error, "the conversion goes on in an hour");
                    }
                }
                if !stop.load(Ordering::Relaxed) {
                    std::thread::park_timeout(LOOK_EVERY);
                }
            }
        })?;
        converter.thread = Some(thread);
        Ok(converter)
    }

    /// What it did.
    pub fn counters(&self) -> Arc<ConversionCounters> {
        self.counters.clone()
    }
}

impl Drop for Converter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        if thread.join().is_err() {
            tracing::error!("the conversion thread panicked");
        }
    }
}

fn conversion(config: &Config, facts: &Facts, files: RecordingFiles) -> Conversion<Rows> {
    Conversion::new(
        files,
        Rows::of(facts.database.clone()),
        config.recording.opus(),
        Handle::current(),
    )
}

fn before(age: Duration) -> Timestamp {
    let age_us = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(facts::now().as_micros().saturating_sub(age_us))
}

/// `cheling recording convert`: exit code 1 if a recording could not be converted.
pub async fn run(convert: Convert, config: Config) -> anyhow::Result<ExitCode> {
    let facts = facts::open_existing(&config).await?;
    let files = node::files(&config)?;
    let mut conversion = conversion(&config, &facts, files);
    let mut signals = node::Signals::new()?;
    let stop = Arc::new(AtomicBool::new(false));
    let is_told = stop.clone();
    let work = tokio::task::spawn_blocking(move || {
        let bar = ProgressBar::new(0).with_style(style());
        let counters = ConversionCounters::default();
        let report =
            conversion.run(before(convert.older_than), &is_told, &counters, |done, all| {
                bar.set_length(all);
                bar.set_position(done);
            });
        bar.finish_and_clear();
        report
    });
    tokio::pin!(work);
    let report = loop {
        tokio::select! {
            report = &mut work => break report??,
            () = signals.first() => stop.store(true, Ordering::Relaxed),
        }
    };
    if convert.output.json {
        println!(
            "{}",
            serde_json::json!({
                "converted": report.converted, "failed": report.failed,
                "saved_bytes": report.saved_bytes, "was_stopped": report.was_stopped,
            })
        );
    } else {
        println!(
            "{} converted, {} failed, {} MB saved{}",
            report.converted,
            report.failed,
            report.saved_bytes / 1_000_000,
            if report.was_stopped { "; stopped before the end" } else { "" },
        );
    }
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {pos}/{len} recordings, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// `cheling recording format`: shows or says how the dealership's new recordings are made.
pub async fn format(format: Format, config: &Config) -> anyhow::Result<()> {
    let facts = facts::open_existing(config).await?;
    let id = facts.dealership.dealership_id;
    if let Some(wanted) = format.container {
        let container = match wanted.as_str() {
            "default" => None,
            word => Some(
                serde_json::from_value::<Container>(word.into())
                    .with_context(|| format!("{word:?} is not wav, ogg_opus or default"))?,
            ),
        };
        recording::set_container(&facts.database, id, container, facts::now()).await?;
    }
    let word = |container: Container| match container {
        Container::Wav => "wav",
        Container::OggOpus => "ogg_opus",
    };
    match recording::container(&facts.database, id).await? {
        Some(container) => println!("{}", word(container)),
        None => println!("{} (the default)", word(config.recording.container)),
    }
    Ok(())
}
