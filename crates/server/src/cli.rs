//! The command line, as types.

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Cheling (车铃): call recording and screen pop for car dealerships.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration file; without it the defaults and the environment (CHELING_…) hold.
    #[arg(long, short, global = true, env = "CHELING_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service until SIGINT or SIGTERM.
    Run,
    /// Run a dealership with simulated phones in a throwaway folder, to look at.
    Demo(Demo),
    /// Make recordings out of capture files, as if the calls had passed through.
    ImportPcap(ImportPcap),
    /// Prove that every recording has its file, every file its recording, and every answered call a
    /// recording or the reason why it has none.
    Check(Check),
    /// Bring the database to this version's tables.
    Migrate,
    /// People who sign in.
    #[command(subcommand)]
    User(User),
    /// SIP accounts of phones.
    #[command(subcommand)]
    Extension(Extension),
    /// Numbers that customers call, and the phones that ring for them.
    #[command(subcommand)]
    Line(Line),
    /// Gateways, providers and telephone systems of the configuration.
    #[command(subcommand)]
    Trunk(Trunk),
    /// Customers.
    #[command(subcommand)]
    Customer(Customer),
    /// Calls, newest first.
    #[command(subcommand)]
    Call(Call),
    /// Recordings, newest first.
    #[command(subcommand)]
    Recording(Recording),
    /// The configuration.
    #[command(subcommand)]
    Config(Config),
}

/// `cheling demo`
#[derive(Debug, Args)]
pub struct Demo {
    /// Leave the phones to you: no simulated ones register, nobody calls.
    #[arg(long)]
    pub quiet_phones: bool,
    /// Customers to make.
    #[arg(long, default_value_t = 3000, value_name = "N")]
    pub customers: usize,
    /// The same seed makes the same dealership and the same calls.
    #[arg(long, default_value_t = 20_261_122)]
    pub seed: u64,
    /// Where the console listens; a free port of 127.0.0.1 if 8080 is taken.
    #[arg(long, value_name = "ADDRESS")]
    pub web: Option<SocketAddr>,
    /// Where phones register; a free port of 127.0.0.1 if 5060 is taken.
    #[arg(long, value_name = "ADDRESS")]
    pub sip: Option<SocketAddr>,
    /// Keep the data here instead of in a throwaway folder. Must be empty or absent.
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Seconds between simulated calls.
    #[arg(long, default_value_t = 8, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,
}

/// `cheling import-pcap`
#[derive(Debug, Args)]
pub struct ImportPcap {
    /// pcap or pcapng files.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

/// How to print.
#[derive(Clone, Copy, Debug, Args)]
pub struct Output {
    /// One JSON document on standard output, for scripts.
    #[arg(long)]
    pub json: bool,
}

/// `cheling user …`
#[derive(Debug, Subcommand)]
pub enum User {
    /// Add a user. Prints a generated password unless one comes on standard input.
    Add {
        /// Signs in with.
        username: String,
        /// Shown in the console: 陈静. Default: the user name.
        #[arg(long)]
        name: Option<String>,
        /// admin, supervisor, agent or qa.
        #[arg(long, default_value = "agent")]
        role: String,
        /// The phone that the user sits at.
        #[arg(long)]
        extension: Option<String>,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give a user a new password, generated unless one comes on standard input.
    Passwd {
        /// Whose.
        username: String,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// List users.
    List(Output),
}

/// `cheling extension …`
#[derive(Debug, Subcommand)]
pub enum Extension {
    /// Add a SIP account. Prints a generated password unless one comes on standard input.
    Add {
        /// 2 to 8 digits.
        number: String,
        /// Shown on phones.
        #[arg(long, default_value = "")]
        display_name: String,
        /// How far it may dial: internal, local, national or international.
        #[arg(long, default_value = "national")]
        reach: String,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// List SIP accounts.
    List(Output),
}

/// `cheling line …`
#[derive(Debug, Subcommand)]
pub enum Line {
    /// Add a number that customers call, and the phones that ring for it all at once.
    Add {
        /// The digits as the trunk sends them.
        did: String,
        /// 售后热线.
        #[arg(long)]
        name: String,
        /// Extensions, separated by commas.
        #[arg(long, value_delimiter = ',', required = true)]
        ring: Vec<String>,
        /// Seconds before an unanswered call is given up.
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=300))]
        ring_seconds: u32,
    },
    /// List lines and their phones.
    List(Output),
}

/// `cheling trunk …`
#[derive(Debug, Subcommand)]
pub enum Trunk {
    /// Say of each trunk whether it is up, how many calls it carries, and where it is. Asks the
    /// running service.
    List(Output),
}

/// `cheling customer …`
#[derive(Debug, Subcommand)]
pub enum Customer {
    /// Import customers from .csv, .xlsx or .xls. Bad rows are listed; the good ones are kept.
    Import {
        /// The file.
        file: PathBuf,
        /// Column mapping: `standard`, or a mapping file.
        #[arg(long, default_value = "standard", value_name = "NAME")]
        profile: String,
        /// Only say what would happen.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: Output,
    },
}

/// `cheling call …`
#[derive(Debug, Subcommand)]
pub enum Call {
    /// List calls.
    List(List),
}

/// `cheling recording …`
#[derive(Debug, Subcommand)]
pub enum Recording {
    /// List recordings.
    List(List),
    /// Make old WAV recordings into Ogg Opus. Each original is deleted once its copy is compared
    /// with it and its row tells of the copy. Can be cut at any time, and run beside the service.
    Convert(Convert),
    /// Show, or say, how new recordings of the dealership are made.
    Format(Format),
}

/// `cheling recording convert`
#[derive(Debug, Args)]
pub struct Convert {
    /// Only recordings at least this old: 90d, 12h, 0d.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: Duration,
    #[command(flatten)]
    pub output: Output,
}

/// `cheling recording format`
#[derive(Debug, Args)]
pub struct Format {
    /// wav, ogg_opus, or default: what the configuration says.
    pub container: Option<String>,
}

/// Reads an age such as `90d` or `1d 12h`.
fn age(text: &str) -> Result<Duration, String> {
    let hint = || format!("{text:?} is no age like 90d or 12h");
    let span: jiff::Span = text.parse().map_err(|_| hint())?;
    let age = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| hint())?;
    Duration::try_from(age).map_err(|_| hint())
}

/// How much of a list.
#[derive(Debug, Args)]
pub struct List {
    /// At most so many, newest first.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    #[command(flatten)]
    pub output: Output,
}

/// `cheling check`
#[derive(Debug, Args)]
pub struct Check {
    /// Give answered calls that have no recording, and are not in the journal, a row that says so.
    #[arg(long)]
    pub repair: bool,
    #[command(flatten)]
    pub output: Output,
}

/// `cheling config …`
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Say what is wrong with the configuration and where; exit 0 if nothing is.
    Check,
    /// Print the configuration in force, secrets masked.
    Show,
}
