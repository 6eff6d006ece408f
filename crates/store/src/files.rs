//! Where finished audio lies, and how it gets there whole or not at all.
//!
//! A file is written under a temporary name, synced, given its name, and the folder is synced:
//! what has a name is complete. Names are `YYYY/MM/DD/<recording id>.wav` (or `.opus`), by the
//! dealership's date; beside it lie `.peaks` and, for what cannot be decoded, `.left.rtpdump` and
//! `.right.rtpdump`. On a further disk (`roots`) the path begins with `@` and the disk's name.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use cheling_model::recording::Container;
use cheling_model::{RecordingId, Timestamp};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::disk::{by_room, sync_folder, sync_folder_of};
use crate::roots::{DiskFolder, Root};

/// Folder below each root for what is being written.
pub(crate) const DRAFTS: &str = ".drafts";

/// Extensions of recordings; everything else below the root is a companion or foreign.
pub const AUDIO_EXTENSIONS: [&str; 2] = ["wav", "opus"];

/// Why a recording's path is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no path of a recording")]
pub struct PathError(pub String);

/// The folders of recordings, one on each disk.
#[derive(Clone, Debug)]
pub struct RecordingFiles {
    /// Never empty; the first has no name.
    roots: Arc<[Root]>,
}

impl RecordingFiles {
    /// Opens (and makes) the folder.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        Self::open_disks(root, &[])
    }

    /// Opens (and makes) the first folder, and the folders on further disks. One of those that is
    /// away is kept in mind: it is used again when it is back.
    ///
    /// # Errors
    /// What the first disk reports.
    pub fn open_disks(first: impl Into<PathBuf>, further: &[DiskFolder]) -> io::Result<Self> {
        let first = Root::first(first.into())?;
        let further = further.iter().map(|disk| Root::further(disk, first.path()));
        let further: Vec<_> = further.collect();
        Ok(Self { roots: std::iter::once(first).chain(further).collect() })
    }

    /// Removes what a crash left half-written. Only for the process that writes here.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn remove_drafts(&self) -> io::Result<()> {
        for root in self.roots.iter().filter(|root| root.is_there()) {
            for entry in std::fs::read_dir(root.path().join(DRAFTS))? {
                std::fs::remove_file(entry?.path())?;
            }
        }
        Ok(())
    }

    /// The folder on the first disk.
    pub fn root(&self) -> &Path {
        self.roots[0].path()
    }

    /// The folders on all disks, those that are away included.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The root that a path begins with, and the rest of the path.
    fn split<'a>(&self, path: &'a str) -> Option<(&Root, &'a str)> {
        let Some(named) = path.strip_prefix('@') else { return Some((&self.roots[0], path)) };
        let (name, rest) = named.split_once('/')?;
        let root = self.roots[1..].iter().find(|root| root.name() == name)?;
        Some((root, rest))
    }

    /// The disk of a path that resolves.
    pub(crate) fn root_of(&self, path: &str) -> &Root {
        self.split(path).map_or(&self.roots[0], |(root, _)| root)
    }

    /// The disk that a row's path is on, if it is away.
    pub fn away(&self, path: &str) -> Option<&Root> {
        self.split(path).map(|(root, _)| root).filter(|root| !root.is_there())
    }

    /// Chooses the disk for a new recording and gives its whole path: the disk that has it already,
    /// made before a crash, or one of those with room.
    pub fn place(&self, path: &str) -> String {
        if self.roots.len() == 1 {
            return path.to_owned();
        }
        let there: Vec<_> = self.roots.iter().filter(|root| root.is_there()).collect();
        let made = there.iter().find(|root| root.path().join(path).is_file());
        let room: Vec<_> = there.iter().map(|root| root.room_bytes()).collect();
        let key = crc32fast::hash(path.as_bytes());
        let chosen = made.or(there.get(by_room(&room, u64::from(key) << 32)));
        chosen.map_or_else(|| path.to_owned(), |root| root.prefixed(path))
    }

    /// Takes note that the disk of a path failed: for a while it gets no new recordings.
    pub fn shun(&self, path: &str) {
        if let Some((root, _)) = self.split(path).filter(|_| self.roots.len() > 1) {
            root.shun();
        }
    }

    /// Finds the file of a row's path: below its root, with no way out of it, and audio.
    ///
    /// # Errors
    /// [`PathError`] if the path is absolute, climbs, hides, or has another extension.
    pub fn resolve(&self, path: &str) -> Result<PathBuf, PathError> {
        let refused = || PathError(path.chars().take(80).collect());
        let (root, path) = self.split(path).ok_or_else(refused)?;
        let relative = Path::new(path);
        let is_plain = relative.components().all(|part| {
            matches!(part, Component::Normal(name) if !name.as_encoded_bytes().starts_with(b"."))
        });
        let extension = relative.extension().and_then(|extension| extension.to_str());
        let is_audio = extension.is_some_and(|extension| AUDIO_EXTENSIONS.contains(&extension));
        if path.is_empty() || path.contains(['\\', '\0']) || !is_plain || !is_audio {
            return Err(refused());
        }
        let found = root.path().join(relative);
        // A link that leads out of the root is refused too; a missing file is the caller's matter.
        if let (Ok(real), Ok(root)) = (found.canonicalize(), root.path().canonicalize())
            && !real.starts_with(root)
        {
            return Err(refused());
        }
        Ok(found)
    }

    /// The companion of a recording's file: the same name with another ending.
    ///
    /// # Errors
    /// [`PathError`] as [`RecordingFiles::resolve`].
    pub fn companion(&self, path: &str, ending: &str) -> Result<PathBuf, PathError> {
        Ok(self.resolve(path)?.with_extension(ending))
    }

    /// Begins a file that nobody sees until it is committed.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn draft(&self, path: &str) -> io::Result<Draft> {
        let Some((root, path)) = self.split(path) else {
            return Err(io::Error::other(format!("no disk is known for {path}")));
        };
        if !root.is_there() {
            return Err(io::Error::other(format!("the disk {} is away", root.path().display())));
        }
        let target = root.path().join(path);
        let name = target.file_name().unwrap_or_default();
        let temporary = root.path().join(DRAFTS).join(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        let out = BufWriter::with_capacity(256 << 10, file);
        let temporary = Temporary { path: temporary, is_there: true };
        Ok(Draft { out, temporary, target })
    }
}

/// A file being written. Dropped before [`Draft::commit`], it is removed.
#[derive(Debug)]
pub struct Draft {
    out: BufWriter<File>,
    temporary: Temporary,
    target: PathBuf,
}

impl Draft {
    /// Opens what was written so far, to be read.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn reopen(&mut self) -> io::Result<File> {
        self.out.flush()?;
        File::open(&self.temporary.path)
    }

    /// Syncs the file and gives it its name.
    ///
    /// A file that has the name already is one that a crash left without a row, made of the same
    /// call: it is replaced.
    ///
    /// # Errors
    /// What the disk reports; the name then stays as it was.
    pub fn commit(self) -> io::Result<()> {
        commit_all(vec![self.finish()?])
    }

    /// Ends the writing; the file has its name only after [`commit_all`].
    ///
    /// # Errors
    /// What the disk reports.
    pub fn finish(self) -> io::Result<Finished> {
        let Self { out, temporary, target } = self;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Finished { file, temporary, target })
    }
}

/// A whole file that waits for its name. Dropped before [`commit_all`], it is removed.
#[derive(Debug)]
pub struct Finished {
    file: File,
    temporary: Temporary,
    target: PathBuf,
}

/// Syncs files and gives them their names, in their order: none before all of them are on the
/// disk. Each folder is synced once.
///
/// # Errors
/// What the disk reports; names that were not given stay as they were.
pub fn commit_all(mut finished: Vec<Finished>) -> io::Result<()> {
    for Finished { file, .. } in &finished {
        file.sync_all()?;
    }
    let mut folders = BTreeSet::new();
    for Finished { temporary, target, .. } in &mut finished {
        let target: &Path = target;
        if let Some(folder) = target.parent()
            && folders.insert(folder)
        {
            make_folders(folder)?;
        }
        temporary.rename(target)?;
    }
    folders.into_iter().try_for_each(sync_folder)
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A file's temporary name; if it still has it, the file is removed with it.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    is_there: bool,
}

impl Temporary {
    /// Gives the file its name.
    fn rename(&mut self, target: &Path) -> io::Result<()> {
        match renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(err) => {
                // Not every file system looks first whether the name is taken.
                if err == Errno::EXIST {
                    tracing::warn!(path = %target.display(), "a recording is made again");
                }
                std::fs::rename(&self.path, target)?;
            }
        }
        self.is_there = false;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.is_there {
            // What stays is removed at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes a folder and those above it, each name durable.
fn make_folders(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folders(above)?;
    }
    match std::fs::create_dir(folder) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(err),
        _ => sync_folder_of(folder),
    }
}

/// The path of a recording: the date where the dealership is, and its id.
pub fn recording_path(
    recording_id: RecordingId,
    started_at: Timestamp,
    utc_offset_s: i32,
    container: Container,
) -> String {
    let second = started_at.as_micros().div_euclid(1_000_000).saturating_add(utc_offset_s.into());
    // Beyond the calendar's end only if the clock was nonsense; the epoch is as good then.
    let date = jiff::Timestamp::from_second(second).unwrap_or_default();
    let day = date.to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y/%m/%d").to_string();
    let extension = match container {
        Container::Wav => "wav",
        Container::OggOpus => "opus",
    };
    format!("{day}/{recording_id}.{extension}")
}

/// Hashes and counts what is written through it.
#[derive(Debug)]
pub struct Hashing<W> {
    out: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Hashing<W> {
    /// Wraps a writer.
    pub fn new(out: W) -> Self {
        Self { out, hash: Sha256::new(), bytes: 0 }
    }

    /// The writer below, the hex SHA-256 of all that was written, and its length.
    pub fn finish(self) -> (W, String, u64) {
        (self.out, hex(&self.hash.finalize()), self.bytes)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The hex SHA-256 and length of a file.
///
/// # Errors
/// What the disk reports.
pub fn hash_file(path: &Path) -> io::Result<(String, u64)> {
    let mut hashing = Hashing::new(io::sink());
    io::copy(&mut File::open(path)?, &mut hashing)?;
    let (_, sha256, bytes) = hashing.finish();
    Ok((sha256, bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn files() -> (tempfile::TempDir, RecordingFiles) {
        let folder = tempfile::tempdir().unwrap();
        let files = RecordingFiles::open(folder.path().join("recordings")).unwrap();
        (folder, files)
    }

    #[test]
    fn a_path_that_leaves_the_root_is_refused() {
        let (folder, files) = files();
        for path in [
            "",
            "/etc/passwd.wav",
            "../x.wav",
            "2026/../../x.wav",
            "2026/11/22/x.mp3",
            "x",
            ".drafts/x.wav",
            "2026/.x.wav",
            "a\\..\\x.wav",
            "2026/11/22/x.peaks",
            "./x.wav",
        ] {
            assert!(files.resolve(path).is_err(), "{path:?}");
        }
        let good = files.resolve("2026/11/22/x.wav").unwrap();
        assert!(good.ends_with("recordings/2026/11/22/x.wav"));
        assert!(files.companion("2026/11/22/x.wav", "peaks").unwrap().ends_with("x.peaks"));
        std::fs::write(folder.path().join("secret.wav"), b"s").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret.wav"), files.root().join("l.wav"))
            .unwrap();
        assert!(files.resolve("l.wav").is_err());
    }

    #[test]
    fn a_draft_is_seen_only_when_committed() {
        let (_folder, files) = files();
        let mut draft = files.draft("2026/11/22/x.wav").unwrap();
        draft.write_all(b"half").unwrap();
        drop(draft);
        assert!(!files.root().join("2026").exists());
        assert_eq!(std::fs::read_dir(files.root().join(DRAFTS)).unwrap().count(), 0);
        for text in [&b"first"[..], b"made again"] {
            let mut draft = files.draft("2026/11/22/x.wav").unwrap();
            draft.write_all(text).unwrap();
            draft.commit().unwrap();
            assert_eq!(std::fs::read(files.root().join("2026/11/22/x.wav")).unwrap(), text);
        }
        std::fs::write(files.root().join(DRAFTS).join("left.wav"), b"by a crash").unwrap();
        files.remove_drafts().unwrap();
        assert_eq!(std::fs::read_dir(files.root().join(DRAFTS)).unwrap().count(), 0);
    }

    #[test]
    fn of_many_files_none_has_its_name_before_all_are_written() {
        let (_folder, files) = files();
        let paths = ["2026/11/22/a.peaks", "2026/11/22/a.wav", "2026/11/23/b.wav"];
        let write = |path: &&str| {
            let mut draft = files.draft(path).unwrap();
            draft.write_all(path.as_bytes()).unwrap();
            draft.finish().unwrap()
        };
        let finished: Vec<_> = paths.iter().map(write).collect();
        assert!(!files.root().join("2026").exists());
        commit_all(finished).unwrap();
        for path in paths {
            assert_eq!(std::fs::read(files.root().join(path)).unwrap(), path.as_bytes());
        }
        let mut finished: Vec<_> = paths.iter().map(write).collect();
        // A folder stands where the second's name should be.
        let taken = files.root().join("2026/11/22/a.wav");
        std::fs::remove_file(&taken).unwrap();
        std::fs::create_dir(&taken).unwrap();
        assert!(commit_all(std::mem::take(&mut finished)).is_err());
        assert_eq!(std::fs::read_dir(files.root().join(DRAFTS)).unwrap().count(), 0);
    }

    #[test]
    fn the_date_is_the_dealerships() {
        let id = RecordingId(Uuid::from_u128(7));
        // 2026-11-21 16:30 UTC is half past midnight of the 22nd in Shanghai.
        let at = Timestamp::from_micros(1_795_278_600_000_000);
        for (offset, container, want) in [
            (8 * 3600, Container::Wav, "2026/11/22/00000000-0000-0000-0000-000000000007.wav"),
            (0, Container::OggOpus, "2026/11/21/00000000-0000-0000-0000-000000000007.opus"),
        ] {
            assert_eq!(recording_path(id, at, offset, container), want);
        }
    }

    #[test]
    fn hash_and_length_are_of_what_was_written() {
        let mut hashing = Hashing::new(Vec::new());
        hashing.write_all(b"abc").unwrap();
        let (out, sha256, bytes) = hashing.finish();
        assert_eq!((out.as_slice(), bytes), (&b"abc"[..], 3));
        assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
