//! What those on hold hear: read once at the start, as the relay plays it.

use anyhow::{Context, ensure};
use cheling_media::encoder::RATE_HZ;
use cheling_media::resample::Resampler;
use cheling_media::wav::WavReader;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

/// `media.hold_tone` for the tone of our own.
pub const BEEP: &str = "beep";
/// The longest piece that is kept: 19 MB.
const MOST_SECONDS: u64 = 600;

/// The music that `media.hold_tone` names; `None` if it is no file.
///
/// # Errors
/// If the file cannot be read, is no WAV file of 16-bit samples, or holds none.
pub fn music(hold_tone: &str) -> anyhow::Result<Option<Arc<[i16]>>> {
    if hold_tone.is_empty() || hold_tone == BEEP {
        return Ok(None);
    }
    let read = || read(Path::new(hold_tone));
    let music = read().with_context(|| {
        format!("media.hold_tone: {hold_tone} has to be \"beep\", \"\" or a 16-bit WAV file")
    })?;
    Ok(Some(music))
}

fn read(path: &Path) -> anyhow::Result<Arc<[i16]>> {
    let mut reader = WavReader::new(BufReader::new(File::open(path)?))?;
    let format = reader.format();
    let most = u64::from(format.rate_hz) * MOST_SECONDS * u64::from(format.channels);
    let mut samples = Vec::new();
    while (samples.len() as u64) < most && reader.read(&mut samples)? {}
    let channels = usize::from(format.channels);
    let mono: Vec<i16> = samples
        .chunks_exact(channels)
        .map(|frame| {
            let sum: i64 = frame.iter().copied().map(i64::from).sum();
            (sum / frame.len() as i64) as i16
        })
        .collect();
    let mut music = Vec::new();
    let mut resampler =
        Resampler::new(format.rate_hz, RATE_HZ).context("no filter for its rate")?;
    resampler.push(&mono, &mut music);
    resampler.finish(&mut music);
    // The filter fills its last block; a pause there would be heard each time it begins again.
    music.truncate((mono.len() as u64 * u64::from(RATE_HZ) / u64::from(format.rate_hz)) as usize);
    ensure!(!music.is_empty(), "it holds no sound");
    Ok(music.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_media::wav::{Wav, WavFormat};

    #[test]
    fn a_stereo_file_of_another_rate_becomes_what_the_relay_plays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("music.wav");
        let format = WavFormat { channels: 2, rate_hz: 8000 };
        let samples = (0..8000).flat_map(|_| [1000, 3000]).collect();
        Wav { format, samples }.write(File::create(&path).unwrap()).unwrap();
        let music = music(path.to_str().unwrap()).unwrap().unwrap();
        assert!((15_900..=16_100).contains(&music.len()), "{}", music.len());
        assert!((1900..=2100).contains(&music[8000]), "{}", music[8000]);
        std::fs::write(&path, "no WAV file").unwrap();
        let refused = super::music(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(refused.contains("media.hold_tone") && refused.contains("16-bit WAV"), "{refused}");
        for word in ["", BEEP] {
            assert!(super::music(word).unwrap().is_none());
        }
    }
}
