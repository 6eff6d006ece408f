//! A DNS server that knows what a test tells it, with a TTL of one second.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const A: u16 = 1;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

type Records = HashMap<(String, u16), Vec<Vec<u8>>>;

/// The server, until dropped.
pub struct Dns {
    address: SocketAddr,
    records: Arc<Mutex<Records>>,
    task: JoinHandle<()>,
}

impl Dns {
    /// Opens it on a free port of this machine, knowing nothing.
    ///
    /// # Panics
    /// If no socket can be had.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let records = Arc::new(Mutex::new(Records::new()));
        let known = records.clone();
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let reply = answer(&lock(&known), &buffer[..len]);
                if let Some(reply) = reply {
                    let _ = socket.send_to(&reply, from).await;
                }
            }
        });
        Self { address, records, task }
    }

    /// Where it answers, over UDP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of a name.
    pub fn host(&self, name: &str, ip: Ipv4Addr) {
        self.add(name, A, ip.octets().to_vec());
    }

    /// A server of a service (RFC 2782).
    pub fn service(&self, name: &str, (priority, weight): (u16, u16), port: u16, target: &str) {
        let numbers = [priority, weight, port].map(u16::to_be_bytes).concat();
        self.add(name, SRV, [numbers, domain(target)].concat());
    }

    /// Which service to ask for (RFC 3403): `SIP+D2U` at `replacement`.
    pub fn authority(&self, name: &str, order: u16, service: &str, replacement: &str) {
        let numbers = [order, 0].map(u16::to_be_bytes).concat();
        let texts = [text("s"), text(service), text("")].concat();
        self.add(name, NAPTR, [numbers, texts, domain(replacement)].concat());
    }

    /// Forgets everything.
    pub fn clear(&self) {
        lock(&self.records).clear();
    }

    fn add(&self, name: &str, kind: u16, data: Vec<u8>) {
        lock(&self.records).entry((name.to_owned(), kind)).or_default().push(data);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(records: &Mutex<Records>) -> MutexGuard<'_, Records> {
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reply to a query of one question (RFC 1035 §4); `None` if it is none.
fn answer(records: &Records, query: &[u8]) -> Option<Vec<u8>> {
    let (mut name, mut at) = (String::new(), 12);
    while *query.get(at)? != 0 {
        let label = query.get(at + 1..at + 1 + usize::from(query[at]))?;
        name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
        name.push('.');
        at += label.len() + 1;
    }
    let kind = u16::from_be_bytes([*query.get(at + 1)?, *query.get(at + 2)?]);
    let question = query.get(12..at + 5)?;
    let key = (name.trim_end_matches('.').to_owned(), kind);
    let found = records.get(&key).map(Vec::as_slice).unwrap_or_default();
    let mut reply = query[..2].to_vec();
    reply.extend([0x85, 0x80, 0, 1, 0, u8::try_from(found.len()).ok()?, 0, 0, 0, 0]);
    reply.extend(question);
    for data in found {
        reply.extend([0xc0, 12]);
        reply.extend(kind.to_be_bytes());
        reply.extend([0, 1, 0, 0, 0, 1]);
        reply.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        reply.extend(data);
    }
    Some(reply)
}

fn text(text: &str) -> Vec<u8> {
    // Nobody here says more than 255 characters.
    [&[text.len() as u8], text.as_bytes()].concat()
}

fn domain(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> = labels.flat_map(text).collect();
    bytes.push(0);
    bytes
}
