//! The folders of recordings on several disks: which is which, which is there, which has room.
//!
//! The first disk has no name and its paths are as they are; a path on a further disk begins with
//! `@name/`. So a row says which disk its file is on, whatever happens to the others.
//!
//! When a disk is gone its mount point looks empty, not absent, and would be taken for the disk. So
//! a further disk carries a mark, and the first one remembers that it was given: a folder without
//! the mark that it once had is away, and nothing is written there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::disk::{Disk, LocalDisk, sync_folder_of};
use crate::files::DRAFTS;

/// On a further disk, says that it is one.
const MARK: &str = ".cheling-disk";

/// On the first disk, holds the names of the disks that were marked.
const MARKED: &str = ".disks";

/// How long a disk that failed gets no new recordings.
const SHUN: Duration = Duration::from_secs(60);

/// The longest name of a disk.
const MAX_NAME: usize = 32;

/// A further disk as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFolder {
    /// Its name in paths, for good ([`is_disk_name`]).
    pub name: String,
    /// The folder of recordings on it.
    pub root: PathBuf,
}

/// Tells whether a disk may have this name: lower-case letters, digits and `-`.
pub fn is_disk_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain)
}

/// The folder of recordings on one disk.
#[derive(Clone, Debug)]
pub struct Root {
    name: String,
    path: PathBuf,
    shunned_until: Arc<Mutex<Option<Instant>>>,
}

impl Root {
    pub(crate) fn first(path: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(path.join(DRAFTS))?;
        Ok(Self { name: String::new(), path, shunned_until: Arc::default() })
    }

    pub(crate) fn further(disk: &DiskFolder, first: &Path) -> Self {
        let root = Self {
            name: disk.name.clone(),
            path: disk.root.clone(),
            shunned_until: Arc::default(),
        };
        if let Err(err) = root.mark(first) {
            tracing::error!(disk = root.name, path = %root.path.display(), %err,
                "the disk is away: no recordings are put there, and those on it cannot be heard");
        }
        root
    }

    /// Marks the disk if it was never marked, and finds its mark if it was.
    fn mark(&self, first: &Path) -> io::Result<()> {
        let marked = first.join(MARKED).join(&self.name);
        if !self.is_there() {
            if marked.exists() {
                let why = format!("it has no {MARK}: is it mounted?");
                return Err(io::Error::new(io::ErrorKind::NotFound, why));
            }
            std::fs::create_dir_all(&self.path)?;
            std::fs::write(self.path.join(MARK), &self.name)?;
            sync_folder_of(&self.path.join(MARK))?;
        }
        std::fs::create_dir_all(self.path.join(DRAFTS))?;
        if !marked.exists() {
            std::fs::create_dir_all(first.join(MARKED))?;
            std::fs::write(&marked, b"")?;
            sync_folder_of(&marked)?;
        }
        Ok(())
    }

    /// Its name; empty for the first.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the disk is there.
    pub fn is_there(&self) -> bool {
        if self.name.is_empty() { self.path.is_dir() } else { self.path.join(MARK).is_file() }
    }

    /// A path on this disk as rows have it.
    pub(crate) fn prefixed(&self, path: &str) -> String {
        if self.name.is_empty() { path.to_owned() } else { format!("@{}/{path}", self.name) }
    }

    /// Room for new recordings: none while it is shunned or does not answer.
    pub(crate) fn room_bytes(&self) -> u64 {
        let shunned = self.shunned_until.lock().unwrap_or_else(PoisonError::into_inner);
        if shunned.is_some_and(|until| Instant::now() < until) {
            return 0;
        }
        LocalDisk.free_bytes(&self.path).unwrap_or(0)
    }

    pub(crate) fn shun(&self) {
        tracing::error!(disk = self.name, path = %self.path.display(),
            "the disk failed: new recordings go to others for a minute");
        let mut shunned = self.shunned_until.lock().unwrap_or_else(PoisonError::into_inner);
        *shunned = Some(Instant::now() + SHUN);
    }
}
