//! `cheling check`: every row has its file, every file its row, every answered call its verdict.

use crate::cli::Check;
use crate::config::Config;
use crate::tap::Rows;
use crate::{facts, node};
use cheling_store::check::{Depth, check, mend};
use std::process::ExitCode;

/// Exit code 1 if anything is wrong.
pub async fn run(command: Check, config: &Config) -> anyhow::Result<ExitCode> {
    let facts = facts::open_existing(config).await?;
    let files = node::files(config)?;
    let journals = config.journal_dirs();
    let rows = Rows::of(facts.database);
    let mut report = check(&rows, &files, &journals, Depth::Hashes, facts::now()).await?;
    if command.repair {
        mend(&rows, &mut report).await?;
    }
    if command.output.json {
        let failures: Vec<_> = report.failures.iter().map(ToString::to_string).collect();
        println!(
            "{}",
            serde_json::json!({
                "rows": report.rows, "files": report.files, "bytes": report.bytes,
                "journal_calls": report.journal_calls, "mended_calls": report.mended_calls,
                "failures": failures,
            })
        );
    } else {
        for failure in &report.failures {
            println!("{failure}");
        }
        if command.repair {
            println!("{} calls got the row that says they were not recorded", report.mended_calls);
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

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::cli::Output;
    use cheling_model::{DealershipId, Direction, EndCause, Timestamp, Verdict};
    use cheling_records::call::{Call, MatchMethod};
    use cheling_records::{Database, mint, recording};

    /// A call of a minute that was answered and is over.
    pub async fn talked(database: &Database, dealership_id: DealershipId) -> Call {
        let now = Timestamp::from_micros(facts::now().as_micros() - 60_000_000);
        let row = Call {
            call_id: mint(),
            dealership_id,
            direction: Direction::Inbound,
            caller_number: "13812345678".into(),
            caller_name: String::new(),
            presentation: cheling_model::Presentation::Allowed,
            called_number: "58998000".into(),
            customer_number: "13812345678".into(),
            customer_key: "13812345678".into(),
            trunk: "gateway".into(),
            line_id: None,
            extension: "8001".into(),
            user_id: None,
            offered_at: now,
            ringing_at: None,
            answered_at: Some(now),
            ended_at: Some(now),
            cause: Some(EndCause::HungUp),
            hangup_by: None,
            sip_status: None,
            customer_id: None,
            match_method: MatchMethod::None,
            follow_up_id: None,
            attach_method: None,
        };
        cheling_records::insert(database, &row).await.unwrap();
        row
    }

    #[tokio::test]
    async fn a_call_whose_row_is_gone_fails_until_it_is_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data_dir: folder.path().join("data"), ..Config::default() };
        let facts = facts::open(&config).await.unwrap();
        for journal in config.journal_dirs() {
            std::fs::create_dir_all(journal).unwrap();
        }
        let checked = async |repair| {
            let output = Output { json: true };
            run(Check { repair, output }, &config).await.unwrap()
        };
        assert_eq!(checked(false).await, ExitCode::SUCCESS);
        let call = talked(&facts.database, facts.dealership.dealership_id).await;
        assert_eq!(checked(false).await, ExitCode::FAILURE);
        assert_eq!(checked(true).await, ExitCode::SUCCESS);
        assert_eq!(checked(false).await, ExitCode::SUCCESS);
        let rows = recording::of_call(&facts.database, call.call_id).await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].verdict, Verdict::NotRecorded);
        assert!(!rows[0].verdict_detail.is_empty());
    }
}
