//! What the end-to-end tests share: the real binary in a folder of its own, and its real clients.
//!
//! Every test takes a block of ports that no other test has (`ports`), waits for events with
//! generous deadlines instead of sleeping, and ends only the processes that it started.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

pub mod baresip;
pub mod cheling;
pub mod child;
pub mod clock;
pub mod desk;
pub mod dns;
pub mod hanging_disk;
pub mod http;
pub mod kamailio;
pub mod linphone;
pub mod load;
pub mod own_network;
pub mod pcap;
pub mod ports;
pub mod recording;
pub mod sipp;
pub mod telephone_system;
pub mod voice;
pub mod wire;

use std::future::Future;
use std::time::Duration;

/// How long anything may take before a test gives up. Two busy cores are slow.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Says that this machine cannot try something.
///
/// # Panics
/// In CI (`CI` is set), which must be able to try everything.
#[allow(clippy::print_stderr, reason = "it belongs to the test's own report")]
pub fn left_out(why: &str) {
    let is_ci = std::env::var("CI").is_ok_and(|it| !matches!(it.as_str(), "" | "false" | "0"));
    assert!(!is_ci, "{why}");
    eprintln!("left out: {why}");
}

/// Waits for something that must happen.
///
/// # Panics
/// If it does not happen within [`DEADLINE`]; `what` then names it.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("did not happen within {DEADLINE:?}: {what}"),
    }
}

/// Asks again and again, 20 times a second, until there is an answer.
///
/// # Panics
/// If there is none within [`DEADLINE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
) -> T {
    within(what, async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    })
    .await
}
