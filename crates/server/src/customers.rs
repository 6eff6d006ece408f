//! `cheling customer import`: customers out of a spreadsheet.

use crate::cli::{Customer, Output};
use crate::config::Config;
use crate::facts;
use anyhow::Context as _;
use cheling_lookup::import::entry::Reason;
use cheling_lookup::import::profile::Profile;
use cheling_lookup::import::{Mode, Options, Report, run as import};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::Path;
use std::process::ExitCode;

/// Refused rows that are printed; all are in the `--json` answer.
const SHOWN: usize = 50;

/// Exit code 1 if a row was refused.
pub async fn run(command: Customer, config: &Config) -> anyhow::Result<ExitCode> {
    let Customer::Import { file, profile, dry_run, output } = command;
    let profile = read_profile(&profile)?;
    let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let facts = facts::open(config).await?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let options = Options {
        dealership_id: facts.dealership.dealership_id,
        user_id: None,
        file_name: &name,
        profile: &profile,
        mode: if dry_run { Mode::DryRun } else { Mode::Apply },
        now: facts::now(),
    };
    let bar = if output.json { ProgressBar::hidden() } else { ProgressBar::new(0) };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} rows") {
        bar.set_style(style);
    }
    let report = import(&facts.database, &bytes, &options, &mut |progress| {
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
    })
    .await
    .with_context(|| format!("import of {}", file.display()))?;
    bar.finish_and_clear();
    print(&report, dry_run, output);
    Ok(if report.job.bad_rows == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `standard`, or a file.
fn read_profile(name: &str) -> anyhow::Result<Profile> {
    if name == "standard" {
        return Ok(Profile::standard());
    }
    let text = std::fs::read_to_string(Path::new(name))
        .with_context(|| format!("--profile {name} is neither `standard` nor a readable file"))?;
    Profile::parse(&text).with_context(|| format!("--profile {name}"))
}

fn print(report: &Report, dry_run: bool, output: Output) {
    if output.json {
        println!("{}", serde_json::to_value(report).unwrap_or_default());
        return;
    }
    for error in report.errors.iter().take(SHOWN) {
        let column = match error.column_name.as_str() {
            "" => String::new(),
            column => format!(", {column}"),
        };
        let reason =
            Reason::from_word(&error.reason).map_or(error.reason.as_str(), |reason| reason.text());
        println!("row {}{column}: {reason} ({:?})", error.row_number, error.cell);
    }
    let job = &report.job;
    if job.bad_rows as usize > SHOWN {
        println!("… {} refused rows in all", job.bad_rows);
    }
    let would = if dry_run { "would be " } else { "" };
    println!(
        "{} rows: {} {would}new, {} {would}updated, {} unchanged, {} refused",
        job.total_rows, job.created_rows, job.updated_rows, job.skipped_rows, job.bad_rows
    );
}
