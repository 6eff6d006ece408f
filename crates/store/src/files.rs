//! Where finished audio lies, and how it gets there whole or not at all.
//!
//! A file is written under a temporary name, synced, given its name, and the folder is synced:
//! what has a name is complete. Names are `YYYY/MM/DD/<recording id>.wav` (or `.opus`), by the
//! dealership's date; beside it lie `.peaks` and, for what cannot be decoded, `.left.rtpdump` and
//! `.right.rtpdump`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};

use cheling_model::recording::Container;
use cheling_model::{RecordingId, Timestamp};
use sha2::{Digest, Sha256};

use crate::disk::sync_folder_of;

/// Folder below the root for what is being written.
const DRAFTS: &str = ".drafts";

/// Extensions of recordings; everything else below the root is a companion or foreign.
pub const AUDIO_EXTENSIONS: [&str; 2] = ["wav", "opus"];

/// Why a recording's path is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no path of a recording")]
pub struct PathError(pub String);

/// The folder of recordings.
#[derive(Clone, Debug)]
pub struct RecordingFiles {
    root: PathBuf,
}

impl RecordingFiles {
    /// Opens (and makes) the folder.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        std::fs::create_dir_all(root.join(DRAFTS))?;
        Ok(Self { root })
    }

    /// Removes what a crash left half-written. Only for the process that writes here.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn remove_drafts(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.root.join(DRAFTS))? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    /// The folder below which all paths lie.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Finds the file of a row's path: below the root, with no way out of it, and audio.
    ///
    /// # Errors
    /// [`PathError`] if the path is absolute, climbs, hides, or has another extension.
    pub fn resolve(&self, path: &str) -> Result<PathBuf, PathError> {
        let refused = || PathError(path.chars().take(80).collect());
        let relative = Path::new(path);
        let is_plain = relative.components().all(|part| {
            matches!(part, Component::Normal(name) if !name.as_encoded_bytes().starts_with(b"."))
        });
        let extension = relative.extension().and_then(|extension| extension.to_str());
        let is_audio = extension.is_some_and(|extension| AUDIO_EXTENSIONS.contains(&extension));
        if path.is_empty() || path.contains(['\\', '\0']) || !is_plain || !is_audio {
            return Err(refused());
        }
        let found = self.root.join(relative);
        // A link that leads out of the root is refused too; a missing file is the caller's matter.
        if let (Ok(real), Ok(root)) = (found.canonicalize(), self.root.canonicalize())
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
        let target = self.root.join(path);
        let name = target.file_name().unwrap_or_default();
        let temporary = self.root.join(DRAFTS).join(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        Ok(Draft { out: BufWriter::with_capacity(256 << 10, file), temporary, target })
    }
}

/// A file being written. Dropped before [`Draft::commit`], it is removed.
#[derive(Debug)]
pub struct Draft {
    out: BufWriter<File>,
    temporary: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// Opens what was written so far, to be read.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn reopen(&mut self) -> io::Result<File> {
        self.out.flush()?;
        File::open(&self.temporary)
    }

    /// Syncs the file and gives it its name.
    ///
    /// A file that has the name already is one that a crash left without a row, made of the same
    /// call: it is replaced.
    ///
    /// # Errors
    /// What the disk reports; the name then stays as it was.
    pub fn commit(mut self) -> io::Result<()> {
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        if let Some(folder) = self.target.parent() {
            make_folders(folder)?;
        }
        match std::fs::hard_link(&self.temporary, &self.target) {
            Ok(()) => {}
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                tracing::warn!(path = %self.target.display(), "a recording is made again");
                std::fs::rename(&self.temporary, &self.target)?;
            }
            // Not every file system has links.
            Err(_) => std::fs::rename(&self.temporary, &self.target)?,
        }
        sync_folder_of(&self.target)
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already after a rename; what stays is removed at the next start.
        let _ = std::fs::remove_file(&self.temporary);
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
