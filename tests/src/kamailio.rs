//! kamailio, run in the foreground with a configuration that the test writes.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::child::Process;
use crate::eventually;

/// What any configuration of ours begins with.
///
/// `listen` are values of `listen=`, such as `udp:127.0.0.1:5060`.
pub fn preamble(listen: &[String]) -> String {
    let mut text = String::from(
        "#!KAMAILIO\n\
         debug=2\nlog_stderror=yes\nmemdbg=5\nmemlog=5\n\
         children=1\ntcp_children=1\nauto_aliases=no\ndns=no\nrev_dns=no\n\
         server_header=\"Server: kamailio\"\n",
    );
    for address in listen {
        text.push_str(&format!("listen={address}\n"));
    }
    if !listen.iter().any(|address| !address.starts_with("udp:")) {
        text.push_str("disable_tcp=yes\n");
    }
    for module in ["tm", "sl", "rr", "pv", "maxfwd", "siputils", "textops", "xlog", "tmx"] {
        text.push_str(&format!("loadmodule \"{module}.so\"\n"));
    }
    text
}

/// A running kamailio.
pub struct Kamailio {
    process: Process,
    runtime: PathBuf,
}

impl Kamailio {
    /// Starts it with this configuration, which must answer OPTIONS at `address` (UDP), and waits
    /// until it does.
    ///
    /// # Panics
    /// If the folder cannot be written, or kamailio does not like the configuration.
    pub async fn start(config: &str, address: SocketAddr, folder: &Path) -> Self {
        let name = format!("kamailio-{}", address.port());
        let file = folder.join(format!("{name}.cfg"));
        let runtime = folder.join(&name);
        std::fs::create_dir_all(&runtime).unwrap();
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("kamailio");
        command.args(["-DD", "-E", "-m", "64", "-M", "8"]);
        command.arg("-f").arg(&file).arg("-Y").arg(&runtime).arg("-w").arg(&runtime);
        // Debian keeps it where only root looks.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        let mut process = Process::start(&name, command, folder);
        let socket = UdpSocket::bind((address.ip(), 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let from = socket.local_addr().unwrap();
        let options = format!(
            "OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKready;rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:test@{from}>;tag=1\r\nTo: <sip:{address}>\r\n\
             Call-ID: ready@{from}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        eventually("kamailio answers OPTIONS", || {
            assert!(process.is_running(), "kamailio ended:\n{}", process.said());
            let _ = socket.send_to(options.as_bytes(), address);
            let is_up = socket.recv(&mut [0; 2048]).is_ok();
            async move { is_up.then_some(()) }
        })
        .await;
        Self { process, runtime }
    }

    /// Everything it has logged so far.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Waits until it has logged this.
    pub async fn says(&mut self, text: &str) {
        self.process.says(text).await;
    }

    /// CPU time so far of all its processes.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let parent = self.process.id()?;
        let mut sum = self.process.cpu_seconds()?;
        for entry in std::fs::read_dir("/proc").ok()?.flatten() {
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((_, rest)) = stat.rsplit_once(')') else { continue };
            let fields: Vec<&str> = rest.split_whitespace().collect();
            if fields.get(1).and_then(|pid| pid.parse().ok()) == Some(parent) {
                sum += crate::child::cpu_seconds_of(&stat)?;
            }
        }
        Some(sum)
    }

    /// Its folder for run-time files.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }
}

impl Drop for Kamailio {
    /// Its first process ends the others, if it is asked and not killed.
    fn drop(&mut self) {
        let Some(pid) = self.process.id() else { return };
        let asked = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status();
        let end = Instant::now() + Duration::from_secs(5);
        while asked.is_ok() && self.process.is_running() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
