//! Which call a passing media packet belongs to.
//!
//! SDP says where each side wants its media, so a packet to that address comes from the other
//! side; where a device sends from the port it listens on, the source tells as well. Media may be
//! seen before the SDP that explains it: such packets wait a little.

use cheling_media::rtp::DatagramKind;
use cheling_model::tap::PacketKind;
use cheling_model::{CallId, Lane, Timestamp};
use foldhash::fast::RandomState;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Packets that wait for their SDP: some seconds of some dozen calls.
const MAX_HELD_PACKETS: usize = 8192;
/// How long one waits. Longer than any 200 takes that follows its early media.
const HOLD: Duration = Duration::from_secs(5);

/// Ways remembered; more are judged packet by packet.
const MAX_WAYS: usize = 65_536;

/// A packet with its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributed<'a> {
    /// Whose it is.
    pub call_id: CallId,
    /// Who sent it.
    pub lane: Lane,
    /// RTP or RTCP.
    pub kind: PacketKind,
    /// When it was captured.
    pub at: Timestamp,
    /// The datagram.
    pub bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Party {
    call_id: CallId,
    lane: Lane,
}

struct Held {
    at: Timestamp,
    from: SocketAddr,
    to: SocketAddr,
    kind: PacketKind,
    bytes: Vec<u8>,
}

/// The media addresses of all calls, and the packets that wait for theirs.
#[derive(Default)]
pub struct MediaTable {
    /// Who listens at an address, for RTP or RTCP.
    listeners: HashMap<SocketAddr, Party, RandomState>,
    /// Who sends along a way that was seen before, [from, to].
    ways: HashMap<(SocketAddr, SocketAddr), Party, RandomState>,
    held: VecDeque<Held>,
    unclaimed_packets: u64,
}

impl MediaTable {
    /// One side of a call announced where it wants its RTP; RTCP may go to the next port or to
    /// the same. Gives the packets that waited for this to `each`.
    pub fn expect(
        &mut self,
        call_id: CallId,
        lane: Lane,
        rtp: SocketAddr,
        mut each: impl FnMut(Attributed<'_>),
    ) {
        let party = Party { call_id, lane };
        // An address announced anew belongs to the newer call.
        match self.listeners.insert(rtp, party) {
            Some(same) if same == party => return,
            Some(_) => self.ways.retain(|(from, to), _| *from != rtp && *to != rtp),
            None => {}
        }
        if let Some(port) = rtp.port().checked_add(1) {
            // Two phones on one host may have adjoining RTP ports; theirs is then no RTCP port.
            self.listeners.entry(SocketAddr::new(rtp.ip(), port)).or_insert(party);
        }
        for held in std::mem::take(&mut self.held) {
            let Some(Party { call_id, lane }) = self.party(held.from, held.to) else {
                self.held.push_back(held);
                continue;
            };
            each(Attributed { call_id, lane, kind: held.kind, at: held.at, bytes: &held.bytes });
        }
    }

    /// One side of a call may want media here, too: an address that is somebody's already stays so.
    pub fn also(&mut self, call_id: CallId, lane: Lane, address: SocketAddr) {
        self.listeners.entry(address).or_insert(Party { call_id, lane });
    }

    /// The call is over: its addresses may serve another.
    pub fn forget(&mut self, call_id: CallId) {
        self.listeners.retain(|_, party| party.call_id != call_id);
        self.ways.retain(|_, party| party.call_id != call_id);
    }

    /// Finds the call of a datagram; holds it back for a while if it looks like media of a call
    /// that is not known yet.
    pub fn datagram<'a>(
        &mut self,
        at: Timestamp,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &'a [u8],
    ) -> Option<Attributed<'a>> {
        let kind = match DatagramKind::of(bytes) {
            DatagramKind::Rtp if bytes.len() >= 12 => PacketKind::Rtp,
            DatagramKind::Rtcp if bytes.len() >= 8 => PacketKind::Rtcp,
            _ => return None,
        };
        if let Some(Party { call_id, lane }) = self.party(from, to) {
            return Some(Attributed { call_id, lane, kind, at, bytes });
        }
        while let Some(oldest) = self.held.front()
            && (at.since(oldest.at) > HOLD || self.held.len() >= MAX_HELD_PACKETS)
        {
            self.held.pop_front();
            self.unclaimed_packets += 1;
        }
        self.held.push_back(Held { at, from, to, kind, bytes: bytes.to_vec() });
        None
    }

    /// Packets that looked like media and belonged to no call, those still waiting included.
    pub fn unclaimed_packets(&self) -> u64 {
        self.unclaimed_packets + self.held.len() as u64
    }

    /// Who sends along a way. Remembered, since most packets go along a known one.
    fn party(&mut self, from: SocketAddr, to: SocketAddr) -> Option<Party> {
        if let Some(party) = self.ways.get(&(from, to)) {
            return Some(*party);
        }
        let mut party = self.judge(from, to)?;
        // Behind some NATs both directions seem to be one side's. Two hosts that send to each
        // other are two sides.
        let is_taken = self.ways.iter().any(|((other_from, other_to), other)| {
            *other == party
                && from.ip() != to.ip()
                && other_from.ip() == to.ip()
                && other_to.ip() == from.ip()
        });
        if is_taken {
            party.lane = party.lane.other();
        }
        if self.ways.len() < MAX_WAYS {
            self.ways.insert((from, to), party);
        }
        Some(party)
    }

    /// Who sent a packet: the other side of whom it goes to, else whoever listens where it comes
    /// from.
    fn judge(&self, from: SocketAddr, to: SocketAddr) -> Option<Party> {
        let to = self.listeners.get(&to).copied();
        let from = self.listeners.get(&from).copied();
        match (from, to) {
            // Both known, and both of one call: the source is the better witness where one side
            // announced both addresses (media through one host).
            (Some(from), Some(to)) if from.call_id == to.call_id => Some(from),
            (_, Some(to)) => Some(Party { lane: to.lane.other(), ..to }),
            (from, None) => from,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u8) -> CallId {
        CallId::mint(Timestamp::from_micros(1), [number; 10])
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn rtp(number: u8) -> [u8; 12] {
        [0x80, 8, 0, number, 0, 0, 0, 0, 0, 0, 0, 1]
    }

    const CUSTOMER: &str = "192.0.2.1:4000";
    const AGENT: &str = "192.0.2.2:5000";

    #[test]
    fn a_guess_gives_way_to_what_is_announced() {
        let mut table = table();
        table.also(call(2), Lane::Customer, address(AGENT));
        table.also(call(2), Lane::Customer, address("203.0.113.9:4000"));
        assert_eq!(lane(&mut table, "198.51.100.1:1", AGENT, &rtp(1)), Some(Lane::Customer));
        let to_nat = ("198.51.100.1:1", "203.0.113.9:4000");
        assert_eq!(lane(&mut table, to_nat.0, to_nat.1, &rtp(1)), Some(Lane::Agent));
        table.expect(call(1), Lane::Agent, address(to_nat.1), |_| {});
        assert_eq!(lane(&mut table, to_nat.0, to_nat.1, &rtp(1)), Some(Lane::Customer));
    }

    fn table() -> MediaTable {
        let mut table = MediaTable::default();
        table.expect(call(1), Lane::Customer, address(CUSTOMER), |_| panic!("nothing waited"));
        table.expect(call(1), Lane::Agent, address(AGENT), |_| panic!("nothing waited"));
        table
    }

    fn lane(table: &mut MediaTable, from: &str, to: &str, bytes: &[u8]) -> Option<Lane> {
        let at = Timestamp::from_micros(0);
        table.datagram(at, address(from), address(to), bytes).map(|packet| packet.lane)
    }

    #[test]
    fn the_sender_is_known_by_either_address() {
        let rtcp = [0x80, 200, 0, 1, 0, 0, 0, 1];
        for (from, to, bytes, want) in [
            (CUSTOMER, AGENT, &rtp(1)[..], Some(Lane::Customer)),
            (AGENT, CUSTOMER, &rtp(1), Some(Lane::Agent)),
            ("203.0.113.9:61000", AGENT, &rtp(1), Some(Lane::Customer)), // behind NAT
            (CUSTOMER, "203.0.113.9:9", &rtp(1), Some(Lane::Customer)),  // to the NAT's outside
            ("192.0.2.1:4001", "192.0.2.2:5001", &rtcp, Some(Lane::Customer)),
            ("192.0.2.2:5000", "192.0.2.1:4000", &rtcp, Some(Lane::Agent)), // multiplexed
            ("203.0.113.9:1", "203.0.113.9:2", &rtp(1), None),
            (CUSTOMER, AGENT, b"hello", None),
        ] {
            assert_eq!(lane(&mut table(), from, to, bytes), want, "{from} {to}");
        }
    }

    #[test]
    fn packets_before_their_sdp_wait_and_come_in_order() {
        let mut table = MediaTable::default();
        for number in 0..5 {
            assert_eq!(lane(&mut table, CUSTOMER, AGENT, &rtp(number)), None);
            assert_eq!(lane(&mut table, "203.0.113.9:1", "203.0.113.9:2", &rtp(number)), None);
        }
        let mut got = Vec::new();
        table.expect(call(1), Lane::Agent, address(AGENT), |packet| {
            assert_eq!((packet.call_id, packet.lane), (call(1), Lane::Customer));
            got.push(packet.bytes[3]);
        });
        assert_eq!(got, [0, 1, 2, 3, 4]);
        assert_eq!(table.unclaimed_packets(), 5);
        table.expect(call(1), Lane::Customer, address(CUSTOMER), |_| panic!("taken already"));
    }

    #[test]
    fn two_hosts_that_send_to_each_other_are_two_sides_whatever_their_descriptions_say() {
        // Both phones behind one address; on the inside one of them is seen with its own.
        let mut table = MediaTable::default();
        table.expect(call(1), Lane::Agent, address("192.0.2.110:4376"), |_| {});
        table.expect(call(1), Lane::Customer, address("192.0.2.110:4374"), |_| {});
        let (inside, outside) = ("192.0.2.172:4376", "192.0.2.110:4376");
        let one = lane(&mut table, inside, outside, &rtp(1)).unwrap();
        let other = lane(&mut table, "192.0.2.110:4374", inside, &rtp(1)).unwrap();
        assert_eq!(one, other.other());
        assert_eq!(lane(&mut table, inside, outside, &rtp(2)), Some(one));
    }

    #[test]
    fn an_address_serves_one_call_after_another() {
        let mut table = table();
        table.expect(call(2), Lane::Agent, address(AGENT), |_| {});
        let at = Timestamp::from_micros(0);
        let packet = rtp(1);
        let found = table.datagram(at, address("192.0.2.3:1"), address(AGENT), &packet).unwrap();
        assert_eq!(found.call_id, call(2));
        table.forget(call(1));
        assert!(table.datagram(at, address("192.0.2.3:1"), address(AGENT), &packet).is_some());
        table.forget(call(2));
        assert!(table.datagram(at, address("192.0.2.3:1"), address(AGENT), &packet).is_none());
    }

    #[test]
    fn what_nobody_explains_is_bounded_and_counted() {
        let mut table = MediaTable::default();
        for index in 0..20_000 {
            let at = Timestamp::from_micros(index * 10);
            let packet = rtp(0);
            table.datagram(at, address(CUSTOMER), address(AGENT), &packet);
        }
        assert!(table.held.len() <= MAX_HELD_PACKETS);
        table.datagram(
            Timestamp::from_micros(60_000_000),
            address(CUSTOMER),
            address(AGENT),
            &rtp(0),
        );
        assert_eq!(table.held.len(), 1);
        assert_eq!(table.unclaimed_packets(), 20_001);
    }
}
