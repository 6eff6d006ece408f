//! The limit of open files: four sockets a call, and the usual soft limit of a shell ends at 250.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Sockets of a call: RTP and RTCP of both sides.
const PER_CALL: u64 = 4;
/// For the database, the journal, recordings, consoles and connections of phones.
const BESIDE: u64 = 512;
/// A limit that allows fewer calls at once is told of.
const USUAL_CALLS: u64 = 500;

/// Takes as many as the system allows this process, and warns if that is few.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut limit = current;
    if current != maximum {
        match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => limit = maximum,
            Err(err) => tracing::warn!(%err, "the limit of open files stays as it is"),
        }
    }
    // `None` is no limit.
    let Some(limit) = limit else { return };
    let calls = limit.saturating_sub(BESIDE) / PER_CALL;
    if calls < USUAL_CALLS {
        tracing::warn!(
            limit,
            calls,
            "few files may be open: more calls at once will get 503; raise LimitNOFILE of the \
             service, or `ulimit -n`"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let low = Rlimit { current: before.maximum.map(|it| it / 2).or(Some(4096)), ..before };
        setrlimit(Resource::Nofile, low).unwrap();
        raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
    }
}
