//! ICE-lite on one media port (RFC 8445 §2.5): answers the other side's checks, and knows by them
//! where it is. Pure: a datagram in, what is to be said and believed out.
//!
//! We send no checks of our own and need no timers: consent (RFC 7675) is the other side's to ask
//! for, as long as the call lasts, and is answered like every check.

use cheling_call::io::IceSide;
use cheling_media::stun::Request;
use std::net::SocketAddr;

/// What comes of a datagram that may be a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// It is the side's: this is the answer.
    Valid {
        /// To be sent back.
        answer: Vec<u8>,
        /// Whether the side means to use this way (RFC 8445 §7.3.1.5).
        is_used: bool,
    },
    /// It is not: whoever sent it may be told so.
    Refused(Option<Vec<u8>>),
}

/// Judges a datagram from `from`.
pub(super) fn check(side: &IceSide, datagram: &[u8], from: SocketAddr) -> Checked {
    let Some(request) = Request::read(datagram) else { return Checked::Refused(None) };
    let is_ours = request.username().is_some_and(|name| {
        // Ours, a colon, theirs (RFC 8445 §7.2.2).
        let mut parts = name.split(|byte| *byte == b':');
        parts.next() == Some(side.ufrag.as_bytes()) && parts.next().is_some()
    });
    // RFC 8489 §9.1.3.
    if !request.is_signed() || request.username().is_none() {
        return Checked::Refused(Some(request.error(400)));
    }
    if !is_ours || !request.is_signed_with(&side.password) {
        return Checked::Refused(Some(request.error(401)));
    }
    if !request.is_understood() {
        return Checked::Refused(Some(request.error(420)));
    }
    Checked::Valid {
        answer: request.success(from, Some(&side.password)),
        is_used: request.uses_candidate(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_media::stun::{Candidate, check as ask};

    fn side() -> IceSide {
        IceSide { ufrag: "ours".into(), password: "a password of enough letters".into() }
    }

    fn from() -> SocketAddr {
        "192.0.2.1:4000".parse().unwrap()
    }

    #[test]
    fn a_check_with_our_name_and_password_is_the_sides() {
        for (candidate, want) in [(Candidate::Tried, false), (Candidate::Used, true)] {
            let datagram = ask([1; 12], "ours:theirs", &side().password, candidate);
            let Checked::Valid { answer, is_used } = check(&side(), &datagram, from()) else {
                panic!("refused");
            };
            assert_eq!((answer[..2].to_vec(), is_used), (vec![1, 1], want));
        }
    }

    #[test]
    fn any_other_is_refused_and_says_no_more_than_that() {
        let password = side().password;
        for (name, password) in [
            ("ours:theirs", "another password"),
            ("other:theirs", password.as_str()),
            ("ours", password.as_str()),
            ("our:theirs", password.as_str()),
            ("oursx:theirs", password.as_str()),
            ("", ""),
        ] {
            let datagram = ask([1; 12], name, password, Candidate::Used);
            let refused = check(&side(), &datagram, from());
            let Checked::Refused(Some(answer)) = refused else { panic!("{name} {password}") };
            assert_eq!((&answer[..2], &answer[24..28]), (&[1, 0x11][..], &[0, 0, 4, 1][..]));
            assert!(answer.len() < datagram.len());
        }
        // What phones ask a SIP port is no check.
        let mut bare = ask([1; 12], "ours:theirs", &password, Candidate::Used)[..20].to_vec();
        bare[2..4].fill(0);
        assert!(matches!(check(&side(), &bare, from()), Checked::Refused(Some(_))));
        for garbage in [&[][..], &[0], &[0, 1, 0, 0], &[1; 60], &[3; 1500]] {
            assert_eq!(check(&side(), garbage, from()), Checked::Refused(None));
        }
    }
}
