//! Opens the two sockets of one port pair: RTP on the even port, RTCP on the odd one after it.

use super::ports::{PortLease, PortPool};
use crate::dscp::Dscp;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::Instant;

/// Pairs tried before a call is refused; a pair fails when another program holds its port.
const TRIES: usize = 64;

/// Why no sockets could be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Every pair is in use or resting.
    #[error("no free RTP port pair")]
    NoPorts,
    /// Other programs hold the ports that were tried.
    #[error("{TRIES} RTP port pairs are held by other programs")]
    PortsTaken,
    /// The system refuses: too many open files, or the address is not ours.
    #[error("cannot open a media socket: {0}")]
    System(#[from] io::Error),
}

/// An open port pair.
#[derive(Debug)]
pub struct SocketPair {
    /// Its lease, to be given back to the pool.
    pub lease: PortLease,
    /// The socket on the even port.
    pub rtp: UdpSocket,
    /// The socket on the odd port.
    pub rtcp: UdpSocket,
    /// They carry IPv4 too, by mapped addresses.
    pub is_dual: bool,
}

impl SocketPair {
    /// Leases ports until a pair can be bound. What cannot be bound goes to rest.
    ///
    /// # Errors
    /// [`OpenError`]; nothing stays leased then.
    pub fn open(pool: &Mutex<PortPool>, bind: IpAddr, dscp: Dscp) -> Result<Self, OpenError> {
        for _ in 0..TRIES {
            let now = Instant::now();
            let lease = lock(pool).lease(now).ok_or(OpenError::NoPorts)?;
            let bound = open(SocketAddr::new(bind, lease.rtp_port), dscp)
                .and_then(|rtp| Ok((rtp, open(SocketAddr::new(bind, lease.rtp_port + 1), dscp)?)));
            match bound {
                Ok((rtp, rtcp)) => {
                    let is_dual = bind.is_ipv6() && bind.is_unspecified();
                    return Ok(Self { lease, rtp, rtcp, is_dual });
                }
                Err(err) => {
                    lock(pool).release(lease, lease.strays, now);
                    let is_taken = matches!(
                        Errno::from_io_error(&err),
                        Some(Errno::ADDRINUSE | Errno::ACCESS)
                    );
                    if !is_taken {
                        return Err(err.into());
                    }
                }
            }
        }
        Err(OpenError::PortsTaken)
    }
}

/// Opens a bound, non-blocking, marked socket. One at the unspecified IPv6 address serves IPv4 too.
fn open(address: SocketAddr, dscp: Dscp) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    dscp.mark(&socket, address);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Locks the pool. A panic elsewhere cannot leave it half changed: each change is one step.
pub fn lock(pool: &Mutex<PortPool>) -> std::sync::MutexGuard<'_, PortPool> {
    pool.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    #[test]
    fn a_port_held_by_another_program_is_passed_over() {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        // Find four free ports in a row by letting the system choose, then hold the second pair's RTCP.
        let (base, held) = (0..200)
            .find_map(|_| {
                let probe = UdpSocket::bind((localhost, 0)).ok()?;
                let base = probe.local_addr().ok()?.port() & !1;
                let held = UdpSocket::bind((localhost, base.checked_add(3)?)).ok()?;
                drop(probe);
                Some((base, held))
            })
            .unwrap();
        let pool = Mutex::new(PortPool::new(base + 2..=base + 5, Duration::from_secs(30)));
        match SocketPair::open(&pool, localhost, Dscp::EXPEDITED) {
            Ok(pair) => assert_eq!(pair.lease.rtp_port, base + 4),
            // Somebody else took the last pair meanwhile; the held one was still passed over.
            Err(err) => assert!(matches!(err, OpenError::NoPorts), "{err}"),
        }
        drop(held);
    }

    #[test]
    fn an_address_that_is_not_ours_is_an_error_not_a_search() {
        let pool = Mutex::new(PortPool::new(40_000..=40_009, Duration::from_secs(30)));
        let elsewhere = "192.0.2.1".parse().unwrap();
        let opened = SocketPair::open(&pool, elsewhere, Dscp::EXPEDITED);
        assert!(matches!(opened, Err(OpenError::System(_))));
    }
}
