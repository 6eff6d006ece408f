//! A disk under the service that hangs when it is told to, or takes its time for every write.
//!
//! A library of our own (`hanging_disk.c`) is put between the binary and its files. Only what lies
//! below one folder is concerned; network, clock and log go on.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::cheling::Cheling;
use crate::eventually;

/// The disk of one folder of the service. It works again once this is dropped.
pub struct HangingDisk {
    gate: PathBuf,
}

impl HangingDisk {
    /// Starts the service anew with such a disk below `data/BELOW`, each write of which takes
    /// `a_write`.
    ///
    /// # Panics
    /// If the library cannot be built: `scripts/bootstrap` installs the C compiler.
    pub async fn under(cheling: &mut Cheling, below: &str, a_write: Duration) -> Self {
        cheling.stop().await;
        let folder = cheling.folder().canonicalize().unwrap();
        let (source, library) = (folder.join("hanging_disk.c"), folder.join("hanging_disk.so"));
        fs::write(&source, include_str!("hanging_disk.c")).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let built = cc.output().expect("cc");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let gate = folder.join("gate");
        for (name, value) in [
            ("LD_PRELOAD", library.display().to_string()),
            ("HANGING_DISK", folder.join("data").join(below).display().to_string()),
            ("HANGING_DISK_GATE", gate.display().to_string()),
            ("HANGING_DISK_MS", a_write.as_millis().to_string()),
        ] {
            cheling.environment.push((name, value));
        }
        cheling.run().await;
        Self { gate }
    }

    /// From now on nothing comes back from the disk.
    ///
    /// # Panics
    /// If the test's own folder cannot be written.
    pub fn hang(&self) {
        fs::write(&self.gate, "").unwrap();
    }

    /// Waits until somebody waits for a file whose path has `part` in it.
    pub async fn is_waited_for(&self, part: &str) {
        let met = self.gate.with_extension("met");
        eventually(part, || async {
            let met = fs::read_to_string(&met).unwrap_or_default();
            met.lines().any(|path| path.contains(part)).then_some(())
        })
        .await;
    }

    /// What waits goes on.
    pub fn heal(&self) {
        let _not_hanging = fs::remove_file(&self.gate);
    }
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        self.heal();
    }
}
