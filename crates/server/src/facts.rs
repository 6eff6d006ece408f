//! Opens the database, and puts the first dealership into a new one.

use crate::config::Config;
use anyhow::Context as _;
use cheling_model::Timestamp;
use cheling_records::admin::{Dealership, dealerships};
use cheling_records::{Database, insert, mint};
use jiff::tz::{Offset, TimeZone};

/// The database with the dealership that this process serves.
pub struct Facts {
    /// All facts.
    pub database: Database,
    /// The first dealership; a new database begins with the configured one.
    pub dealership: Dealership,
}

/// Opens the configured database, creating what is missing.
pub async fn open(config: &Config) -> anyhow::Result<Facts> {
    let url = config.database_url();
    if config.database.url.is_none() {
        private_dir(&config.data_dir)?;
    }
    let database = Database::open(&url)
        .await
        .with_context(|| format!("database {}", config.masked_database_url()))?;
    let dealership = match dealerships(&database).await?.into_iter().next() {
        Some(dealership) => dealership,
        None => {
            let first = Dealership {
                dealership_id: mint(),
                name: config.dealership.name.clone(),
                area_code: config.dealership.area_code.clone(),
                created_at: now(),
            };
            insert(&database, &first).await?;
            first
        }
    };
    Ok(Facts { database, dealership })
}

/// Opens a database that must be there: looking must not make an empty one in the wrong folder and
/// find it in good order.
pub async fn open_existing(config: &Config) -> anyhow::Result<Facts> {
    let url = config.database_url();
    if let Some(path) = url.strip_prefix("sqlite://") {
        let path = std::path::Path::new(path.split('?').next().unwrap_or(path));
        anyhow::ensure!(
            path.exists(),
            "there is no database {} (data_dir is relative to the working folder)",
            path.display()
        );
    }
    open(config).await
}

/// Makes a folder that only we may read: recordings are personal data.
pub fn private_dir(path: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the folder {}", path.display()))
}

/// What the wall clock says.
pub fn now() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}

/// The dealership's clock.
pub fn time_zone(config: &Config) -> TimeZone {
    Offset::from_seconds(config.dealership.utc_offset_minutes * 60)
        .map_or(TimeZone::UTC, TimeZone::fixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn looking_in_the_wrong_folder_makes_no_database() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { data_dir: folder.path().join("elsewhere"), ..Config::default() };
        let error = open_existing(&config).await.err().unwrap().to_string();
        assert!(error.contains("there is no database"), "{error}");
        assert!(!config.data_dir.exists());
        open(&config).await.unwrap();
        open_existing(&config).await.unwrap();
    }
}
