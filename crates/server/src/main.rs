//! The `cheling` binary: reads the command line and the configuration, and joins the crates.
//!
//! Exit codes: 0 done, 1 it could not be done or a check found something, 2 the command line or
//! the configuration is wrong.
#![cfg_attr(test, allow(clippy::unwrap_used))]
#![allow(clippy::print_stdout, clippy::print_stderr)] // A command line program speaks there.

mod alarms;
mod check;
mod cli;
mod config;
mod control;
mod conversion;
mod customers;
mod demo;
mod facts;
mod import_pcap;
mod kept;
mod lists;
mod log;
mod meters;
mod node;
mod open_files;
mod oversight;
mod people;
mod recovery;
mod switchboard;
mod tap;
mod trunks;

use clap::Parser as _;
use cli::{Cli, Command};
use config::{Config, ConfigError};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(cli.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return misconfigured(&cli, &error),
    };
    log::init(&config.log, &cli.command);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(dispatch(cli.command, config)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn dispatch(command: Command, config: Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run => node::run(config).await?,
        Command::Demo(demo) => demo::run(demo, config).await?,
        Command::ImportPcap(import) => return import_pcap::run(import, config).await,
        Command::Check(command) => return check::run(command, &config).await,
        Command::Migrate => {
            facts::open(&config).await?;
            println!("{}: the tables are those of this version", config.masked_database_url());
        }
        Command::User(user) => people::user(user, &config).await?,
        Command::Extension(extension) => switchboard::extension(extension, &config).await?,
        Command::Line(line) => switchboard::line(line, &config).await?,
        Command::Trunk(cli::Trunk::List(output)) => trunks::list(output, &config).await?,
        Command::Customer(customer) => return customers::run(customer, &config).await,
        Command::Call(cli::Call::List(list)) => lists::calls(&list, &config).await?,
        Command::Recording(cli::Recording::List(list)) => lists::recordings(&list, &config).await?,
        Command::Recording(cli::Recording::Convert(convert)) => {
            return conversion::run(convert, config).await;
        }
        Command::Recording(cli::Recording::Format(format)) => {
            conversion::format(format, &config).await?;
        }
        Command::Config(cli::Config::Check) => println!("the configuration is sound"),
        Command::Config(cli::Config::Show) => print!("{}", config.to_toml()),
    }
    Ok(ExitCode::SUCCESS)
}

fn misconfigured(cli: &Cli, error: &ConfigError) -> ExitCode {
    match &cli.config {
        Some(path) => eprintln!("cheling: {} cannot be used:", path.display()),
        None => eprintln!("cheling: the environment (CHELING_…) cannot be used:"),
    }
    for line in error.to_string().lines() {
        eprintln!("  {line}");
    }
    ExitCode::from(2)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("cheling: {error:#}");
    ExitCode::FAILURE
}
