use crate::{cli, config::Config};
pub async fn run(_i: cli::Demo, _c: Config) -> anyhow::Result<()> { anyhow::bail!("x") }
