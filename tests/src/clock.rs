//! A clock of the service's own, by libfaketime: set forward, hours pass in a blink.

use std::path::PathBuf;

use crate::cheling::Cheling;

/// The clock of a dealership under test.
pub struct Clock {
    file: PathBuf,
}

/// Which of its clocks are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moves {
    /// The time of day alone, as when somebody sets it.
    Wall,
    /// Time itself: what is due by then becomes due.
    All,
}

impl Clock {
    /// Gives a dealership that does not run yet a clock of its own.
    ///
    /// # Panics
    /// If libfaketime is not there.
    pub fn of(cheling: &mut Cheling, moves: Moves) -> Self {
        let folders = std::fs::read_dir("/usr/lib").unwrap().filter_map(Result::ok);
        let library = folders
            .map(|it| it.path().join("faketime/libfaketimeMT.so.1"))
            .find(|path| path.exists())
            .expect("libfaketime; scripts/bootstrap test installs it");
        let clock = Self { file: cheling.folder().join("clock") };
        clock.set("+0");
        cheling.environment.extend([
            ("LD_PRELOAD", library.to_str().unwrap().to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", clock.file.to_str().unwrap().to_owned()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]);
        if moves == Moves::Wall {
            cheling.environment.push(("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()));
        }
        clock
    }

    /// So far from the true time, such as `+3600s`; seen within a second.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn set(&self, by: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{by}\n")).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }
}
