//! Makes an Ogg Opus copy of a finished WAV: for a download at once, or for good when it is old.
//!
//! A copy for good is decoded and compared with its original before it gets its name. The order of
//! a conversion is: [`convert`], the row, [`remove_original`]; `conversion` does all of it. Nothing
//! is held in memory but a packet.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use cheling_media::ogg_opus::{OggOpusReader, OggOpusWriter, OpusSettings};
use cheling_media::wav::WavReader;
use cheling_model::recording::{Container, Recording};

use crate::disk::sync_folder_of;
use crate::files::{Hashing, PathError, RecordingFiles, hash_file};

/// How much of a lane's level a copy may add or lose (3 dB).
const LEVEL_SHARE: f64 = 0.3;

/// How much of the louder lane's level may be in the other (40 dB below it).
const LEAK_SHARE: f64 = 0.01;

/// What is silence anyway: steps of 16 bits.
const LEVEL_FLOOR: f64 = 30.0;

/// Why a recording was not converted. The original is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// A file could not be read or written.
    #[error("the recording's file: {0}")]
    File(#[from] io::Error),
    /// The row's path is none.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The row is not of a WAV file, or the two rows are not of one recording.
    #[error("not a WAV recording and its Opus copy")]
    NotAPair,
    /// The original is not the file that its row tells of.
    #[error("the original is not what its row says")]
    OriginalChanged,
    /// The copy does not sound like the original.
    #[error("the copy differs from the original: {0}")]
    CopyDiffers(String),
}

/// Length and level of what went by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Levels {
    frames: u64,
    squares: [f64; 2],
}

impl Levels {
    fn add(&mut self, samples: &[i16]) {
        let (frames, _) = samples.as_chunks::<2>();
        self.frames += frames.len() as u64;
        for lane in 0..2 {
            let square = |frame: &[i16; 2]| f64::from(frame[lane]) * f64::from(frame[lane]);
            self.squares[lane] += frames.iter().map(square).sum::<f64>();
        }
    }

    fn rms(&self) -> [f64; 2] {
        self.squares.map(|squares| (squares / self.frames.max(1) as f64).sqrt())
    }

    /// Tells how a copy differs, if it does.
    fn compare(&self, copy: &Self) -> Result<(), TranscodeError> {
        let differs = |what: String| Err(TranscodeError::CopyDiffers(what));
        if copy.frames != self.frames {
            return differs(format!("{} samples, not {}", copy.frames, self.frames));
        }
        let (want, got) = (self.rms(), copy.rms());
        let loudest = want[0].max(want[1]);
        for lane in 0..2 {
            let slack = LEVEL_SHARE * want[lane] + LEAK_SHARE * loudest + LEVEL_FLOOR;
            if (want[lane] - got[lane]).abs() > slack {
                return differs(format!(
                    "lane {lane} has level {:.0}, not {:.0}",
                    got[lane], want[lane]
                ));
            }
        }
        Ok(())
    }
}

/// Encodes a stereo WAV of 8, 16 or 48 kHz as it is read; returns the writer below.
///
/// `tags` become comments of the file.
///
/// # Errors
/// What reader, writer or encoder report; `InvalidData` for another kind of file.
pub fn wav_to_opus<W: Write>(
    wav: impl Read,
    out: W,
    settings: OpusSettings,
    tags: &[(&str, &str)],
) -> io::Result<W> {
    encode(wav, out, settings, tags).map(|(out, _, _)| out)
}

fn encode<W: Write>(
    wav: impl Read,
    out: W,
    settings: OpusSettings,
    tags: &[(&str, &str)],
) -> io::Result<(W, Levels, u32)> {
    let mut wav = WavReader::new(wav)?;
    let format = wav.format();
    if format.channels != 2 || ![8000, 16_000, 48_000].contains(&format.rate_hz) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not the WAV of a recording"));
    }
    let mut opus = OggOpusWriter::new(out, format.rate_hz, settings, 1, tags)?;
    let (mut levels, mut samples) = (Levels::default(), Vec::new());
    while wav.read(&mut samples)? {
        levels.add(&samples);
        opus.write(&samples)?;
        samples.clear();
    }
    Ok((opus.finish()?, levels, format.rate_hz))
}

/// The comments of a recording's file.
fn tags_of(call_id: &str) -> [(&str, &str); 3] {
    [("CALL_ID", call_id), ("LEFT", "customer"), ("RIGHT", "agent")]
}

/// Encodes a recording's WAV into `out`, for a download.
///
/// # Errors
/// [`TranscodeError`] if the file is not there, or is no WAV.
pub fn download_opus<W: Write>(
    files: &RecordingFiles,
    recording: &Recording,
    out: W,
    settings: OpusSettings,
) -> Result<W, TranscodeError> {
    if recording.container != Container::Wav {
        return Err(TranscodeError::NotAPair);
    }
    let wav = BufReader::new(File::open(files.resolve(&recording.path)?)?);
    let call_id = recording.call_id.to_string();
    Ok(wav_to_opus(wav, out, settings, &tags_of(&call_id))?)
}

/// Makes the Opus copy of a WAV recording beside it, decodes it, compares it with the original and
/// gives it its name. Returns the row as it must become; the original stays. Once `stop` is set it
/// gives up.
///
/// # Errors
/// [`TranscodeError`]; no copy has then got its name.
pub fn convert(
    files: &RecordingFiles,
    original: &Recording,
    settings: OpusSettings,
    stop: &AtomicBool,
) -> Result<Recording, TranscodeError> {
    let stem = match original.path.strip_suffix(".wav") {
        Some(stem) if original.container == Container::Wav => stem,
        _ => return Err(TranscodeError::NotAPair),
    };
    let path = files.resolve(&original.path)?;
    let (sha256, bytes) = hash_file(&path)?;
    if sha256 != original.sha256 || i64::try_from(bytes) != Ok(original.bytes) {
        return Err(TranscodeError::OriginalChanged);
    }
    let copy_path = format!("{stem}.opus");
    let call_id = original.call_id.to_string();
    let draft = Hashing::new(files.draft(&copy_path)?);
    let wav = BufReader::new(File::open(&path)?);
    let wav = Stoppable { from: wav, stop };
    let (draft, levels, rate_hz) = encode(wav, draft, settings, &tags_of(&call_id))?;
    let (mut draft, sha256, bytes) = draft.finish();
    levels.compare(&decode(draft.reopen()?, rate_hz)?)?;
    draft.commit()?;
    Ok(Recording {
        path: copy_path,
        container: Container::OggOpus,
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        sha256,
        ..original.clone()
    })
}

/// Fails once it is told to stop.
struct Stoppable<'a, R> {
    from: R,
    stop: &'a AtomicBool,
}

impl<R: Read> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("told to stop"));
        }
        self.from.read(buffer)
    }
}

fn decode(opus: File, rate_hz: u32) -> io::Result<Levels> {
    let mut opus = OggOpusReader::new(BufReader::new(opus), rate_hz)?;
    let (mut levels, mut samples) = (Levels::default(), Vec::new());
    while opus.read(&mut samples)? {
        levels.add(&samples);
        samples.clear();
    }
    Ok(levels)
}

/// Deletes the WAV of a recording whose row now tells of its copy. Looks first that the copy is
/// whole; an original that is gone already is no error.
///
/// # Errors
/// [`TranscodeError`]; the original is then still there.
pub fn remove_original(
    files: &RecordingFiles,
    original: &Recording,
    copy: &Recording,
) -> Result<(), TranscodeError> {
    let is_pair = original.recording_id == copy.recording_id
        && original.container == Container::Wav
        && copy.container == Container::OggOpus
        && original.path != copy.path;
    if !is_pair {
        return Err(TranscodeError::NotAPair);
    }
    let (sha256, bytes) = hash_file(&files.resolve(&copy.path)?)?;
    if sha256 != copy.sha256 || i64::try_from(bytes) != Ok(copy.bytes) {
        return Err(TranscodeError::CopyDiffers("it is not what its row says".into()));
    }
    let path = files.resolve(&original.path)?;
    match std::fs::remove_file(&path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err.into()),
        _ => Ok(sync_folder_of(&path)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(lanes: [f64; 2], frames: u64) -> Levels {
        Levels { frames, squares: lanes.map(|level| level * level * frames as f64) }
    }

    #[test]
    fn a_copy_that_is_short_quiet_or_swapped_is_told() {
        let original = levels([3000.0, 100.0], 8000);
        for (lanes, frames, is_same) in [
            ([3000.0, 100.0], 8000, true),
            ([2500.0, 130.0], 8000, true), // What Opus may do at 24 kbit/s.
            ([2900.0, 300.0], 8000, false),
            ([3000.0, 100.0], 7999, false),
            ([1500.0, 100.0], 8000, false),
            ([100.0, 3000.0], 8000, false),
            ([0.0, 0.0], 8000, false),
        ] {
            let copy = levels(lanes, frames);
            assert_eq!(original.compare(&copy).is_ok(), is_same, "{lanes:?} {frames}");
        }
        assert!(levels([0.0; 2], 9).compare(&levels([1.0; 2], 9)).is_ok());
    }
}
