//! Where one side's packets really come from: symmetric RTP, learned and then locked.
//!
//! The SDP may name an address that nobody outside a NAT can reach, so we answer to where packets
//! come from; and since anybody may send to our port, we stop learning as soon as one source has
//! shown that it keeps sending. Pure: addresses and times in, a judgement out.

use super::strays::Strays;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Packets after which a source that is not the SDP's is locked: 100 ms of speech.
const PACKETS_TO_LOCK: u8 = 5;
/// After this much silence another source may take a candidate's place.
const CANDIDATE_SILENCE: Duration = Duration::from_millis(200);

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It is our party's: relay it.
    Accept,
    /// Likewise, and from now on only this source is.
    AcceptAndLock,
    /// It is from elsewhere: drop and count it.
    Stranger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has come since the SDP.
    Waiting,
    /// Somebody sends; whether they go on is to be seen.
    Candidate { from: SocketAddr, packets: u8, last: Instant },
    /// Only this source counts.
    Locked { from: SocketAddr },
}

/// The source of one stream of datagrams (the RTP or the RTCP of one side).
#[derive(Clone, Copy, Debug)]
pub struct Source {
    sdp: Option<SocketAddr>,
    is_muted: bool,
    /// Where to send to: the SDP's address until another source is locked.
    send_to: Option<SocketAddr>,
    state: State,
    strays: Strays,
    /// Nothing is learned from packets: whoever checks them says where they come from.
    is_found_by_checks: bool,
}

impl Source {
    /// A source of which nothing is known. Packets of `strays` belong to an earlier call on the
    /// same port, unless they come from the very address in the SDP.
    pub fn new(strays: Strays) -> Self {
        Self {
            sdp: None,
            is_muted: false,
            send_to: None,
            state: State::Waiting,
            strays,
            is_found_by_checks: false,
        }
    }

    /// From now on the source is found by checks ([`Source::find`]), or learned again.
    pub fn find_by_checks(&mut self, is_found_by_checks: bool) {
        if self.is_found_by_checks != is_found_by_checks {
            self.is_found_by_checks = is_found_by_checks;
            self.state = State::Waiting;
            self.send_to = self.sdp.filter(|_| !is_found_by_checks);
        }
    }

    /// A check has shown that this is the source, and only this.
    pub fn find(&mut self, from: SocketAddr) {
        self.state = State::Locked { from };
        self.send_to = Some(from);
    }

    /// Takes the address of a new SDP; `None` mutes: nothing is sent there until the next.
    ///
    /// An address that differs starts learning afresh. The same address again keeps the source
    /// we know as first candidate, so that a re-INVITE does not cost a word of speech.
    pub fn point(&mut self, sdp: Option<SocketAddr>, now: Instant) {
        let Some(sdp) = sdp else {
            self.is_muted = true;
            return;
        };
        self.is_muted = false;
        if self.is_found_by_checks {
            self.sdp = Some(sdp);
            return;
        }
        if self.sdp == Some(sdp) {
            if let State::Locked { from } = self.state
                && from != sdp
            {
                self.state = State::Candidate { from, packets: 0, last: now };
            }
            return;
        }
        // Packets may come before the SDP that announces them: that candidate stays one.
        if self.sdp.is_some() || matches!(self.state, State::Locked { .. }) {
            self.state = State::Waiting;
        }
        self.sdp = Some(sdp);
        self.send_to = Some(sdp);
    }

    /// Where to send to: the locked source, before that the SDP's address; `None` while muted.
    /// One packet from anybody must not lead a party's voice away, so a candidate gets nothing.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.send_to.filter(|_| !self.is_muted)
    }

    /// The source, once it is locked.
    pub fn locked(&self) -> Option<SocketAddr> {
        match self.state {
            State::Locked { from } => Some(from),
            State::Waiting | State::Candidate { .. } => None,
        }
    }

    /// Whether the source is locked to the very address of the SDP, so that no other can follow.
    pub fn is_settled(&self) -> bool {
        self.sdp.is_some() && self.locked() == self.sdp && !self.is_found_by_checks
    }

    /// Judges a packet by where it came from.
    pub fn judge(&mut self, from: SocketAddr, ssrc: Option<u32>, now: Instant) -> Judgement {
        match self.state {
            State::Locked { from: locked } if locked == from => Judgement::Accept,
            _ if self.is_found_by_checks => Judgement::Stranger,
            _ if self.sdp == Some(from) => self.lock(from),
            State::Locked { .. } => Judgement::Stranger,
            _ if ssrc.is_some_and(|ssrc| self.strays.contains(from.ip(), ssrc)) => {
                Judgement::Stranger
            }
            State::Candidate { from: candidate, packets, .. } if candidate == from => {
                // Without an SDP there is nothing yet to prefer: the candidate stays one.
                if packets + 1 >= PACKETS_TO_LOCK && self.sdp.is_some() {
                    return self.lock(from);
                }
                let packets = (packets + 1).min(PACKETS_TO_LOCK - 1);
                self.state = State::Candidate { from, packets, last: now };
                Judgement::Accept
            }
            State::Candidate { last, .. }
                if now.saturating_duration_since(last) < CANDIDATE_SILENCE =>
            {
                Judgement::Stranger
            }
            State::Waiting | State::Candidate { .. } => {
                self.state = State::Candidate { from, packets: 1, last: now };
                Judgement::Accept
            }
        }
    }

    fn lock(&mut self, from: SocketAddr) -> Judgement {
        self.state = State::Locked { from };
        self.send_to = Some(from);
        Judgement::AcceptAndLock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn pointed(sdp: &str) -> (Source, Instant) {
        let mut source = Source::new(Strays::default());
        let now = Instant::now();
        source.point(Some(address(sdp)), now);
        (source, now)
    }

    #[test]
    fn sends_to_the_sdp_until_another_source_keeps_sending_then_there() {
        let (mut source, now) = pointed("192.168.1.20:4000");
        assert_eq!(source.destination(), Some(address("192.168.1.20:4000")));
        let natted = address("203.0.113.9:61000");
        for _ in 1..PACKETS_TO_LOCK {
            assert_eq!(source.judge(natted, Some(1), now), Judgement::Accept);
            assert_eq!(source.destination(), Some(address("192.168.1.20:4000")));
        }
        assert_eq!(source.judge(natted, Some(1), now), Judgement::AcceptAndLock);
        assert_eq!(source.destination(), Some(natted));
    }

    #[test]
    fn the_first_source_that_keeps_sending_is_locked() {
        let (mut source, now) = pointed("192.168.1.20:4000");
        let natted = address("203.0.113.9:61000");
        let stranger = address("198.51.100.66:5000");
        for packet in 1..PACKETS_TO_LOCK {
            let at = now + Duration::from_millis(20) * u32::from(packet);
            assert_eq!(source.judge(natted, Some(1), at), Judgement::Accept, "{packet}");
            assert_eq!(source.judge(stranger, Some(2), at), Judgement::Stranger, "{packet}");
        }
        let at = now + Duration::from_millis(100);
        assert_eq!(source.judge(natted, Some(1), at), Judgement::AcceptAndLock);
        let late = now + Duration::from_secs(60);
        assert_eq!(source.judge(stranger, Some(2), late), Judgement::Stranger);
        assert_eq!(source.destination(), Some(natted));
    }

    #[test]
    fn a_candidate_that_falls_silent_gives_way() {
        let (mut source, now) = pointed("192.168.1.20:4000");
        let scanner = address("198.51.100.66:5000");
        let phone = address("203.0.113.9:61000");
        assert_eq!(source.judge(scanner, Some(2), now), Judgement::Accept);
        let later = now + CANDIDATE_SILENCE;
        for _ in 1..PACKETS_TO_LOCK {
            assert_eq!(source.judge(phone, Some(1), later), Judgement::Accept);
        }
        assert_eq!(source.judge(phone, Some(1), later), Judgement::AcceptAndLock);
        assert_eq!(source.destination(), Some(phone));
    }

    #[test]
    fn the_sdp_address_locks_at_once_and_takes_the_lock_from_another() {
        let (mut source, now) = pointed("192.0.2.1:4000");
        assert_eq!(source.judge(address("192.0.2.1:4000"), None, now), Judgement::AcceptAndLock);
        assert!(source.is_settled());
        assert_eq!(source.judge(address("192.0.2.1:4001"), None, now), Judgement::Stranger);

        let (mut source, now) = pointed("192.0.2.1:4000");
        for _ in 0..PACKETS_TO_LOCK {
            source.judge(address("203.0.113.9:61000"), None, now);
        }
        assert!(source.locked().is_some() && !source.is_settled());
        assert_eq!(source.judge(address("192.0.2.1:4000"), None, now), Judgement::AcceptAndLock);
        assert_eq!(source.judge(address("203.0.113.9:61000"), None, now), Judgement::Stranger);
    }

    #[test]
    fn a_new_sdp_address_lets_the_source_change() {
        let (mut source, now) = pointed("192.0.2.1:4000");
        source.judge(address("192.0.2.1:4000"), None, now);
        source.point(Some(address("192.0.2.2:5000")), now);
        assert_eq!(source.destination(), Some(address("192.0.2.2:5000")));
        assert_eq!(source.judge(address("192.0.2.2:5000"), None, now), Judgement::AcceptAndLock);
    }

    #[test]
    fn the_same_sdp_again_keeps_the_learned_source_in_front() {
        let (mut source, now) = pointed("192.168.1.20:4000");
        let natted = address("203.0.113.9:61000");
        for _ in 0..PACKETS_TO_LOCK {
            source.judge(natted, None, now);
        }
        source.point(Some(address("192.168.1.20:4000")), now);
        assert_eq!(source.destination(), Some(natted));
        let moved = address("203.0.113.9:61002");
        assert_eq!(source.judge(moved, None, now), Judgement::Stranger);
        assert_eq!(source.judge(moved, None, now + CANDIDATE_SILENCE), Judgement::Accept);
    }

    #[test]
    fn hold_mutes_and_resume_unmutes() {
        let (mut source, now) = pointed("192.0.2.1:4000");
        source.judge(address("192.0.2.1:4000"), None, now);
        source.point(None, now);
        assert_eq!(source.destination(), None);
        source.point(Some(address("192.0.2.1:4000")), now);
        assert_eq!(source.destination(), Some(address("192.0.2.1:4000")));
    }

    #[test]
    fn a_phone_still_sending_to_an_older_call_is_not_learned() {
        let old = address("203.0.113.9:61000");
        let mut strays = Strays::default();
        strays.add(old.ip(), 77);
        let mut source = Source::new(strays);
        let now = Instant::now();
        assert_eq!(source.judge(old, Some(77), now), Judgement::Stranger);
        source.point(Some(address("192.0.2.1:4000")), now);
        assert_eq!(source.judge(old, Some(77), now), Judgement::Stranger);
        assert_eq!(source.destination(), Some(address("192.0.2.1:4000")));
        // The same phone in the new call chooses a new SSRC (RFC 3550 §8).
        assert_eq!(source.judge(old, Some(78), now), Judgement::Accept);
    }

    #[test]
    fn what_checks_find_no_packet_moves() {
        let now = Instant::now();
        let (sdp, found) = (address("192.0.2.1:4000"), address("203.0.113.9:61000"));
        let mut source = Source::new(Strays::default());
        source.find_by_checks(true);
        source.point(Some(sdp), now);
        // Not even the SDP's own address counts before it is checked.
        for _ in 0..20 {
            assert_eq!(source.judge(sdp, Some(1), now), Judgement::Stranger);
        }
        assert_eq!((source.destination(), source.locked()), (None, None));
        source.find(found);
        assert_eq!(source.judge(found, Some(1), now), Judgement::Accept);
        assert_eq!(source.judge(sdp, Some(1), now), Judgement::Stranger);
        source.point(Some(address("192.0.2.1:4002")), now);
        assert_eq!(source.destination(), Some(found));
        assert!(!source.is_settled());
        source.point(None, now);
        assert_eq!(source.destination(), None);
        // A phone that has no browser any more is learned as every phone.
        source.find_by_checks(false);
        source.point(Some(sdp), now);
        assert_eq!(source.judge(sdp, Some(1), now), Judgement::AcceptAndLock);
    }

    #[test]
    fn media_before_the_sdp_is_accepted_but_locks_nothing() {
        let mut source = Source::new(Strays::default());
        let now = Instant::now();
        for _ in 0..20 {
            assert_eq!(source.judge(address("203.0.113.9:61000"), None, now), Judgement::Accept);
        }
        assert_eq!(source.locked(), None);
        source.point(Some(address("192.0.2.1:4000")), now);
        assert_eq!(source.judge(address("192.0.2.1:4000"), None, now), Judgement::AcceptAndLock);
    }
}
