//! `cheling demo`: an invented dealership with simulated phones, in a throwaway folder.

mod past;

use crate::cli::Demo;
use crate::config::{Config, TrunkEntry};
use crate::facts::{Facts, now, private_dir};
use crate::node::{Node, Signals};
use anyhow::{Context as _, bail};
use cheling_lookup::generator::{self, Generated, Options, PEOPLE};
use cheling_phone::{Extension, Simulation, SimulationConfig};
use cheling_records::Database;
use cheling_sip::digest::{Algorithm, ha1};
use cheling_web::auth::password;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// The phone left for a person's own softphone while the others are simulated.
const YOURS: &str = "8006";
/// The gateway's address: not that of the phones, for a trunk is known by its address.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Simulated calls at the same time.
const MAX_CALLS: usize = 4;
/// Simulated calls are not waited for when the demonstration ends.
const CALLS_MAY_FINISH: Duration = Duration::from_secs(2);

/// Runs until SIGINT or SIGTERM.
pub async fn run(demo: Demo, config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let home = Home::make(demo.keep.clone())?;
    let gateway = gateway_address()?;
    let config = configure(config, &demo, &home, gateway)?;
    eprintln!("making a dealership of {} customers …", demo.customers);
    let secrets = Secrets::generate();
    let (facts, made) = furnish(&config, &demo, &secrets).await?;
    let (day, its_config) = (made.calls.clone(), config.clone());
    tokio::task::spawn_blocking(move || past::leave(&day, &its_config, now())).await??;
    let node = Node::start(&config, facts).await?;
    let simulated: Vec<&str> = if demo.quiet_phones {
        Vec::new()
    } else {
        extensions().filter(|number| *number != YOURS).collect()
    };
    let server = match node.sip() {
        all if all.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, all.port()).into(),
        one => one,
    };
    let simulation = Simulation::start(SimulationConfig {
        server,
        gateway,
        phones: server.ip(),
        extensions: simulated.iter().map(|number| secrets.phone(number)).collect(),
        dids: if demo.quiet_phones {
            Vec::new()
        } else {
            made.lines.iter().map(|line| line.did.clone()).collect()
        },
        customers: made.phones.iter().map(|phone| phone.number.clone()).collect(),
        call_every: Duration::from_secs(demo.every),
        max_calls: MAX_CALLS,
        seed: demo.seed,
    })
    .await
    .context("the simulated phones")?;
    let stop = CancellationToken::new();
    let calls = tokio::spawn(simulation.run(stop.clone()));
    print!("{}", welcome(&node, &made, &secrets, &simulated, &home));
    drop(made);
    signals.first().await;
    eprintln!("\nending the demonstration …");
    stop.cancel();
    let ended = async {
        let report = calls.await;
        node.stop(CALLS_MAY_FINISH).await;
        report
    };
    tokio::select! {
        report = ended => {
            if let Ok(report) = report {
                eprintln!("{} simulated calls, {} answered", report.placed, report.answered);
            }
        }
        // A second Ctrl-C; the folder still goes when `home` is dropped.
        () = signals.first() => {}
    }
    home.close()
}

/// Where the demonstration keeps its data.
struct Home {
    path: PathBuf,
    /// Removes the folder at the end, unless it is to be kept.
    throwaway: Option<TempDir>,
}

impl Home {
    fn make(keep: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = keep else {
            let dir = tempfile::Builder::new().prefix("cheling-demo-").tempdir()?;
            return Ok(Self { path: dir.path().to_owned(), throwaway: Some(dir) });
        };
        if path.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            bail!("--keep {}: the folder is not empty", path.display());
        }
        private_dir(&path)?;
        Ok(Self { path, throwaway: None })
    }

    fn close(self) -> anyhow::Result<()> {
        match self.throwaway {
            Some(dir) => dir.close().context("the throwaway folder"),
            None => Ok(()),
        }
    }
}

fn configure(
    config: Config,
    demo: &Demo,
    home: &Home,
    gateway: SocketAddr,
) -> anyhow::Result<Config> {
    let mut config = Config { data_dir: home.path.join("data"), ..config };
    config.database.url = None;
    config.recording.dir = None;
    config.recording.journal_dir = None;
    config.recording.min_free_mib = config.recording.min_free_mib.min(64);
    config.dealership.name = generator::DEALERSHIP.into();
    config.web.listen = match demo.web {
        Some(address) => address,
        None => free_tcp_port(config.web.listen)?,
    };
    config.sip.udp = match demo.sip {
        Some(address) => address,
        None => free_sip_port(config.sip.udp)?,
    };
    config.sip.tcp = None;
    config.trunk =
        vec![TrunkEntry { caller_number: Some("02168880001".into()), ..TrunkEntry::at(gateway) }];
    Ok(config)
}

fn gateway_address() -> anyhow::Result<SocketAddr> {
    Ok(UdpSocket::bind((GATEWAY, 0))?.local_addr()?)
}

fn free_tcp_port(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    match TcpListener::bind(wanted) {
        Ok(_) => Ok(wanted),
        Err(_) => Ok(TcpListener::bind((wanted.ip(), 0))?.local_addr()?),
    }
}

/// SIP wants the same port over UDP and TCP.
fn free_sip_port(wanted: SocketAddr) -> anyhow::Result<SocketAddr> {
    let is_free = |at: SocketAddr| UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok();
    if is_free(wanted) {
        return Ok(wanted);
    }
    for _ in 0..32 {
        let other = free_tcp_port(SocketAddr::new(wanted.ip(), 0))?;
        if is_free(other) {
            return Ok(other);
        }
    }
    bail!("no port of {} is free for SIP", wanted.ip())
}

fn extensions() -> impl Iterator<Item = &'static str> {
    PEOPLE.iter().map(|person| person.extension).filter(|number| !number.is_empty())
}

/// Passwords, made anew each time and printed once.
struct Secrets {
    users: HashMap<&'static str, String>,
    phones: HashMap<&'static str, String>,
}

impl Secrets {
    fn generate() -> Self {
        Self {
            users: PEOPLE.iter().map(|it| (it.sign_in_name, password::generate(12))).collect(),
            phones: extensions().map(|number| (number, password::generate(12))).collect(),
        }
    }

    fn user(&self, name: &str) -> &str {
        self.users.get(name).map_or("", String::as_str)
    }

    fn phone(&self, number: &str) -> Extension {
        let password = self.phones.get(number).cloned().unwrap_or_default();
        Extension { user: number.to_owned(), password }
    }
}

/// Fills the database.
async fn furnish(
    config: &Config,
    demo: &Demo,
    secrets: &Secrets,
) -> anyhow::Result<(Facts, Generated)> {
    private_dir(&config.data_dir)?;
    let database = Database::open(&config.database_url()).await?;
    // Hashing is slow on purpose: all of them at once, off the async threads.
    let passwords: Vec<_> =
        secrets.users.iter().map(|(name, password)| (*name, password.clone())).collect();
    let hashes: HashMap<&str, String> = tokio::task::spawn_blocking(move || {
        passwords
            .into_iter()
            .map(|(name, password)| Ok((name, password::hash_now(&password)?)))
            .collect::<Result<_, password::PasswordError>>()
    })
    .await??;
    let realm = &config.sip.realm;
    let made = generator::generate(&Options {
        seed: demo.seed,
        customers: demo.customers,
        now: now(),
        password_hash: &|name| hashes.get(name).cloned().unwrap_or_default(),
        ha1: &|number| {
            let password = secrets.phone(number).password;
            (
                ha1(Algorithm::Md5, number, realm, &password),
                ha1(Algorithm::Sha256, number, realm, &password),
            )
        },
    });
    made.write(&database).await?;
    let dealership = made.dealership.clone();
    Ok((Facts { database, dealership }, made))
}

fn welcome(
    node: &Node,
    made: &Generated,
    secrets: &Secrets,
    simulated: &[&str],
    home: &Home,
) -> String {
    let mut text = format!(
        "\n  车铃 · Cheling   {}   {} customers, {} vehicles\n\n  Open  http://{}\n\n",
        made.dealership.name,
        made.customers.len(),
        made.vehicles.len(),
        node.web()
    );
    text.push_str("  sign in as     password        who\n");
    for person in PEOPLE {
        let phone = if person.extension.is_empty() { "-" } else { person.extension };
        text.push_str(&format!(
            "  {:<14} {:<15} {} · {} · {} {phone}\n",
            person.sign_in_name,
            secrets.user(person.sign_in_name),
            person.display_name,
            person.role.as_str(),
            person.team,
        ));
    }
    text.push_str(&format!("\n  A softphone of yours: registrar {} (UDP or TCP)\n", node.sip()));
    for number in extensions().filter(|number| !simulated.contains(number)) {
        let password = secrets.phone(number).password;
        text.push_str(&format!("    user {number}   password {password}\n"));
    }
    if simulated.is_empty() {
        text.push_str(
            "  No phone is simulated. Register some, and call each other or any number.\n",
        );
    } else {
        text.push_str("  The others are simulated: customers call in every few seconds.\n");
    }
    if home.throwaway.is_none() {
        text.push_str(&format!("  Data is kept in {}\n", home.path.display()));
    }
    text.push_str("\n  Ctrl-C ends it");
    text.push_str(if home.throwaway.is_some() {
        " and leaves nothing behind.\n\n"
    } else {
        ".\n\n"
    });
    text
}
