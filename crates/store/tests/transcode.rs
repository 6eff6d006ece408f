//! WAV recordings become Opus, and nothing is deleted that its copy does not replace.
#![allow(clippy::unwrap_used)]

mod scene;

use std::fs::File;
use std::io::BufReader;

use cheling_media::g711::Law;
use cheling_media::ogg_opus::{OggOpusReader, OpusSettings};
use cheling_model::Lane;
use cheling_model::recording::{Container, Recording};
use cheling_store::files::{RecordingFiles, hash_file};
use cheling_store::transcode::{TranscodeError, download_opus, remove_original};
use scene::{Studio, amplitude, tone};
use std::sync::atomic::AtomicBool;

fn convert(
    files: &RecordingFiles,
    original: &Recording,
    settings: OpusSettings,
) -> Result<Recording, TranscodeError> {
    cheling_store::transcode::convert(files, original, settings, &AtomicBool::new(false))
}

fn recorded(studio: &Studio) -> Recording {
    let mut packets = tone(Lane::Customer, Law::A, 440.0, 0, 7000);
    packets.extend(tone(Lane::Agent, Law::Mu, 1000.0, 1000, 9000));
    studio.recorded(packets, 10_000)
}

fn decoded(from: impl std::io::Read + std::io::Seek) -> [Vec<i16>; 2] {
    let mut reader = OggOpusReader::new(from, 8000).unwrap();
    let mut samples = Vec::new();
    while reader.read(&mut samples).unwrap() {}
    [0, 1].map(|lane| samples.iter().skip(lane).step_by(2).copied().collect())
}

#[test]
fn a_download_is_the_recording_in_opus() {
    let studio = Studio::new();
    let recording = recorded(&studio);
    let settings = OpusSettings::default();
    let bytes = download_opus(&studio.files, &recording, Vec::new(), settings).unwrap();
    assert!((bytes.len() as i64) < recording.bytes / 5, "{}", bytes.len());
    let [left, right] = decoded(std::io::Cursor::new(bytes));
    assert_eq!((left.len(), right.len()), (80_000, 80_000));
    assert!(amplitude(&left[8000..48_000], 440.0) > 5000.0);
    assert!(amplitude(&right[16_000..64_000], 1000.0) > 5000.0);
}

#[test]
fn a_conversion_is_compared_named_and_only_then_the_original_goes() {
    let studio = Studio::new();
    let original = recorded(&studio);
    let files = &studio.files;
    let copy = convert(files, &original, OpusSettings::default()).unwrap();
    assert_eq!(copy.path, original.path.replace(".wav", ".opus"));
    assert_eq!(copy.container, Container::OggOpus);
    let path = files.resolve(&copy.path).unwrap();
    let (sha256, bytes) = hash_file(&path).unwrap();
    assert_eq!((sha256, bytes as i64), (copy.sha256.clone(), copy.bytes));
    assert_eq!((copy.duration_us, copy.sample_rate_hz), (10_000_000, 8000));
    let [left, _] = decoded(BufReader::new(File::open(&path).unwrap()));
    assert_eq!(left.len(), 80_000);
    let wav = files.resolve(&original.path).unwrap();
    assert!(wav.exists(), "only the caller says when the row is written");
    // Done again after a crash it is the same file.
    assert_eq!(convert(files, &original, OpusSettings::default()).unwrap(), copy);
    remove_original(files, &original, &copy).unwrap();
    assert!(!wav.exists() && path.exists());
    assert!(files.companion(&copy.path, "peaks").unwrap().exists());
    remove_original(files, &original, &copy).unwrap();
}

#[test]
fn an_original_that_is_damaged_or_has_no_whole_copy_stays() {
    let studio = Studio::new();
    let original = recorded(&studio);
    let files = &studio.files;
    let settings = OpusSettings::default();
    let copy = convert(files, &original, settings).unwrap();
    let path = files.resolve(&copy.path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 100);
    std::fs::write(&path, bytes).unwrap();
    let removed = remove_original(files, &original, &copy);
    assert!(matches!(removed, Err(TranscodeError::CopyDiffers(_))), "{removed:?}");
    let removed = remove_original(files, &original, &original);
    assert!(matches!(removed, Err(TranscodeError::NotAPair)), "{removed:?}");
    let wav = files.resolve(&original.path).unwrap();
    assert!(wav.exists());
    let mut bytes = std::fs::read(&wav).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&wav, bytes).unwrap();
    let converted = convert(files, &original, settings);
    assert!(matches!(converted, Err(TranscodeError::OriginalChanged)), "{converted:?}");
    let converted = convert(files, &copy, settings);
    assert!(matches!(converted, Err(TranscodeError::NotAPair)), "{converted:?}");
}
