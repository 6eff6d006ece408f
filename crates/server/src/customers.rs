use crate::{cli, config::Config};
pub async fn run(_i: cli::Customer, _c: &Config) -> anyhow::Result<std::process::ExitCode> { anyhow::bail!("x") }
