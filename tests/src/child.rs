//! A process that a test started, with its output in a file; killed when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::{Child, ChildStdin, Command};

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts it; standard output and error go to `folder/NAME.log`, appended.
    ///
    /// # Panics
    /// If it cannot be started, with the package that would bring it.
    pub fn start(name: &str, command: Command, folder: &Path) -> Self {
        Self::spawn(name, command, folder, std::process::Stdio::null())
    }

    fn spawn(name: &str, mut command: Command, folder: &Path, input: std::process::Stdio) -> Self {
        let output = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&output).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        command.stdin(input).kill_on_drop(true);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{name} does not start ({error}); scripts/bootstrap test installs it")
        });
        Self { name: name.to_owned(), child, output }
    }

    /// As [`Process::start`], with its standard input in our hand.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start_told(name: &str, command: Command, folder: &Path) -> (Self, ChildStdin) {
        let mut process = Self::spawn(name, command, folder, std::process::Stdio::piped());
        let input = process.child.stdin.take().expect("piped");
        (process, input)
    }

    /// Everything it has said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// Waits until it has said this.
    ///
    /// # Panics
    /// If it ends or [`crate::DEADLINE`] passes before.
    pub async fn says(&mut self, text: &str) {
        self.says_after(0, text).await;
    }

    /// Waits until it has said this after the first `from` bytes; answers where that ends.
    ///
    /// # Panics
    /// As [`Process::says`].
    pub async fn says_after(&mut self, from: usize, text: &str) -> usize {
        let end = tokio::time::Instant::now() + crate::DEADLINE;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let said = std::fs::read(&self.output).unwrap_or_default();
            let after = said.get(from..).unwrap_or_default();
            if let Some(at) = after.windows(text.len()).position(|part| part == text.as_bytes()) {
                return from + at + text.len();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended with {status} before it said {text:?}", self.name);
            }
            let is_late = tokio::time::Instant::now() > end;
            assert!(!is_late, "{} did not say {text:?} in time", self.name);
        }
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and waits until the kernel has cleaned up.
    pub async fn kill(&mut self) {
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
    }

    /// SIGINT, as Ctrl-C.
    pub async fn interrupt(&mut self) -> ExitStatus {
        self.signal("-INT").await;
        self.ends().await
    }

    /// SIGTERM, as systemd.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM").await;
        self.ends().await
    }

    async fn signal(&self, signal: &str) {
        let Some(pid) = self.child.id() else { return };
        let status = Command::new("kill").args([signal, &pid.to_string()]).status().await.unwrap();
        assert!(status.success());
    }

    /// Waits for its own end, however long that takes.
    pub async fn exits(&mut self) -> ExitStatus {
        self.child.wait().await.expect("a child of ours")
    }

    /// Waits for its own end.
    pub async fn ends(&mut self) -> ExitStatus {
        crate::within(&format!("the end of {}", self.name), self.child.wait()).await.unwrap()
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// CPU time so far, user and system, all threads.
    pub fn cpu_seconds(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        cpu_seconds_of(&stat)
    }

    /// Memory in use, KiB (VmRSS).
    pub fn memory_kib(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

/// The CPU time that a line of `/proc/PID/stat` tells, user and system.
pub fn cpu_seconds_of(stat: &str) -> Option<f64> {
    // The name may hold spaces; what follows its bracket are fields 3 and on (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.said();
            let tail: Vec<&str> = said.lines().rev().take(40).collect();
            eprintln!("---- last words of {} ----", self.name);
            for line in tail.into_iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}
