//! `cheling call list` and `cheling recording list`.

use crate::cli::List;
use crate::config::Config;
use crate::facts::{self, time_zone};
use cheling_model::Timestamp;
use cheling_records::call::{CallFilter, CallItem};
use cheling_records::recording::{RecordingFilter, RecordingItem};
use cheling_records::{call, recording};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// Prints calls, newest first.
pub async fn calls(list: &List, config: &Config) -> anyhow::Result<()> {
    let facts = facts::open_existing(config).await?;
    let dealership_id = facts.dealership.dealership_id;
    let page = call::list(&facts.database, dealership_id, &CallFilter::default(), None, list.limit)
        .await?;
    if list.output.json {
        println!("{}", Value::from(page.items.iter().map(call_json).collect::<Vec<_>>()));
        return Ok(());
    }
    let zone = time_zone(config);
    for item in &page.items {
        let answered = item.answered_at.map_or_else(
            || item.cause.map_or("in progress", |cause| cause.as_str()).to_owned(),
            |at| item.ended_at.map_or_else(|| "talking".to_owned(), |end| clock(end.since(at))),
        );
        println!(
            "{}  {:<8} {:<16} {:<8} {:<12} {}",
            local(item.offered_at, &zone),
            item.direction.as_str(),
            item.customer_number,
            item.extension,
            answered,
            item.customer_name,
        );
    }
    Ok(())
}

fn call_json(item: &CallItem) -> Value {
    json!({
        "call_id": item.call_id, "direction": item.direction, "number": item.customer_number,
        "caller": item.caller_number, "called": item.called_number, "extension": item.extension,
        "user_name": item.user_name, "customer_id": item.customer_id,
        "customer_name": item.customer_name, "offered_at": item.offered_at,
        "answered_at": item.answered_at, "ended_at": item.ended_at,
        "cause": item.cause, "follow_up_id": item.follow_up_id,
        "recording_id": item.recording_id, "verdict": item.verdict,
    })
}

/// Prints recordings, newest first.
pub async fn recordings(list: &List, config: &Config) -> anyhow::Result<()> {
    let facts = facts::open_existing(config).await?;
    let dealership_id = facts.dealership.dealership_id;
    let wanted = RecordingFilter::default();
    let page = recording::list(&facts.database, dealership_id, &wanted, None, list.limit).await?;
    let mut rows = Vec::with_capacity(page.items.len());
    for item in page.items {
        let whole = recording::find(&facts.database, dealership_id, item.recording_id).await?;
        rows.push((item, whole));
    }
    if list.output.json {
        println!("{}", Value::from(rows.iter().map(recording_json).collect::<Vec<_>>()));
        return Ok(());
    }
    let zone = time_zone(config);
    for (item, whole) in &rows {
        let length = std::time::Duration::from_micros(item.duration_us.unsigned_abs());
        println!(
            "{}  {:<8} {:<13} {:<16} {:<8} {}",
            local(item.started_at, &zone),
            clock(length),
            item.verdict.as_str(),
            item.customer_number,
            item.extension,
            whole.path,
        );
    }
    Ok(())
}

fn recording_json((item, whole): &(RecordingItem, cheling_model::recording::Recording)) -> Value {
    let mut value = serde_json::to_value(whole).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        fields.insert("direction".into(), json!(item.direction));
        fields.insert("number".into(), json!(item.customer_number));
        fields.insert("extension".into(), json!(item.extension));
        fields.insert("follow_up_id".into(), json!(item.follow_up_id));
        fields.insert("attach_method".into(), json!(item.attach_method));
    }
    value
}

/// `2026-11-22 09:34:02`, by the dealership's clock.
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    jiff::Timestamp::from_microsecond(at.as_micros()).map_or_else(
        |_| "?".to_owned(),
        |at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// `3:46`, or `1:03:46`.
fn clock(length: std::time::Duration) -> String {
    let seconds = length.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn lengths_read_like_a_clock() {
        for (seconds, want) in [(0, "0:00"), (226, "3:46"), (3826, "1:03:46")] {
            assert_eq!(clock(Duration::from_secs(seconds)), want);
        }
    }
}
