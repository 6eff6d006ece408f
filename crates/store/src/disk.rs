//! The few things that are asked of a disk, so that tests can take one away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A file that is only appended to.
pub trait AppendFile: Send {
    /// Appends all of `bytes`, or fails having perhaps appended some.
    ///
    /// # Errors
    /// What the disk reports.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file back to `len` bytes; the next append goes there.
    ///
    /// # Errors
    /// What the disk reports.
    fn cut(&mut self, len: u64) -> io::Result<()>;

    /// Waits until what was appended would survive a power cut.
    ///
    /// # Errors
    /// What the disk reports.
    fn sync(&mut self) -> io::Result<()>;
}

/// Where a journal lives.
pub trait Disk: Send {
    /// Creates a file that must not exist yet, and makes its name durable.
    ///
    /// # Errors
    /// What the disk reports.
    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>>;

    /// Bytes that we may still write below `path`.
    ///
    /// # Errors
    /// What the disk reports.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// The disk of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        // Append mode, so that a cut file is written at its end, not past it.
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        sync_folder_of(path)?;
        Ok(Box::new(file))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(path)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

impl AppendFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Makes the names in the folder of `path` durable: a file that is synced but whose name is not
/// can be gone after a power cut.
///
/// # Errors
/// What the disk reports.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
