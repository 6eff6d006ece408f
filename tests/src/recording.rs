//! Looks into a finished recording: which tone is where in which lane.

use std::io::Cursor;

use cheling_phone::{level_dbfs, tone_share};

/// The customer's lane, on the left.
pub const CUSTOMER: usize = 0;
/// Our side's lane, on the right.
pub const OUR_SIDE: usize = 1;

/// Writes a mono file of 8000 samples a second, for a client to say.
///
/// # Panics
/// If it cannot be written.
pub fn write_wav(path: &std::path::Path, pcm: &[i16]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for &sample in pcm {
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
}

/// A stereo WAV file in memory.
pub struct Recording {
    /// Left and right, 16-bit.
    pub lanes: [Vec<i16>; 2],
    /// Samples a second.
    pub rate_hz: u32,
}

impl Recording {
    /// Reads a WAV file.
    ///
    /// # Panics
    /// If it is not 16-bit stereo.
    pub fn read(bytes: &[u8]) -> Self {
        let mut reader = hound::WavReader::new(Cursor::new(bytes)).expect("a WAV file");
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.bits_per_sample), (2, 16));
        let mut lanes = [Vec::new(), Vec::new()];
        for (index, sample) in reader.samples::<i16>().enumerate() {
            lanes[index % 2].push(sample.unwrap());
        }
        Self { lanes, rate_hz: spec.sample_rate }
    }

    /// Its length.
    pub fn seconds(&self) -> f64 {
        self.lanes[0].len() as f64 / f64::from(self.rate_hz)
    }

    /// How long one lane carries this tone, in steps of 50 ms, wherever it is.
    pub fn seconds_of_tone(&self, lane: usize, frequency_hz: f32) -> f64 {
        let window = self.rate_hz as usize / 20;
        // The filter takes its samples for 8000 a second.
        let at_8_khz = frequency_hz * 8000.0 / self.rate_hz as f32;
        let count = self.lanes[lane]
            .chunks_exact(window)
            .filter(|pcm| level_dbfs(pcm) > -40.0 && tone_share(pcm, at_8_khz) > 0.9)
            .count();
        count as f64 / 20.0
    }

    /// The longest time for which a lane is silent, seconds in steps of 20 ms.
    pub fn longest_silence(&self, lane: usize) -> f64 {
        let window = self.rate_hz as usize / 50;
        let loud = |pcm: &[i16]| level_dbfs(pcm) > -60.0;
        let silences = self.lanes[lane].chunks(window).map(loud).collect::<Vec<_>>();
        let longest = silences.split(|is_loud| *is_loud).map(<[bool]>::len).max();
        longest.unwrap_or_default() as f64 / 50.0
    }

    /// How long a lane is loud, in steps of 20 ms.
    pub fn seconds_of_sound(&self, lane: usize) -> f64 {
        let window = self.rate_hz as usize / 50;
        let loud = self.lanes[lane].chunks(window).filter(|pcm| level_dbfs(pcm) > -40.0);
        loud.count() as f64 / 50.0
    }

    /// How much of a lane's energy this tone is, over all 50 ms steps that are loud; 0 to 1.
    pub fn share_of_tone(&self, lane: usize, frequency_hz: f32) -> f32 {
        let window = self.rate_hz as usize / 20;
        let at_8_khz = frequency_hz * 8000.0 / self.rate_hz as f32;
        let shares: Vec<f32> = self.lanes[lane]
            .chunks_exact(window)
            .filter(|pcm| level_dbfs(pcm) > -40.0)
            .map(|pcm| tone_share(pcm, at_8_khz))
            .collect();
        shares.iter().sum::<f32>() / shares.len().max(1) as f32
    }

    /// The second at which a lane first is loud.
    pub fn first_sound_at(&self, lane: usize) -> Option<f64> {
        let window = self.rate_hz as usize / 50;
        let index =
            self.lanes[lane].chunks_exact(window).position(|pcm| level_dbfs(pcm) > -40.0)?;
        Some(index as f64 / 50.0)
    }

    /// The level of a lane.
    pub fn level_dbfs(&self, lane: usize) -> f32 {
        level_dbfs(&self.lanes[lane])
    }

    /// Demands that each lane holds its own tone for about the given time and nothing of the
    /// other's.
    ///
    /// # Panics
    /// If not, with the figures.
    pub fn assert_tones(&self, customer_hz: f32, our_side_hz: f32, seconds: f64) {
        for (lane, own, other) in
            [(CUSTOMER, customer_hz, our_side_hz), (OUR_SIDE, our_side_hz, customer_hz)]
        {
            let heard = self.seconds_of_tone(lane, own);
            assert!(
                (heard - seconds).abs() < 0.9,
                "lane {lane}: {heard:.2} s of {own} Hz, expected {seconds:.2} s of {:.2} s",
                self.seconds()
            );
            let leaked = self.seconds_of_tone(lane, other);
            assert!(leaked < 0.11, "lane {lane}: {leaked} s of the other side's {other} Hz");
        }
    }
}
