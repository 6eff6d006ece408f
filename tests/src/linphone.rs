//! linphone without a screen or a sound card: `linphone-daemon`, told what to do over its standard
//! input.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};

use crate::child::Process;

/// A running linphone.
pub struct Linphone {
    process: Process,
    input: ChildStdin,
    /// What it has said up to here has been waited for.
    heard: usize,
}

/// What it is told at the start.
pub struct LinphoneConfig<'a> {
    /// Its own SIP port, UDP and TCP.
    pub sip_port: u16,
    /// Its first RTP port.
    pub rtp_port: u16,
    /// Where it registers.
    pub registrar: SocketAddr,
    /// `udp`, `tcp` or `tls`.
    pub transport: &'a str,
    /// User name.
    pub user: &'a str,
    /// Digest password.
    pub password: &'a str,
}

impl Linphone {
    /// Starts it; calls are answered at once. It registers by itself.
    ///
    /// # Panics
    /// If its folder cannot be written.
    pub fn start(config: &LinphoneConfig<'_>, folder: &Path) -> Self {
        let name = format!("linphone-{}-{}", config.user, config.transport);
        let home = folder.join(&name);
        // It does not make the folder of its own database, and without one it opens no socket.
        std::fs::create_dir_all(home.join(".local/share/linphone")).unwrap();
        let file = home.join("linphonerc");
        std::fs::write(&file, linphonerc(config)).unwrap();
        let mut command = Command::new("linphone-daemon");
        command
            .args(["--auto-answer", "--disable-stats-events", "--config"])
            .arg(&file)
            .arg("--log")
            .arg(home.join("log"))
            .env("HOME", &home)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME");
        let (process, input) = Process::start_told(&name, command, folder);
        Self { process, input, heard: 0 }
    }

    /// Tells it something: `call sip:...`, `call-pause`, `terminate` ...
    ///
    /// # Panics
    /// If it has ended.
    pub async fn tell(&mut self, line: &str) {
        self.input.write_all(format!("{line}\n").as_bytes()).await.expect("linphone runs");
        self.input.flush().await.expect("linphone runs");
    }

    /// Waits until it says this, after what was waited for last.
    pub async fn says(&mut self, text: &str) {
        self.heard = self.process.says_after(self.heard, text).await;
    }

    /// Waits until it has registered; it is asked again and again.
    pub async fn registered(&mut self) {
        let end = tokio::time::Instant::now() + crate::DEADLINE;
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
        while !self.process.said().contains("LinphoneRegistrationOk") {
            ticks.tick().await;
            let is_late = tokio::time::Instant::now() > end;
            assert!(!is_late, "linphone did not register:\n{}", self.process.said());
            self.tell("register-status ALL").await;
        }
        self.heard = self.process.said().len();
    }

    /// Ends it.
    pub async fn quit(mut self) {
        self.tell("quit").await;
        self.process.ends().await;
    }
}

fn linphonerc(config: &LinphoneConfig<'_>) -> String {
    let LinphoneConfig { sip_port, rtp_port, registrar, transport, user, password } = config;
    let last = rtp_port + 8;
    // TLS alone, or none of it.
    let (plain, tls) = match *transport {
        "tls" => (0, *sip_port),
        _ => (*sip_port, 0),
    };
    format!(
        "[sip]\ndefault_proxy=0\nsip_port={plain}\nsip_tcp_port={plain}\nsip_tls_port={tls}\n\
         register_only_when_network_is_up=0\nguess_hostname=0\n\
         contact=\"{user}\" <sip:{user}@127.0.0.1>\nverify_server_certs=0\nverify_server_cn=0\n\
         use_ipv6=0\n\
         [rtp]\naudio_rtp_port={rtp_port}-{last}\n\
         [proxy_0]\nreg_proxy=<sip:{registrar};transport={transport}>\n\
         reg_identity=<sip:{user}@{ip}>\nreg_expires=120\nreg_sendregister=1\npublish=0\n\
         [auth_info_0]\nusername={user}\nuserid={user}\npasswd={password}\nrealm=cheling\n\
         [sound]\nechocancellation=0\n\
         [video]\nenabled=0\n",
        ip = registrar.ip(),
    )
}
