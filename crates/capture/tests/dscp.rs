//! The mark of what we send, as its receiver's kernel sees it.
#![allow(clippy::unwrap_used)]

mod relay_bench;

use cheling_capture::Dscp;
use cheling_capture::relay::RelayConfig;
use cheling_capture::transport::{TransportConfig, Transports};
use cheling_model::Lane;
use cheling_sip::Flow;
use relay_bench::{Bench, DEADLINE, Phone, V4, call, ports};
use socket2::{MaybeUninitSlice, MsgHdrMut, SockRef};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Asks the kernel to tell the mark of what a socket receives.
fn tell_marks(socket: &UdpSocket) {
    let told = SockRef::from(socket);
    match socket.local_addr().unwrap() {
        SocketAddr::V4(_) => told.set_recv_tos_v4(true).unwrap(),
        SocketAddr::V6(_) => told.set_recv_tclass_v6(true).unwrap(),
    }
}

/// The DSCP of the next datagram.
fn mark(socket: &UdpSocket) -> u8 {
    let mut bytes = [MaybeUninit::uninit(); 2048];
    let mut control = [MaybeUninit::new(0_u8); 64];
    let mut buffers = [MaybeUninitSlice::new(&mut bytes)];
    let mut message = MsgHdrMut::new().with_buffers(&mut buffers).with_control(&mut control);
    SockRef::from(socket).recvmsg(&mut message, 0).unwrap();
    let len = message.control_len();
    // SAFETY: every byte was set to 0 above, or by the kernel.
    let control = control[..len].iter().map(|byte| unsafe { byte.assume_init() });
    let control: Vec<u8> = control.collect();
    // One `cmsghdr`: length (8 bytes), level and type (4 each), then IPv4's byte or IPv6's int,
    // whose first byte on this side of a wire is its lowest.
    assert!(control.len() > 16, "the kernel tells no mark");
    control[16] >> 2
}

#[test]
fn media_is_marked_for_both_families_as_configured() {
    for address in [V4, V6] {
        for dscp in [Dscp::EXPEDITED, Dscp::new(10).unwrap()] {
            let mut config = RelayConfig::at(address);
            (config.ports, config.threads, config.dscp) = (ports(10), 1, dscp);
            let mut bench = Bench::start(&config);
            let id = call(1);
            let local = bench.open(id);
            let mut phones = [Phone::at(address, 11), Phone::at(address, 22)];
            for (phone, lane) in phones.iter().zip(Lane::BOTH) {
                tell_marks(&phone.rtp);
                bench.point(id, lane, phone.address());
            }
            bench.settle();
            // Before its source is settled and after: the socket is then connected.
            for _ in 0..3 {
                for (from, to) in [(0, 1), (1, 0)] {
                    phones[from].say(local[from]);
                    assert_eq!(mark(&phones[to].rtp), dscp.number());
                }
            }
        }
    }
}

#[tokio::test]
async fn sip_is_marked_for_both_families() {
    for address in [V4, V6] {
        let (arrivals, _arrivals) = tokio::sync::mpsc::channel(16);
        let config = TransportConfig::at(SocketAddr::new(address, 0));
        assert_eq!(config.dscp, Dscp::CS3);
        let mut transports =
            Transports::bind(config, arrivals, &tokio::runtime::Handle::current()).await.unwrap();
        let local = transports.udp_addresses()[0];
        let phone = UdpSocket::bind((address, 0)).unwrap();
        phone.set_read_timeout(Some(DEADLINE)).unwrap();
        tell_marks(&phone);
        let to = phone.local_addr().unwrap();
        transports.send(&Flow::udp(local, to), b"OPTIONS".to_vec()).unwrap();
        assert_eq!(mark(&phone), Dscp::CS3.number());
        transports.close().await;
    }
}
