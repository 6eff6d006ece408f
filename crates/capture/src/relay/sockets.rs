//! Opens the two sockets of one port pair: RTP on the even port, RTCP on the odd one after it.

use super::ports::{PortLease, PortPool};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::Instant;

/// Expedited Forwarding (RFC 3246) in the DSCP bits of the TOS byte.
const TOS_EXPEDITED_FORWARDING: u32 = 46 << 2;
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
}

impl SocketPair {
    /// Leases ports until a pair can be bound. What cannot be bound goes to rest.
    ///
    /// # Errors
    /// [`OpenError`]; nothing stays leased then.
    pub fn open(pool: &Mutex<PortPool>, bind: IpAddr) -> Result<Self, OpenError> {
        for _ in 0..TRIES {
            let now = Instant::now();
            let lease = lock(pool).lease(now).ok_or(OpenError::NoPorts)?;
            let bound = open(SocketAddr::new(bind, lease.rtp_port))
                .and_then(|rtp| Ok((rtp, open(SocketAddr::new(bind, lease.rtp_port + 1))?)));
            match bound {
                Ok((rtp, rtcp)) => return Ok(Self { lease, rtp, rtcp }),
                Err(err) => {
                    lock(pool).release(lease, lease.previous_ssrc, now);
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

/// Opens a bound, non-blocking socket marked for expedited forwarding.
fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // The mark is a courtesy to routers; without it the call still works.
    let marked = if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(TOS_EXPEDITED_FORWARDING)
    } else {
        socket.set_tos_v4(TOS_EXPEDITED_FORWARDING)
    };
    if let Err(err) = marked {
        tracing::debug!(%err, "media socket without DSCP mark");
    }
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
        match SocketPair::open(&pool, localhost) {
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
        assert!(matches!(SocketPair::open(&pool, elsewhere), Err(OpenError::System(_))));
    }
}
