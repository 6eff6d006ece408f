//! Media by hand, beside `wire`: a voice that says a tone as RTP with A-law in it, every 20 ms, and
//! hears which tones come.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cheling_phone::{Law, Sound, render, tone_share};
use cheling_sip::sdp::{LocalMedia, Origin, Sdp, rewrite::basic_formats};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::within;

/// The RTP header of what comes.
const HEADER_BYTES: usize = 12;

/// The media of one end; it falls silent when dropped.
pub struct Voice {
    socket: Arc<UdpSocket>,
    frequency_hz: f32,
    speaking: Option<JoinHandle<()>>,
}

impl Voice {
    /// A voice at this address, silent still. 20 ms are to hold a whole number of periods.
    ///
    /// # Panics
    /// If there is no port.
    pub async fn at(ip: IpAddr, frequency_hz: f32) -> Self {
        let socket = Arc::new(UdpSocket::bind((ip, 0)).await.unwrap());
        Self { socket, frequency_hz, speaking: None }
    }

    /// How it is described in an offer, or an answer to an ordinary one.
    ///
    /// # Panics
    /// If the socket is closed.
    pub fn description(&self) -> String {
        let at = self.socket.local_addr().unwrap();
        let local = LocalMedia { address: at.ip(), rtp_port: at.port(), rtcp_port: at.port() };
        let sdp = Sdp::offer(&Origin::new(at.port().into(), at.ip()), local, &basic_formats());
        String::from_utf8_lossy(&sdp.to_bytes()).into_owned()
    }

    /// Speaks from now on to whoever sent this description.
    ///
    /// # Panics
    /// If it describes no audio.
    pub fn speaks_to(&mut self, description: &[u8]) {
        let audio = Sdp::parse(description).unwrap().audio().expect("audio");
        let to = audio.rtp.expect("an address");
        self.silence();
        let speaking = tokio::spawn(speak(Arc::clone(&self.socket), self.frequency_hz, to));
        self.speaking = Some(speaking);
    }

    /// Waits until this tone has been heard for so long.
    pub async fn hears(&self, frequency_hz: f32, length: Duration) {
        let what = format!("{frequency_hz} Hz for {length:?}");
        let mut left = length;
        within(&what, async {
            let mut packet = [0; 2048];
            while !left.is_zero() {
                let Ok(length) = self.socket.recv(&mut packet).await else { continue };
                let payload = packet.get(HEADER_BYTES..length).unwrap_or_default();
                let mut pcm = Vec::new();
                Law::A.decode(payload, &mut pcm);
                if tone_share(&pcm, frequency_hz) > 0.9 {
                    left = left.saturating_sub(Duration::from_millis(20));
                }
            }
        })
        .await;
    }

    fn silence(&mut self) {
        if let Some(speaking) = self.speaking.take() {
            speaking.abort();
        }
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.silence();
    }
}

async fn speak(socket: Arc<UdpSocket>, frequency_hz: f32, to: SocketAddr) {
    let (mut pcm, mut payload) = ([0; 160], Vec::new());
    render(&Sound::tone(frequency_hz), &mut pcm);
    Law::A.encode(&pcm, &mut payload);
    let ssrc = u32::from(socket.local_addr().map_or(0, |at| at.port())) << 8;
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    for sequence_number in 0_u16.. {
        ticks.tick().await;
        let timestamp = u32::from(sequence_number) * 160;
        let mut packet = vec![0x80, 8];
        packet.extend_from_slice(&sequence_number.to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&ssrc.to_be_bytes());
        packet.extend_from_slice(&payload);
        // Nobody need be there.
        let _ = socket.send_to(&packet, to).await;
    }
}
