//! The mark that asks routers and switches for precedence: the DSCP of what we send (RFC 2474).
//!
//! A courtesy: without it calls still work, so a mark that the system refuses is no error.

use socket2::SockRef;
use std::net::SocketAddr;
use std::os::fd::AsFd;

/// A differentiated services code point, 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dscp(u8);

impl Dscp {
    /// No precedence.
    pub const BEST_EFFORT: Self = Self(0);
    /// Class selector 3: what most telephones mark SIP with.
    pub const CS3: Self = Self(24);
    /// Expedited forwarding (RFC 3246): voice (RFC 4594 §4.1).
    pub const EXPEDITED: Self = Self(46);
    /// The highest code point.
    pub const MAX: u8 = 63;

    /// The code point with this number; `None` above [`Dscp::MAX`].
    pub fn new(number: u8) -> Option<Self> {
        (number <= Self::MAX).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// Marks what a socket of `local`'s family sends from now on. A listener hands its mark on to
    /// the connections it accepts.
    pub(crate) fn mark(self, socket: &impl AsFd, local: SocketAddr) {
        let socket = SockRef::from(socket);
        // The two bits below are for congestion (RFC 3168).
        let byte = u32::from(self.0) << 2;
        let marked = if local.is_ipv6() {
            // A socket of both families marks IPv4 by an option of its own.
            let _only_where_it_has_both = socket.set_tos_v4(byte);
            socket.set_tclass_v6(byte)
        } else {
            socket.set_tos_v4(byte)
        };
        if let Err(err) = marked {
            tracing::debug!(%local, %err, dscp = self.0, "socket without DSCP mark");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};

    #[test]
    fn a_code_point_has_six_bits() {
        assert_eq!(Dscp::new(46), Some(Dscp::EXPEDITED));
        assert_eq!(Dscp::new(63).map(Dscp::number), Some(63));
        assert_eq!(Dscp::new(64), None);
    }

    #[test]
    fn sockets_of_either_family_and_of_both_are_marked() {
        for (local, is_both) in [("127.0.0.1:0", false), ("[::1]:0", false), ("[::]:0", true)] {
            let local: SocketAddr = local.parse().unwrap();
            for kind in [Type::DGRAM, Type::STREAM] {
                let socket = Socket::new(Domain::for_address(local), kind, None).unwrap();
                if local.is_ipv6() {
                    socket.set_only_v6(!is_both).unwrap();
                }
                Dscp::CS3.mark(&socket, local);
                if local.is_ipv6() {
                    assert_eq!(socket.tclass_v6().unwrap(), 24 << 2);
                }
                if !local.is_ipv6() || is_both {
                    assert_eq!(socket.tos_v4().unwrap(), 24 << 2);
                }
            }
        }
    }
}
