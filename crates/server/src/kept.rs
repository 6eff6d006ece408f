//! `registrations.json` in the data folder: which phones are registered by UDP, so that a restart
//! loses none of them. The file is this node's own: a node at a dealership needs its phones when the
//! database is far away.

use anyhow::Context as _;
use cheling_call::registrar::Kept;
use cheling_capture::Handle;
use cheling_model::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often what has changed is written: more is not lost than phones that came since.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// A phone's expiry alone is written when it has moved so far.
const WORTH_WRITING_US: i64 = 30_000_000;

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Row {
    extension: String,
    contact: String,
    #[serde(default)]
    path: Vec<String>,
    local: SocketAddr,
    remote: SocketAddr,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    instance: Option<String>,
    #[serde(default)]
    reg_id: Option<u32>,
    #[serde(default = "most_wanted")]
    q: u16,
    #[serde(default)]
    temporary: Vec<String>,
    sip_call_id: String,
    cseq: u32,
    since_us: i64,
    expires_at_us: i64,
}

/// The preference of rows that name none.
fn most_wanted() -> u16 {
    1000
}

impl From<&Kept> for Row {
    fn from(kept: &Kept) -> Self {
        let kept = kept.clone();
        Self {
            extension: kept.extension,
            contact: kept.contact,
            path: kept.path,
            local: kept.local,
            remote: kept.remote,
            user_agent: kept.user_agent,
            instance: kept.instance,
            reg_id: kept.reg_id,
            q: kept.q,
            temporary: kept.temporary,
            sip_call_id: kept.sip_call_id,
            cseq: kept.cseq,
            since_us: kept.since.as_micros(),
            expires_at_us: kept.expires_at.as_micros(),
        }
    }
}

impl From<Row> for Kept {
    fn from(row: Row) -> Self {
        Self {
            extension: row.extension,
            contact: row.contact,
            path: row.path,
            local: row.local,
            remote: row.remote,
            user_agent: row.user_agent,
            instance: row.instance,
            reg_id: row.reg_id,
            q: row.q,
            temporary: row.temporary,
            sip_call_id: row.sip_call_id,
            cseq: row.cseq,
            since: Timestamp::from_micros(row.since_us),
            expires_at: Timestamp::from_micros(row.expires_at_us),
        }
    }
}

/// Reads the file; one that is missing or cannot be read costs no more than the phones' patience.
pub fn read(path: &Path) -> Vec<Kept> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let file = path.display();
            tracing::warn!(%file, %error, "phones are known when they register again");
            return Vec::new();
        }
    };
    match serde_json::from_slice::<Vec<Row>>(&text) {
        Ok(rows) => rows.into_iter().map(Kept::from).collect(),
        Err(error) => {
            let file = path.display();
            tracing::warn!(%file, %error, "phones are known when they register again");
            Vec::new()
        }
    }
}

/// Writes what has changed, now and then and once more when stopped, while call control still runs.
pub async fn keep(handle: Handle, path: PathBuf, stop: CancellationToken) {
    let mut written: Option<Vec<Kept>> = None;
    loop {
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(KEEP_EVERY) => false,
        };
        let Ok(now) = handle.kept_registrations().await else { return };
        if is_last || written.as_ref().is_none_or(|before| is_worth_writing(before, &now)) {
            let (rows, to) = (now.iter().map(Row::from).collect::<Vec<_>>(), path.clone());
            let done = tokio::task::spawn_blocking(move || write(&to, &rows)).await;
            match done {
                Ok(Ok(())) => written = Some(now),
                Ok(Err(error)) => tracing::warn!(%error, "registrations are not kept"),
                Err(error) => tracing::warn!(%error, "registrations are not kept"),
            }
        }
        if is_last {
            return;
        }
    }
}

fn is_worth_writing(before: &[Kept], now: &[Kept]) -> bool {
    let is_same = |a: &Kept, b: &Kept| {
        let moved_us = b.expires_at.as_micros() - a.expires_at.as_micros();
        a.extension == b.extension
            && a.contact == b.contact
            && a.remote == b.remote
            && moved_us.abs() < WORTH_WRITING_US
    };
    before.len() != now.len() || before.iter().zip(now).any(|(a, b)| !is_same(a, b))
}

/// Whole or not at all.
fn write(path: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let whole = path.with_extension("json.new");
    let text = serde_json::to_vec(rows)?;
    std::fs::write(&whole, text).with_context(|| format!("cannot write {}", whole.display()))?;
    std::fs::rename(&whole, path).with_context(|| format!("cannot replace {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(remote: &str, expires_s: i64) -> Kept {
        Kept {
            extension: "8001".into(),
            contact: "sip:8001@10.0.0.7:5060".into(),
            path: vec!["<sip:proxy.example;lr>".into()],
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
            user_agent: "a phone".into(),
            instance: Some("<urn:uuid:1>".into()),
            reg_id: Some(1),
            q: 500,
            temporary: vec!["abc".into()],
            sip_call_id: "c".into(),
            cseq: 7,
            since: Timestamp::from_micros(1),
            expires_at: Timestamp::from_micros(expires_s * 1_000_000),
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_what_is_broken_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registrations.json");
        assert_eq!(read(&path), []);
        let all = [kept("192.0.2.11:5060", 100), kept("[2001:db8::9]:5061", 200)];
        let rows: Vec<_> = all.iter().map(Row::from).collect();
        write(&path, &rows).unwrap();
        assert_eq!(read(&path), all);
        std::fs::write(&path, b"[{").unwrap();
        assert_eq!(read(&path), []);
    }

    #[test]
    fn a_renewal_that_moves_little_is_not_written() {
        let before = [kept("192.0.2.11:5060", 100)];
        for (now, want) in [
            (vec![kept("192.0.2.11:5060", 110)], false),
            (vec![kept("192.0.2.11:5060", 160)], true),
            (vec![kept("192.0.2.12:5060", 100)], true),
            (vec![], true),
        ] {
            assert_eq!(is_worth_writing(&before, &now), want, "{now:?}");
        }
    }
}
