//! SIPp with scenarios of our own, in `tests/sipp/`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use cheling_phone::{Law, Sound};
use tokio::process::Command;

use crate::child::Process;
use crate::eventually;

/// One run of SIPp.
pub struct Sipp {
    process: Process,
    local: SocketAddr,
    folder: PathBuf,
}

/// What a run is told.
pub struct SippRun<'a> {
    /// A file of `tests/sipp/`, without `.xml`.
    pub scenario: &'a str,
    /// Where SIPp's SIP and RTP sockets are.
    pub local: SocketAddr,
    /// First RTP port.
    pub rtp_port: u16,
    /// The other end.
    pub remote: SocketAddr,
    /// `{{name}}` in the scenario becomes the value.
    pub values: &'a [(&'a str, &'a str)],
    /// Calls; more than one at the same time if `rate` allows it.
    pub calls: u32,
    /// Further arguments.
    pub more: &'a [&'a str],
}

impl Sipp {
    /// Starts it.
    ///
    /// # Panics
    /// If the folder cannot be written.
    pub fn start(run: &SippRun<'_>, folder: &Path) -> Self {
        let name = format!("sipp-{}-{}", run.scenario, run.local.port());
        let scenario = folder.join(format!("{name}.xml"));
        std::fs::write(&scenario, filled_in(run.scenario, run.values)).unwrap();
        let mut command = Command::new("sipp");
        command
            .current_dir(folder)
            .arg(run.remote.to_string())
            .args(["-sf", scenario.to_str().unwrap()])
            .args(["-i", &run.local.ip().to_string(), "-p", &run.local.port().to_string()])
            .args(["-mi", &run.local.ip().to_string()])
            .args(["-mp", &run.rtp_port.to_string()])
            .args(["-m", &run.calls.to_string()])
            .args(["-nostdin", "-trace_err", "-timeout", "60", "-timeout_error"])
            .args(run.more)
            .env("TERM", "dumb");
        let process = Process::start(&name, command, folder);
        Self { process, local: run.local, folder: folder.to_owned() }
    }

    /// Waits until its UDP socket is open: a call before that meets a closed port.
    pub async fn listens(&self) {
        let IpAddr::V4(ip) = self.local.ip() else { panic!("IPv4 only") };
        let socket = format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), self.local.port());
        eventually("SIPp's socket", || async {
            std::fs::read_to_string("/proc/net/udp").unwrap().contains(&socket).then_some(())
        })
        .await;
    }

    /// Waits for its end; 0 means that every call went as the scenario says.
    pub async fn ends(mut self) -> ExitStatus {
        self.process.ends().await
    }

    /// Waits for its end and demands that every call went well.
    ///
    /// # Panics
    /// If one did not.
    pub async fn succeeds(mut self) {
        let status = self.process.ends().await;
        assert!(status.success(), "sipp: {status}\n{}", self.complaints());
    }

    /// What it wrote about messages that it did not expect.
    fn complaints(&self) -> String {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let logs = files.filter(|it| it.file_name().to_string_lossy().ends_with("_errors.log"));
        logs.filter_map(|it| std::fs::read_to_string(it.path()).ok()).collect()
    }
}

/// The scenario with its values; SIPp itself fills in no file names.
fn filled_in(name: &str, values: &[(&str, &str)]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sipp");
    let mut text = std::fs::read_to_string(folder.join(format!("{name}.xml"))).unwrap();
    for (name, value) in values {
        text = text.replace(&format!("{{{{{name}}}}}"), value);
    }
    assert!(!text.replace("-->", "").contains("=\"{{"), "{name}: a value is missing");
    text
}

/// Writes a tone as the raw A-law file that SIPp's `rtp_stream` plays, and returns its path.
///
/// # Panics
/// If the file cannot be written.
pub fn alaw_tone(folder: &Path, frequency_hz: f32, seconds: usize) -> PathBuf {
    let mut pcm = vec![0; seconds * 8000];
    // A whole number of periods a second: the file can be looped without a click.
    let sound = Sound::tone(frequency_hz);
    cheling_phone::render(&sound, &mut pcm);
    let mut octets = Vec::new();
    Law::A.encode(&pcm, &mut octets);
    let path = folder.join(format!("tone-{frequency_hz}.al"));
    std::fs::write(&path, octets).unwrap();
    path
}

/// An unused local address for a scenario.
pub fn local(ip: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from(ip), port)
}
