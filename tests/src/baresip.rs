//! baresip as an agent's softphone: configured in a folder of its own, playing a WAV file.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::child::Process;

/// A running baresip.
pub struct Baresip {
    process: Process,
}

/// What it is told.
pub struct BaresipConfig<'a> {
    /// Its own SIP port.
    pub sip_port: u16,
    /// Its first RTP port.
    pub rtp_port: u16,
    /// Registrar and account, or `None` to be called directly.
    pub registrar: Option<SocketAddr>,
    /// User name.
    pub user: &'a str,
    /// Digest password.
    pub password: &'a str,
    /// `udp` or `tcp`.
    pub transport: &'a str,
    /// The WAV file (8 kHz mono) that it says, once.
    pub says: &'a Path,
    /// Dialled right after the start.
    pub dials: Option<&'a str>,
    /// SRTP: `srtp` (offered, may be declined) or `srtp-mand`.
    pub media_encryption: Option<&'a str>,
}

impl Baresip {
    /// Starts it; calls are answered at once.
    ///
    /// # Panics
    /// If its folder cannot be written.
    pub fn start(config: &BaresipConfig<'_>, folder: &Path) -> Self {
        let home = folder.join(format!("baresip-{}", config.user));
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("config"), settings(config)).unwrap();
        let (host, register) = match config.registrar {
            Some(server) => (server.to_string(), 60),
            None => (format!("127.0.0.1:{}", config.sip_port), 0),
        };
        let encryption =
            config.media_encryption.map(|name| format!(";mediaenc={name}")).unwrap_or_default();
        let account = format!(
            "<sip:{}@{host};transport={}>;auth_user={};auth_pass={};regint={register};\
             answermode=auto;audio_codecs=pcma;ptime=20{encryption}\n",
            config.user, config.transport, config.user, config.password
        );
        std::fs::write(home.join("accounts"), account).unwrap();
        std::fs::write(home.join("contacts"), "").unwrap();
        let mut command = Command::new("baresip");
        command.args(["-4", "-v", "-f", home.to_str().unwrap()]);
        if let Some(number) = config.dials {
            command.args(["-e", &format!("d{number}")]);
        }
        Self { process: Process::start(&format!("baresip-{}", config.user), command, folder) }
    }

    /// Waits until it has registered.
    pub async fn registered(&mut self) {
        self.process.says("200 OK").await;
    }

    /// Waits until it is ready to be called.
    pub async fn ready(&mut self) {
        self.process.says("baresip is ready").await;
    }

    /// Waits until a call is up.
    pub async fn talks(&mut self) {
        self.process.says("Call established").await;
    }

    /// Waits until its media is SRTP.
    pub async fn encrypts(&mut self) {
        self.process.says("SRTP is Enabled").await;
    }

    /// Hangs up and ends it, as Ctrl-C does.
    pub async fn quit(mut self) {
        self.process.interrupt().await;
    }
}

/// The virtual bridge swallows what is heard; the recording is looked at instead.
fn settings(config: &BaresipConfig<'_>) -> String {
    let mut text = String::new();
    let (first, last) = (config.rtp_port, config.rtp_port + 8);
    for line in [
        "poll_method epoll".to_owned(),
        format!("sip_listen 127.0.0.1:{}", config.sip_port),
        format!("audio_source aufile,{}", config.says.display()),
        "audio_player aubridge,nobody".to_owned(),
        "audio_alert aubridge,nobody".to_owned(),
        "call_max_calls 4".to_owned(),
        format!("rtp_ports {first}-{last}"),
        format!("module_path {}", module_folder().display()),
        "module g711.so".to_owned(),
        "module aufile.so".to_owned(),
        "module aubridge.so".to_owned(),
        "module srtp.so".to_owned(),
        "module_tmp account.so".to_owned(),
        "module_app menu.so".to_owned(),
    ] {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

fn module_folder() -> PathBuf {
    ["/usr/lib/baresip/modules", "/usr/lib64/baresip/modules", "/usr/local/lib/baresip/modules"]
        .iter()
        .map(PathBuf::from)
        .find(|folder| folder.is_dir())
        .expect("baresip-core brings its modules; scripts/bootstrap test installs it")
}
