//! The binary under test, in a folder and a block of ports of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use cheling_phone::{Account, AnswerPlan, Call, Event, Gateway, Phone, PhoneConfig, Transport};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::mpsc;

use crate::child::Process;
use crate::desk::Desk;
use crate::ports::Ports;
use crate::{eventually, http, within};

/// The number that customers dial.
pub const DID: &str = "58998000";
/// The address of the gateway: not that of the phones, for a trunk is known by its address.
pub const GATEWAY_IP: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The extensions that ring for [`DID`], one agent at each: `agent8001` ...
pub const EXTENSIONS: [&str; 3] = ["8001", "8002", "8003"];

/// A dealership under test.
pub struct Cheling {
    /// Ports for clients of the test.
    pub ports: Ports,
    /// Before `folder`: its last words are read from there.
    process: Option<Process>,
    folder: TempDir,
    /// Settings for the next start that override the file: `CHELING_WEB__LISTEN` ...
    pub environment: Vec<(&'static str, String)>,
}

/// Calls at once of a test's phone.
const MOST_CALLS_OF_PHONE: usize = 100;

impl Cheling {
    /// Makes the dealership (three agents, a QA user, one line) and runs the service.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// The same, and where its phones register over this transport: `udp`, `tcp` or `tls`.
    ///
    /// # Panics
    /// See [`Cheling::start`].
    pub async fn start_over(transport: &str) -> (Self, SocketAddr) {
        let mut cheling = Self::start().await;
        if transport != "tls" {
            let sip = cheling.sip();
            return (cheling, sip);
        }
        let tls = SocketAddr::new(cheling.sip().ip(), cheling.ports.port(8));
        cheling.stop().await;
        cheling.environment.push(("CHELING_SIP__TLS", tls.to_string()));
        cheling.run().await;
        (cheling, tls)
    }

    /// As [`Cheling::start`], with more lines of configuration.
    pub async fn start_with(more: &str) -> Self {
        let ports = Ports::claim();
        let rtp = ports.rtp();
        Self::start_at(ports, rtp, more).await
    }

    /// As [`Cheling::start`], with RTP ports for two thousand calls; one at a time on a machine.
    pub async fn start_for_load() -> Self {
        Self::start_at(Ports::claim(), (10_000, 19_999), "").await
    }

    /// As [`Cheling::start`], with RTP ports for hundreds of calls; one at a time on a machine.
    pub async fn start_for_crowd() -> Self {
        Self::start_at(Ports::claim(), (18_000, 18_999), "").await
    }

    /// As [`Cheling::start_for_load`], for so many short calls at once that no limit is met.
    pub async fn start_for_signalling() -> Self {
        let ports = Ports::claim();
        let mut cheling = Self::start_at(ports, (10_000, 31_999), "").await;
        cheling.stop().await;
        cheling.environment.push(("CHELING_SIP__MAX_CALLS", "20000".into()));
        let level = std::env::var("LEVEL").unwrap_or_else(|_| "warn".into());
        cheling.environment.push(("CHELING_LOG__LEVEL", level));
        cheling.run().await;
        cheling
    }

    /// The folder and configuration of a dealership whose service does not run.
    pub async fn idle() -> Self {
        let ports = Ports::claim();
        let rtp = ports.rtp();
        let cheling = Self::prepare(ports, rtp, "");
        cheling.must(&["migrate"], "").await;
        cheling
    }

    /// As [`Cheling::start_with`], but does not run the service yet.
    pub async fn idle_with(more: &str) -> Self {
        let ports = Ports::claim();
        let rtp = ports.rtp();
        Self::settled(ports, rtp, more).await
    }

    async fn start_at(ports: Ports, rtp: (u16, u16), more: &str) -> Self {
        let mut cheling = Self::settled(ports, rtp, more).await;
        cheling.run().await;
        cheling
    }

    /// Agents, line and configuration.
    async fn settled(ports: Ports, rtp: (u16, u16), more: &str) -> Self {
        let cheling = Self::prepare(ports, rtp, more);
        for number in EXTENSIONS {
            cheling.must(&["extension", "add", number, "--password-stdin"], &secret(number)).await;
            let agent = format!("agent{number}");
            let add = ["user", "add", &agent, "--extension", number, "--password-stdin"];
            cheling.must(&add, &secret(&agent)).await;
        }
        cheling
            .must(&["user", "add", "boss", "--role", "admin", "--password-stdin"], &secret("boss"))
            .await;
        let ring = EXTENSIONS.join(",");
        cheling.must(&["line", "add", DID, "--name", "售后热线", "--ring", &ring], "").await;
        cheling
    }

    /// The folder and configuration alone.
    ///
    /// # Panics
    /// If the folder cannot be made.
    pub fn prepare(ports: Ports, (first_port, last_port): (u16, u16), more: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("cheling-test-").tempdir().unwrap();
        let cheling = Self { ports, folder, process: None, environment: Vec::new() };
        let config = format!(
            "data_dir = {:?}\n\
             [sip]\nudp = \"{}\"\n\
             [media]\nfirst_port = {first_port}\nlast_port = {last_port}\nthreads = 1\n\
             [web]\nlisten = \"{}\"\n\
             [recording]\nmin_free_mib = 1\n\
             [log]\nlevel = \"info\"\n\
             [[trunk]]\nname = \"gateway\"\naddress = \"{}\"\n{more}\n",
            cheling.folder().join("data"),
            cheling.sip(),
            cheling.web(),
            cheling.gateway_address(),
        );
        std::fs::write(cheling.folder().join("cheling.toml"), config).unwrap();
        cheling
    }

    fn start_process(&self) -> Process {
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(self.folder().join("cheling.toml"));
        command.env("RUST_BACKTRACE", "1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Process::start("cheling", command, self.folder())
    }

    /// Runs the service for a moment, ready or not, and kills it.
    ///
    /// # Panics
    /// If it ends by itself before.
    pub async fn run_until_killed(&mut self, moment: Duration) {
        let mut process = self.start_process();
        if let Ok(status) = tokio::time::timeout(moment, process.exits()).await {
            panic!("cheling: {status}\n{}", process.said());
        }
        process.kill().await;
    }

    /// Runs the service until it is ready.
    pub async fn run(&mut self) {
        let mut process = self.start_process();
        let web = self.web();
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let ready = async {
            loop {
                ticks.tick().await;
                assert!(process.is_running(), "cheling ended:\n{}", process.said());
                let answer = http::request(web, "GET", "/readyz", &[], b"").await;
                if answer.is_some_and(|answer| answer.status == 200) {
                    return;
                }
            }
        };
        within("readiness", ready).await;
        self.process = Some(process);
    }

    /// The running service.
    ///
    /// # Panics
    /// If it does not run.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("running")
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await;
        }
    }

    /// SIGTERM; demands a clean exit.
    ///
    /// # Panics
    /// If it exits with an error.
    pub async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let status = process.terminate().await;
            assert!(status.success(), "cheling: {status}\n{}", process.said());
        }
    }

    /// The folder of this test: configuration, data, logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where phones register.
    pub fn sip(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.sip()).into()
    }

    /// The console.
    pub fn web(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.web()).into()
    }

    /// Where the trunk's gateway is expected.
    pub fn gateway_address(&self) -> SocketAddr {
        (GATEWAY_IP, self.ports.port(6)).into()
    }

    /// Runs one command of the binary.
    pub async fn command(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .arg("--config")
            .arg(self.folder().join("cheling.toml"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().expect("piped");
        // A command that reads nothing may have closed it.
        let _ = stdin.write_all(format!("{input}\n").as_bytes()).await;
        drop(stdin);
        within(&arguments.join(" "), child.wait_with_output()).await.unwrap()
    }

    /// Runs one command that must succeed; returns its standard output.
    ///
    /// # Panics
    /// If it fails, with what it said.
    pub async fn must(&self, arguments: &[&str], input: &str) -> String {
        let output = self.command(arguments, input).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "cheling {arguments:?}: {}\n{said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    /// As [`Cheling::must`], for work that takes as long as it takes.
    ///
    /// # Panics
    /// If it fails.
    pub async fn patient(&self, arguments: &[&str]) {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--config").arg(self.folder().join("cheling.toml"));
        let output = command.kill_on_drop(true).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// `cheling check` must find nothing.
    pub async fn check(&self) {
        self.must(&["check"], "").await;
    }

    /// Signs an agent or `boss` in.
    pub async fn desk(&self, username: &str) -> Desk {
        Desk::open(self.web(), username, &secret(username)).await
    }

    /// Registers an agent's phone.
    ///
    /// # Panics
    /// If the registration is refused.
    pub async fn phone(
        &self,
        number: &str,
        transport: Transport,
    ) -> (Phone, mpsc::Receiver<Event>) {
        let account = Account::new(number, secret(number));
        let mut config = PhoneConfig::registered(self.sip(), account).over(transport);
        // Tests of many calls have one phone take them all.
        config.max_calls = MOST_CALLS_OF_PHONE;
        let (phone, events) = Phone::start(config).await.unwrap();
        within("registration", phone.register()).await.expect("registered");
        (phone, events)
    }

    /// Opens the gateway at the trunk's address.
    ///
    /// # Panics
    /// If the address is taken.
    pub async fn gateway(&self, plan: impl FnMut(&Call) -> AnswerPlan + Send + 'static) -> Gateway {
        Gateway::start(self.gateway_address(), self.sip(), plan).await.expect("gateway")
    }

    /// The same, whose every number is busy: for tests in which calls only come in.
    ///
    /// # Panics
    /// See [`Cheling::gateway`].
    pub async fn quiet_gateway(&self) -> Gateway {
        self.gateway(|_| AnswerPlan::Refuse { after: Duration::ZERO, status: 486 }).await
    }

    /// Imports customers from lines of CSV under a header of 姓名 and 电话.
    pub async fn customers(&self, rows: &[(&str, &str)]) {
        let mut text = String::from("姓名,电话\n");
        for (name, number) in rows {
            text.push_str(&format!("{name},{number}\n"));
        }
        let path = self.folder().join("customers.csv");
        std::fs::write(&path, text).unwrap();
        self.must(&["customer", "import", path.to_str().unwrap()], "").await;
    }

    /// Waits for the recording of a call, as its row says.
    pub async fn recording_of(&self, desk: &Desk, call_id: &str) -> serde_json::Value {
        eventually("the recording's row", || async {
            let call = desk.get(&format!("/calls/{call_id}")).await;
            let recording_id = call.good()["recording_id"].as_str()?.to_owned();
            Some(desk.get(&format!("/recordings/{recording_id}")).await.good())
        })
        .await
    }
}

/// The password of a phone or user of the tests.
pub fn secret(name: &str) -> String {
    format!("{name}-keeps-a-secret")
}

/// Takes the next incoming call of a phone.
///
/// # Panics
/// If none comes in time.
pub async fn incoming(events: &mut mpsc::Receiver<Event>) -> Call {
    match within("an incoming call", events.recv()).await {
        Some(Event::Incoming(call)) => call,
        Some(Event::RegistrationLost(status)) => panic!("registration lost: {status:?}"),
        None => panic!("the phone has stopped"),
    }
}

/// The development binary beside this test, or the one that `CHELING` names.
///
/// # Panics
/// If it has not been built.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CHELING") {
        return path.into();
    }
    // target/debug/deps/TEST-HASH: the binary is one folder up.
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).expect("target/debug").join("cheling");
    assert!(path.exists(), "{} is missing: cargo build -p cheling-server", path.display());
    path
}
