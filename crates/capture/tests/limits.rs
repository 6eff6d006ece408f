//! What happens when the system has no file descriptors left. Alone in its process, because the
//! limit is the process's.

#![allow(clippy::unwrap_used)]

use cheling_capture::clock::AnchoredClock;
use cheling_capture::relay::{RelayConfig, Relays, Report};
use cheling_capture::sink::{SpareBlocks, TapSink};
use cheling_model::tap::TapBlock;
use cheling_model::{CallId, TapEvent, Timestamp};
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{TrySendError, sync_channel};
use std::time::Duration;

struct Nobody;
impl TapSink for Nobody {
    fn packets(&self, _: TapBlock) -> Result<(), TapBlock> {
        Ok(())
    }
    fn event(&self, _: TapEvent) {}
}

fn call(number: u8) -> CallId {
    CallId::mint(Timestamp::from_micros(1), [number; 10])
}

#[test]
fn without_file_descriptors_a_relay_fails_and_those_that_are_open_go_on() {
    let (report, reports) = sync_channel(16);
    let mut config = RelayConfig::at(IpAddr::V4(Ipv4Addr::LOCALHOST));
    config.ports = 31_000..=31_099;
    config.port_rest = Duration::ZERO;
    config.threads = 1;
    let mut relays = Relays::start(
        &config,
        Arc::new(Nobody),
        Arc::new(SpareBlocks::new(1)),
        Arc::new(move |it| match report.try_send(it) {
            Err(TrySendError::Full(it)) => Err(it),
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
        }),
    )
    .unwrap();
    let open = |relays: &mut Relays, number| {
        assert!(relays.open(call(number), AnchoredClock::start()));
        let report = reports.recv_timeout(Duration::from_secs(10)).unwrap();
        relays.note(&report);
        report
    };
    assert!(matches!(open(&mut relays, 1), Report::Opened { .. }));
    // Three descriptors more than now are too few for four sockets.
    let probes: Vec<File> = (0..3).map(|_| File::open("/dev/null").unwrap()).collect();
    let limit = format!("--nofile={}:", probes[2].as_raw_fd() + 1);
    drop(probes);
    let pid = std::process::id().to_string();
    let lowered = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    if !lowered.is_ok_and(|status| status.success()) {
        return; // No prlimit here: nothing can be said.
    }
    assert_eq!(open(&mut relays, 2), Report::Failed { call_id: call(2) });
    assert!(relays.close(call(1)));
    let closed = reports.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(matches!(closed, Report::Closed { .. }));
    // What it gave back is enough for another.
    assert!(matches!(open(&mut relays, 3), Report::Opened { .. }));
}
