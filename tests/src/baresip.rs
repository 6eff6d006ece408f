//! baresip as an agent's softphone or a customer: configured in a folder of its own, playing a WAV
//! file, its keys pressed from outside by its module `ctrl_tcp` (JSON in netstrings).

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::child::Process;
use crate::{eventually, within};

/// A running baresip.
pub struct Baresip {
    process: Process,
    control_at: Option<SocketAddr>,
}

/// A baresip whose keys are in our hand.
pub struct Handset {
    baresip: Baresip,
    control: TcpStream,
    read: Vec<u8>,
    /// Events that nobody has asked for yet, the oldest first.
    events: VecDeque<Value>,
    token: u32,
}

/// What it is told.
pub struct BaresipConfig<'a> {
    /// Its own address.
    pub ip: IpAddr,
    /// Its own SIP port; for TLS it takes the next one.
    pub sip_port: u16,
    /// Where its keys can be pressed.
    pub control_port: Option<u16>,
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
    /// Transports of the flows that it keeps to the registrar (RFC 5626), two at most; none:
    /// it registers in the plain way, by `transport`.
    pub flows: &'a [&'a str],
    /// SRTP: `srtp` (offered, may be declined) or `srtp-mand`.
    pub media_encryption: Option<&'a str>,
}

impl<'a> BaresipConfig<'a> {
    /// An agent's softphone on this machine, over UDP.
    pub fn softphone(
        (sip_port, rtp_port): (u16, u16),
        registrar: SocketAddr,
        (user, password): (&'a str, &'a str),
        says: &'a Path,
    ) -> Self {
        Self {
            ip: Ipv4Addr::LOCALHOST.into(),
            sip_port,
            control_port: None,
            rtp_port,
            registrar: Some(registrar),
            user,
            password,
            transport: "udp",
            says,
            dials: None,
            flows: &[],
            media_encryption: None,
        }
    }
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
            None => (SocketAddr::new(config.ip, config.sip_port).to_string(), 0),
        };
        let encryption =
            config.media_encryption.map(|name| format!(";mediaenc={name}")).unwrap_or_default();
        let flow =
            |(number, transport)| format!(";outbound{number}=\"sip:{host};transport={transport}\"");
        let mut flows: String = (1..).zip(config.flows).map(flow).collect();
        if !flows.is_empty() {
            flows.push_str(";sipnat=outbound");
        }
        let account = format!(
            "<sip:{}@{host};transport={}>;auth_user={};auth_pass={};regint={register};\
             answermode=auto;audio_codecs=pcma;ptime=20{encryption}{flows}\n",
            config.user, config.transport, config.user, config.password
        );
        std::fs::write(home.join("accounts"), account).unwrap();
        std::fs::write(home.join("contacts"), "").unwrap();
        let mut command = Command::new("baresip");
        let family = if config.ip.is_ipv4() { "-4" } else { "-6" };
        command.args([family, "-v", "-f", home.to_str().unwrap()]);
        if let Some(number) = config.dials {
            command.args(["-e", &format!("d{number}")]);
        }
        let process = Process::start(&format!("baresip-{}", config.user), command, folder);
        let control_at = config.control_port.map(|port| (Ipv4Addr::LOCALHOST, port).into());
        Self { process, control_at }
    }

    /// Takes its keys into our hand; what happens from now on can be waited for.
    ///
    /// # Panics
    /// If it was started without a control port.
    pub async fn in_hand(self) -> Handset {
        let at = self.control_at.expect("a control port");
        let connect = || async { TcpStream::connect(at).await.ok() };
        let control = eventually("the control port of baresip", connect).await;
        Handset { baresip: self, control, read: Vec::new(), events: VecDeque::new(), token: 0 }
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

impl Handset {
    /// Presses a key: `hold`, `resume`, `transfer`, `sndcode`, `dial`, `hangup` ...
    ///
    /// # Panics
    /// If baresip says that it cannot.
    pub async fn press(&mut self, key: &str, what: &str) {
        self.token += 1;
        let token = self.token.to_string();
        let order = json!({ "command": key, "params": what, "token": token }).to_string();
        let framed = format!("{}:{order},", order.len());
        self.control.write_all(framed.as_bytes()).await.expect("baresip runs");
        let answer = within(key, async {
            loop {
                let message = self.message().await;
                if message["token"] == token.as_str() {
                    return message;
                }
                self.events.push_back(message);
            }
        })
        .await;
        assert_eq!(answer["ok"], true, "{key} {what}: {answer}");
    }

    /// Waits for the next event of this type, `CALL_ESTABLISHED` ...; those before it are gone.
    ///
    /// # Panics
    /// If none comes in time, or baresip ends.
    pub async fn event(&mut self, kind: &str) -> Value {
        within(&format!("{kind} at baresip"), async {
            loop {
                let event = match self.events.pop_front() {
                    Some(event) => event,
                    None => self.message().await,
                };
                if event["type"] == kind {
                    return event;
                }
            }
        })
        .await
    }

    /// Hangs up and ends it.
    pub async fn quit(self) {
        self.baresip.quit().await;
    }

    /// The next whole netstring.
    async fn message(&mut self) -> Value {
        loop {
            if let Some(message) = self.next_message() {
                return message;
            }
            let length = self.control.read_buf(&mut self.read).await.expect("baresip runs");
            assert!(length > 0, "baresip closed its control port");
        }
    }

    fn next_message(&mut self) -> Option<Value> {
        let colon = self.read.iter().position(|byte| *byte == b':')?;
        let length: usize = std::str::from_utf8(&self.read[..colon]).ok()?.parse().ok()?;
        // A comma ends it.
        let text = self.read.get(colon + 1..colon + 2 + length)?;
        let message = serde_json::from_slice(&text[..length]).expect("JSON");
        self.read.drain(..colon + 2 + length);
        Some(message)
    }
}

/// The virtual bridge swallows what is heard; the recording is looked at instead.
fn settings(config: &BaresipConfig<'_>) -> String {
    let mut text = String::new();
    let (first, last) = (config.rtp_port, config.rtp_port + 8);
    for line in [
        "poll_method epoll".to_owned(),
        format!("sip_listen {}", SocketAddr::new(config.ip, config.sip_port)),
        format!("audio_source aufile,{}", config.says.display()),
        "audio_player aubridge,nobody".to_owned(),
        "audio_alert aubridge,nobody".to_owned(),
        "call_max_calls 4".to_owned(),
        "statmode_default off".to_owned(),
        format!("rtp_ports {first}-{last}"),
        format!("module_path {}", module_folder().display()),
        "module g711.so".to_owned(),
        "module aufile.so".to_owned(),
        "module aubridge.so".to_owned(),
        "module srtp.so".to_owned(),
        "module_tmp uuid.so".to_owned(),
        "module_tmp account.so".to_owned(),
        "module_app menu.so".to_owned(),
    ] {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{line}");
    }
    if let Some(port) = config.control_port {
        let _ = writeln!(text, "module_app ctrl_tcp.so\nctrl_tcp_listen 127.0.0.1:{port}");
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
