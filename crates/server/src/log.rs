//! Where log lines go: standard error, as text or JSON. Standard output is for answers.

use crate::cli::Command;
use crate::config::Log;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// Starts logging. Short commands log only warnings, so that their answer is not drowned.
pub fn init(log: &Log, command: &Command) {
    let level = match command {
        Command::Run => log.level.as_str(),
        _ if log.level == "info" => "warn",
        _ => log.level.as_str(),
    };
    // A slow statement is logged whole, thousands of placeholders of it, unless asked for by name.
    let filter = EnvFilter::try_new(format!("sqlx=error,{level}")).unwrap_or_else(|error| {
        eprintln!("cheling: log.level {level:?} is no filter ({error}); using info");
        EnvFilter::new("sqlx=error,info")
    });
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if log.json { lines.json().init() } else { lines.init() }
}
