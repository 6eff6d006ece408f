//! rtpengine under the same load: started by us, told of each call by its ng protocol (bencode over
//! UDP), forwarding in user space and writing a pcap file of each call.

use crate::speakers::{LOCALHOST, Probe, Speakers, cpu_seconds};
use crate::{Seen, resident_kib};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

struct Rtpengine {
    child: Child,
    control: UdpSocket,
    cookie: u32,
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// # Errors
/// Why it cannot be measured here.
pub fn installed() -> Result<(), String> {
    let found = Command::new("rtpengine").arg("--version").output();
    found.map(drop).map_err(|err| format!("{err}; apt-get install rtpengine-daemon"))
}

pub fn run(calls: usize, seconds: u32) -> Result<Seen, String> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut engine = Rtpengine::start(folder.path())?;
    let process = engine.child.id().to_string();
    let memory_before = resident_kib(&process);
    let mut speakers = Speakers::new(2 * calls + 2);
    for number in 0..=calls {
        let (a, b) = (speakers.address(2 * number), speakers.address(2 * number + 1));
        // The offer's answer says where B sends, the answer's where A does.
        let to_b = engine.describe("offer", number, a)?;
        let to_a = engine.describe("answer", number, b)?;
        speakers.aim(2 * number, to_a);
        speakers.aim(2 * number + 1, to_b);
    }
    let probe = Probe::take(&mut speakers);
    speakers.speak(25);
    let memory = resident_kib(&process).saturating_sub(memory_before);
    let (cpu, writes) = (cpu_seconds(&process, |_| true), write_calls(&process));
    speakers.heard = 0;
    let (spoken, times) = probe.during(|| speakers.speak(50 * seconds));
    Ok(Seen {
        cpu_seconds: cpu_seconds(&process, |_| true) - cpu,
        packets: speakers.heard,
        lost: spoken.saturating_sub(speakers.heard),
        times,
        kib_per_call: memory as f64 / calls as f64,
        writes_per_second: (write_calls(&process) - writes) as f64 / f64::from(seconds),
        not_recorded: 0,
    })
}

impl Rtpengine {
    fn start(folder: &std::path::Path) -> Result<Self, String> {
        let port = UdpSocket::bind((LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let spool = folder.canonicalize().unwrap();
        let child = Command::new("rtpengine")
            .args(["--foreground", "--table=-1", "--log-stderr", "--log-level=3"])
            .args(["--interface=127.0.0.1", "--port-min=40000", "--port-max=49999"])
            .arg(format!("--listen-ng=127.0.0.1:{port}"))
            .arg(format!("--recording-dir={}", spool.display()))
            .args(["--recording-method=pcap", "--recording-format=raw"])
            .arg(format!("--pidfile={}", spool.join("pid").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|err| err.to_string())?;
        let control = UdpSocket::bind((LOCALHOST, 0)).unwrap();
        control.connect((LOCALHOST, port)).unwrap();
        control.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut engine = Self { child, control, cookie: 0 };
        let start = Instant::now();
        while engine.ask("d7:command4:pinge").is_none() {
            if start.elapsed() > Duration::from_secs(20) {
                return Err("it does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(engine)
    }

    /// Tells of one side of a call; where the other side is to send comes back.
    fn describe(
        &mut self,
        command: &str,
        call: usize,
        at: SocketAddr,
    ) -> Result<SocketAddr, String> {
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio {} RTP/AVP 8\r\n",
            at.port()
        );
        let mut text = String::from("d");
        for (key, value) in [
            ("call-id", format!("bench-{call}")),
            ("command", command.to_owned()),
            ("from-tag", "a".to_owned()),
            ("record call", "yes".to_owned()),
            ("sdp", sdp),
            ("to-tag", "b".to_owned()),
        ] {
            if key == "to-tag" && command == "offer" {
                continue;
            }
            text.push_str(&format!("{}:{key}{}:{value}", key.len(), value.len()));
        }
        text.push('e');
        let answer = self.ask(&text).ok_or("it stopped answering")?;
        let port = answer.split("m=audio ").nth(1).and_then(|rest| rest.split(' ').next());
        let port = port.and_then(|port| port.parse().ok());
        Ok(SocketAddr::new(LOCALHOST, port.ok_or_else(|| format!("no port in {answer}"))?))
    }

    fn ask(&mut self, question: &str) -> Option<String> {
        self.cookie += 1;
        let (cookie, mut buffer) = (self.cookie.to_string(), [0; 8192]);
        self.control.send(format!("{cookie} {question}").as_bytes()).ok()?;
        loop {
            let len = self.control.recv(&mut buffer).ok()?;
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            // What answers an earlier question came too late.
            if text.starts_with(&format!("{cookie} ")) {
                return Some(text);
            }
        }
    }
}

fn write_calls(process: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("syscw: "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}
