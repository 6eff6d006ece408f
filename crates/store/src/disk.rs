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

/// Chooses among disks by the room they have: each gets its share of the `key`s, which must be
/// spread over all of their range. The first if none has any.
pub fn by_room(room_bytes: &[u64], key: u64) -> usize {
    // An exabyte is as good as more, and its product with a key cannot overflow.
    let rooms = room_bytes.iter().map(|&room| u128::from(room.min(1 << 60)));
    // A point somewhere in all the room there is.
    let mut point = (u128::from(key).saturating_mul(rooms.clone().sum())) >> 64;
    for (disk, room) in rooms.enumerate() {
        match point.checked_sub(room) {
            Some(rest) => point = rest,
            None => return disk,
        }
    }
    0
}

/// Makes the names in the folder of `path` durable: a file that is synced but whose name is not
/// can be gone after a power cut.
///
/// # Errors
/// What the disk reports.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => sync_folder(folder),
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
///
/// # Errors
/// What the disk reports.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_chosen_by_their_room() {
        for (room, key, want) in [
            (&[0_u64, 0][..], u64::MAX, 0),
            (&[], 5, 0),
            (&[0, 7], 0, 1),
            (&[7, 0], u64::MAX, 0),
            (&[100, 300], 0, 0),
            (&[100, 300], u64::MAX / 4 - 9, 0),
            (&[100, 300], u64::MAX / 4 + 9, 1),
            (&[u64::MAX, u64::MAX, u64::MAX], u64::MAX, 2),
        ] {
            assert_eq!(by_room(room, key), want, "{room:?} {key}");
        }
    }
}
