//! Who spoke on a port pair in earlier calls and may never have noticed that they are over.
//!
//! A phone that missed the BYE sends on, to ports that belong to another call by now. Behind NAT a
//! party of that call is learned from its packets, so the stray must be known to be passed over.
//! It is known by its host and its SSRC together: a phone whose new call has a new SSRC (RFC 3550
//! §8) is no stray, nor is another phone that happens to have the SSRC.

use std::net::IpAddr;

/// How many are remembered: the last party, and two who will not stop.
const MOST: usize = 3;

/// The hosts and SSRCs heard on a port pair, the newest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strays([Option<(IpAddr, u32)>; MOST]);

impl Strays {
    /// Whether this is one of them.
    pub fn contains(&self, from: IpAddr, ssrc: u32) -> bool {
        self.0.contains(&Some((from, ssrc)))
    }

    /// Adds one; the one that was heard longest ago is forgotten if there are too many.
    pub fn add(&mut self, from: IpAddr, ssrc: u32) {
        let new = Some((from, ssrc));
        let at = self.0.iter().position(|known| *known == new).unwrap_or(MOST - 1);
        self.0[..=at].rotate_right(1);
        self.0[0] = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_heard_last_are_known_by_host_and_ssrc() {
        let [here, there] = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let mut strays = Strays::default();
        for ssrc in [1, 2, 3, 1, 4] {
            strays.add(here, ssrc);
        }
        let known: Vec<u32> = (0..6).filter(|ssrc| strays.contains(here, *ssrc)).collect();
        assert_eq!(known, [1, 3, 4]);
        assert!(!strays.contains(there, 1));
    }
}
