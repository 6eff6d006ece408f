//! `cheling check`: every row has its file, every file its row.

use crate::cli::Output;
use crate::config::Config;
use crate::tap::Rows;
use crate::{facts, node};
use cheling_store::check::{Depth, check};
use std::process::ExitCode;

/// Exit code 1 if anything is wrong.
pub async fn run(output: Output, config: &Config) -> anyhow::Result<ExitCode> {
    let facts = facts::open_existing(config).await?;
    let files = node::files(config)?;
    let journals = config.journal_dirs();
    let report = check(&Rows(facts.database), &files, &journals, Depth::Hashes).await?;
    if output.json {
        let failures: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
        println!(
            "{}",
            serde_json::json!({
                "rows": report.rows, "files": report.files, "bytes": report.bytes,
                "journal_calls": report.journal_calls, "failures": failures,
            })
        );
    } else {
        for failure in &report.failures {
            println!("{failure}");
        }
        println!(
            "{} recordings, {} files, {} bytes; {} calls in the journal; {} failures",
            report.rows,
            report.files,
            report.bytes,
            report.journal_calls,
            report.failures.len()
        );
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
