//! Transports on loopback, and what comes out of them.
#![allow(dead_code)]

use cheling_capture::transport::{Arrived, TransportConfig, Transports};
use cheling_sip::{Flow, Transport};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

pub const DEADLINE: Duration = Duration::from_secs(10);
pub const OPTIONS: &[u8] = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: x\r\nContent-Length: 3\r\n\r\nabc";

pub fn localhost() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub struct Bench {
    pub transports: Transports,
    arrivals: mpsc::Receiver<Arrived>,
}

impl Bench {
    pub async fn start(change: impl FnOnce(&mut TransportConfig)) -> Self {
        let mut config = TransportConfig::at(localhost());
        change(&mut config);
        let (sender, arrivals) = mpsc::channel(64);
        Self {
            transports: Transports::bind(config, sender, &Handle::current()).await.unwrap(),
            arrivals,
        }
    }

    pub fn udp(&self) -> SocketAddr {
        self.transports.udp_addresses()[0]
    }

    pub fn tcp(&self) -> SocketAddr {
        self.transports.tcp_addresses()[0]
    }

    /// The first listener of a transport.
    pub fn at(&self, transport: Transport) -> SocketAddr {
        self.transports.addresses(transport)[0]
    }

    pub async fn next(&mut self) -> Arrived {
        let arrived = tokio::time::timeout(DEADLINE, self.arrivals.recv()).await.unwrap().unwrap();
        self.transports.note(&arrived);
        arrived
    }

    pub async fn message(&mut self) -> (Flow, Vec<u8>) {
        loop {
            match self.next().await {
                Arrived::Message { flow, bytes } => return (flow, bytes.to_vec()),
                Arrived::Opened { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

pub async fn read(stream: &mut (impl AsyncRead + Unpin), len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    bytes
}
