//! The configuration: one TOML file read into one struct that refuses unknown keys.
//!
//! Each key's doc gives its unit and default; `config/cheling.toml` shows them all. An environment
//! variable overrides a key: `CHELING_WEB__LISTEN=0.0.0.0:8080` is `web.listen` (two underscores
//! between the levels). Dealership data, users, extensions, lines and ring groups live in the
//! database and are edited in the console.

use cheling_capture::Dscp;
use cheling_model::directory::{SrtpPolicy, Trunk};
use figment::Figment;
use figment::providers::{Env, Format as _, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

pub mod hold;
mod recording;
mod sip;
mod trunk;

pub use recording::Recording;
pub use sip::Sip;
pub use trunk::TrunkEntry;

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the database, the journal and (unless set apart) the recordings are kept. Default
    /// `data`, relative to the working folder.
    pub data_dir: PathBuf,
    /// Phones and trunks.
    pub sip: Sip,
    /// RTP.
    pub media: Media,
    /// Gateways and trunks, in the order in which they are tried. Default none.
    pub trunk: Vec<TrunkEntry>,
    /// Files.
    pub recording: Recording,
    /// Facts.
    pub database: Database,
    /// Console and API.
    pub web: Web,
    /// The dealership that a new database begins with.
    pub dealership: Dealership,
    /// What is logged.
    pub log: Log,
}

/// RTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// First port, even. Default 20000.
    pub first_port: u16,
    /// Last port. Default 29999: 2 499 calls and the half minute that a port rests.
    pub last_port: u16,
    /// Relay threads. Default 0: one per core.
    pub threads: usize,
    /// DSCP of media packets, 0 (no precedence) to 63. Default 46 (expedited forwarding).
    pub dscp: u8,
    /// Whether the media of phones is SRTP: `off`, `optional` (default: offered to phones on TLS and
    /// WSS, and taken from every phone that offers it) or `required`.
    pub srtp: SrtpPolicy,
    /// Seconds after which a side of a running call that sends nothing is an alarm; 0 for none.
    /// Phones that send nothing while their user is silent want more. Default 8.
    pub silence_seconds: u64,
    /// What a customer hears whom one of our phones, or the console, has put on hold, as long as the
    /// phone sends no music of its own: `beep` (default; two short tones every ten seconds), a WAV
    /// file (16-bit, at most ten minutes of it are played), or nothing if it is empty. It is never in
    /// a recording.
    pub hold_tone: String,
}

/// Facts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `sqlite://PATH` or `postgres://USER:PASSWORD@HOST/NAME`. Default
    /// `sqlite://<data_dir>/cheling.db`.
    pub url: Option<String>,
}

/// Console and API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    /// HTTP listener. Default `127.0.0.1:8080`; `0.0.0.0:8080` lets the network in.
    pub listen: SocketAddr,
    /// Reverse proxies whose `X-Forwarded-For`, `-Proto` and `-Host` are believed. Default none.
    pub trusted_proxies: Vec<IpAddr>,
    /// Marks the session cookie `Secure` always. Default false: only where the request came by
    /// https.
    pub secure_cookies: bool,
    /// A bearer token that may read `/metrics` from anywhere. Default none: loopback only.
    pub metrics_token: Option<String>,
}

/// The dealership that a new database begins with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dealership {
    /// Its name. Default `我的4S店`.
    pub name: String,
    /// Area code, for numbers given without one. Default `021` (Shanghai).
    pub area_code: String,
    /// Offset of its clock from UTC, minutes. Default 480 (China).
    pub utc_offset_minutes: i32,
    /// A file with the first seven digits of the mobile numbers that are sold in town, one a line
    /// (`1381234`): the others are from elsewhere for `mobile_prefix` of trunks and for phones that
    /// may dial locally only. Default none: `mobile_prefix` goes before all mobile numbers, and all
    /// count as local for permissions.
    pub local_mobiles: Option<PathBuf>,
}

/// What is logged.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A filter such as `info` or `info,cheling_call=debug`. Default `info`.
    pub level: String,
    /// One JSON object a line instead of text. Default false.
    pub json: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            sip: Sip::default(),
            media: Media::default(),
            trunk: Vec::new(),
            recording: Recording::default(),
            database: Database::default(),
            web: Web::default(),
            dealership: Dealership::default(),
            log: Log::default(),
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            first_port: 20_000,
            last_port: 29_999,
            threads: 0,
            dscp: Dscp::EXPEDITED.number(),
            srtp: SrtpPolicy::default(),
            silence_seconds: 8,
            hold_tone: hold::BEEP.into(),
        }
    }
}

#[allow(clippy::derivable_impls)]
impl Default for Database {
    fn default() -> Self {
        Self { url: None }
    }
}

impl Default for Web {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            trusted_proxies: Vec::new(),
            secure_cookies: false,
            metrics_token: None,
        }
    }
}

impl Default for Dealership {
    fn default() -> Self {
        Self {
            name: "我的4S店".into(),
            area_code: "021".into(),
            utc_offset_minutes: 480,
            local_mobiles: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), json: false }
    }
}

/// Why a configuration cannot be used, one line per fault, each saying where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named on the command line is not there or cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's word.
        why: std::io::Error,
    },
    /// Syntax, an unknown key, a value of the wrong type.
    #[error("{0}")]
    Malformed(String),
    /// Values that do not go together.
    #[error("{}", .0.join("\n"))]
    Unsound(Vec<String>),
}

impl Config {
    /// How far the dealership's clock is ahead of UTC, seconds.
    pub fn utc_offset_s(&self) -> i32 {
        self.dealership.utc_offset_minutes.saturating_mul(60)
    }

    /// Reads defaults, then the file (if one is given), then the environment.
    ///
    /// # Errors
    /// [`ConfigError`], with every fault found.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(path) = path {
            let text = std::fs::read_to_string(path)
                .map_err(|why| ConfigError::Unreadable { path: path.into(), why })?;
            // The TOML reader names line and column; figment alone would not.
            if let Err(error) = toml::from_str::<toml::Table>(&text) {
                return Err(ConfigError::Malformed(format!("{}: {error}", path.display())));
            }
            figment = figment.merge(Toml::string(&text));
        }
        let config: Self = figment
            .merge(Env::prefixed("CHELING_").ignore(&["CONFIG"]).split("__"))
            .extract()
            .map_err(|errors| {
                let lines: Vec<String> = errors
                    .into_iter()
                    .map(|error| match error.path.join(".") {
                        key if key.is_empty() => error.kind.to_string(),
                        key => format!("{key}: {}", error.kind),
                    })
                    .collect();
                ConfigError::Malformed(lines.join("\n"))
            })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut faults = Vec::new();
        if self.media.first_port % 2 == 1 {
            faults.push(format!(
                "media.first_port: {} is odd; RTP ports are even",
                self.media.first_port
            ));
        }
        if self.media.last_port < self.media.first_port.saturating_add(7) {
            faults.push(format!(
                "media.last_port: {} leaves no room above first_port {}; a call takes 4 ports",
                self.media.last_port, self.media.first_port
            ));
        }
        for (key, number) in [("sip.dscp", self.sip.dscp), ("media.dscp", self.media.dscp)] {
            if Dscp::new(number).is_none() {
                faults.push(format!("{key}: {number} is above {}; a DSCP has six bits", Dscp::MAX));
            }
        }
        faults.extend(trunk::faults(&self.trunk));
        faults.extend(self.sip.faults());
        faults.extend(self.recording.faults());
        let area_code = &self.dealership.area_code;
        if !area_code.starts_with('0') || !area_code.bytes().all(|digit| digit.is_ascii_digit()) {
            faults.push(format!("dealership.area_code: {area_code:?} is not like 021 or 0571"));
        }
        if self.dealership.utc_offset_minutes.abs() > 14 * 60 {
            faults.push("dealership.utc_offset_minutes: between -840 and 840".into());
        }
        if let Some(url) = &self.database.url
            && !["sqlite:", "postgres://", "postgresql://"]
                .iter()
                .any(|scheme| url.starts_with(scheme))
        {
            faults.push("database.url: begins with sqlite:// or postgres://".into());
        }
        if faults.is_empty() { Ok(()) } else { Err(ConfigError::Unsound(faults)) }
    }

    /// The database's URL, the default included.
    pub fn database_url(&self) -> String {
        self.database
            .url
            .clone()
            .unwrap_or_else(|| format!("sqlite://{}", self.data_dir.join("cheling.db").display()))
    }

    /// The database's URL for people to read: without its password.
    pub fn masked_database_url(&self) -> String {
        let mut url = self.database_url();
        if let (Some(scheme), Some(at)) = (url.find("://"), url.rfind('@'))
            && let Some(authority) = url.get(scheme + 3..at)
            && let Some(colon) = authority.find(':')
        {
            url.replace_range(scheme + 3 + colon + 1..at, "***");
        }
        url
    }

    /// Root of the finished recordings.
    pub fn recordings_dir(&self) -> PathBuf {
        self.recording.dir.clone().unwrap_or_else(|| self.data_dir.join("recordings"))
    }

    /// The journals' folders, the first disk's first.
    pub fn journal_dirs(&self) -> Vec<PathBuf> {
        let further = self.recording.disk.iter().map(|disk| disk.journal_dir.clone());
        std::iter::once(self.journal_dir()).chain(further).collect()
    }

    /// The first disk's journal's folder.
    pub fn journal_dir(&self) -> PathBuf {
        self.recording.journal_dir.clone().unwrap_or_else(|| self.data_dir.join("journal"))
    }

    /// Where media is bound: to both families if SIP listens on both.
    pub fn media_bind(&self) -> IpAddr {
        let first = self.sip.udp.ip();
        let is_both = self.sip.also.iter().any(|it| it.is_ipv4() != first.is_ipv4());
        if is_both { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { first }
    }

    /// The trunks as the call machines know them, their passwords read.
    ///
    /// # Errors
    /// [`ConfigError::Unsound`] names each password that cannot be had.
    pub fn trunks(&self) -> Result<Vec<Trunk>, ConfigError> {
        let (mut trunks, mut faults) = (Vec::new(), Vec::new());
        for entry in &self.trunk {
            match entry.trunk() {
                Ok(trunk) => trunks.push(trunk),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(trunks) } else { Err(ConfigError::Unsound(faults)) }
    }

    /// Where the certificate that signs itself is kept.
    pub fn own_tls_dir(&self) -> PathBuf {
        self.data_dir.join("tls")
    }

    /// Where it is kept which phones are registered.
    pub fn registrations_file(&self) -> PathBuf {
        self.data_dir.join("registrations.json")
    }

    /// RTP ports.
    pub fn media_ports(&self) -> RangeInclusive<u16> {
        self.media.first_port..=self.media.last_port
    }

    /// The configuration as TOML, secrets masked.
    pub fn to_toml(&self) -> String {
        let mut shown = self.clone();
        if shown.database.url.is_some() {
            shown.database.url = Some(self.masked_database_url());
        }
        if let Some(token) = &mut shown.web.metrics_token {
            *token = "***".into();
        }
        for password in shown.trunk.iter_mut().filter_map(|trunk| trunk.password.as_mut()) {
            *password = "***".into();
        }
        toml::to_string_pretty(&shown).unwrap_or_else(|error| format!("# {error}"))
    }
}

#[cfg(test)]
mod tests;
