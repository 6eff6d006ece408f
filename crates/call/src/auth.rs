//! Whether a phone is whom it says: digest against the directory, and a guard against guessing.
//!
//! An unknown extension is answered exactly like a wrong password. Nonces are bound to the address
//! they were sent to and each use of one is counted, so that an answer overheard on the network is
//! of no use.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use cheling_model::Now;
use cheling_model::directory::{Directory, Extension};
use cheling_sip::digest::{
    Algorithm, Challenge, Credentials, NonceLedger, NonceState, NonceUse, Nonces,
};
use cheling_sip::{Flow, Method, Name, Request, Response, Uri};
use sha2::{Digest, Sha256};

use crate::router;

/// How long a nonce is good.
const NONCE_LIFETIME: Duration = Duration::from_secs(300);
/// Wrong answers for one extension from one address before it is locked out.
const FAILURES_PER_ACCOUNT: u32 = 10;
/// Wrong answers from one address before it is locked out whole.
const FAILURES_PER_SOURCE: u32 = 100;
/// How long failures are remembered, and a lock-out lasts.
const MEMORY: Duration = Duration::from_secs(300);
/// Failing sources and accounts that are remembered at most; the oldest go first.
const MAX_REMEMBERED: usize = 4096;
/// Nonces whose use is counted at most, one a phone; older ones are challenged anew. Ten thousand
/// phones that register twice in a nonce's life must not drive each other out. Some 6 MiB.
const MAX_NONCES: usize = 32_768;
/// Hex digits of a nonce that [`Nonces`] makes; what follows makes it one of a kind.
const SEALED_CHARS: usize = 48;

/// Which hashes a challenge offers. Whatever was offered, an answer in MD5 or SHA-256 is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offered {
    /// MD5 alone. baresip 1.0 and its like give up on a challenge that names anything else, in
    /// whatever order the challenges stand.
    #[default]
    Md5,
    /// SHA-256 first, then MD5 (RFC 8760 §2.4).
    Sha256AndMd5,
}

/// What an attempt came to.
#[derive(Debug)]
pub enum Outcome<'d> {
    /// The password is right.
    Accepted(&'d Extension),
    /// No answer yet, or one to a nonce that is too old.
    Challenged {
        /// The password was right.
        is_stale: bool,
    },
    /// Wrong, or locked out.
    Refused(Refusal),
}

/// Why an attempt was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such extension, or the wrong password: the phone is not told which.
    #[error("wrong password")]
    WrongPassword,
    /// The same, and the log says that the extension does not exist.
    #[error("no such extension")]
    UnknownExtension,
    /// Too many failures.
    #[error("locked out after too many wrong passwords")]
    LockedOut,
    /// The answer was made for another request.
    #[error("the answer was made for another request")]
    OtherRequest,
}

/// Verifies, and remembers who failed.
#[derive(Debug)]
pub struct Auth {
    secret: [u8; 32],
    offered: Offered,
    failures: HashMap<Suspect, Failures>,
    ledger: NonceLedger,
    /// Challenges sent: two within one second must differ.
    challenges: u32,
}

/// An address, or an extension as tried from it.
type Suspect = (IpAddr, Option<String>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Auth {
    /// `secret` keys the nonces.
    pub fn new(secret: [u8; 32], offered: Offered) -> Self {
        let ledger = NonceLedger::new(MAX_NONCES, NONCE_LIFETIME);
        Self { secret, offered, failures: HashMap::new(), ledger, challenges: 0 }
    }

    /// Judges a request by its Authorization (REGISTER) or Proxy-Authorization.
    pub fn check<'d>(
        &mut self,
        now: Now,
        directory: &'d Directory,
        request: &Request,
        flow: Flow,
    ) -> Outcome<'d> {
        let source = flow.remote.ip();
        let Some(credentials) = credentials(request, &directory.realm) else {
            return Outcome::Challenged { is_stale: false };
        };
        let account = (source, Some(credentials.user.chars().take(64).collect::<String>()));
        if self.is_locked(now, &(source, None), FAILURES_PER_SOURCE)
            || self.is_locked(now, &account, FAILURES_PER_ACCOUNT)
        {
            return Outcome::Refused(Refusal::LockedOut);
        }
        let extension = router::extension(directory, &credentials.user);
        if !verifies(&credentials, extension, &request.method) {
            self.note_failure(now, (source, None));
            self.note_failure(now, account);
            return Outcome::Refused(match extension {
                Some(_) => Refusal::WrongPassword,
                None => Refusal::UnknownExtension,
            });
        }
        let Some(extension) = extension else {
            return Outcome::Refused(Refusal::UnknownExtension);
        };
        if !is_for_this_uri(&credentials.uri, &request.uri) {
            return Outcome::Refused(Refusal::OtherRequest);
        }
        let sealed = credentials.nonce.get(..SEALED_CHARS).unwrap_or_default();
        if self.nonces(source).check(seconds(now), sealed) != NonceState::Fresh {
            // A nonce from before our restart, or from before the phone moved to another address.
            return Outcome::Challenged { is_stale: true };
        }
        match self.ledger.note(seconds(now), &credentials) {
            NonceUse::First | NonceUse::Uncounted => {
                self.failures.remove(&account);
                Outcome::Accepted(extension)
            }
            NonceUse::Replayed | NonceUse::Forgotten => Outcome::Challenged { is_stale: true },
        }
    }

    /// The 401 (REGISTER) or 407 that asks for a password.
    pub fn challenge(
        &mut self,
        now: Now,
        realm: &str,
        request: &Request,
        flow: Flow,
        is_stale: bool,
        to_tag: &str,
    ) -> Response {
        let (status, name) = match request.method {
            Method::Register => (401, Name::WwwAuthenticate),
            _ => (407, Name::ProxyAuthenticate),
        };
        self.challenges = self.challenges.wrapping_add(1);
        let sealed = self.nonces(flow.remote.ip()).issue(seconds(now));
        let nonce = format!("{sealed}{:08x}", self.challenges);
        let algorithms: &[Algorithm] = match self.offered {
            Offered::Md5 => &[Algorithm::Md5],
            Offered::Sha256AndMd5 => &[Algorithm::Sha256, Algorithm::Md5],
        };
        let mut response = Response::to(request, status, "", Some(to_tag));
        for algorithm in algorithms {
            response.headers.push(name, Challenge::new(realm, &nonce, *algorithm, is_stale));
        }
        response
    }

    /// Counts a wrong password that somebody else found, for this address.
    pub(crate) fn blame(&mut self, now: Now, source: IpAddr) {
        self.note_failure(now, (source, None));
    }

    /// Whether nothing from this address is looked at for a while.
    pub(crate) fn is_shut_out(&self, now: Now, source: IpAddr) -> bool {
        self.is_locked(now, &(source, None), FAILURES_PER_SOURCE)
    }

    fn nonces(&self, source: IpAddr) -> Nonces {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        hash.update(source.to_canonical().to_string());
        Nonces::new(hash.finalize().into(), NONCE_LIFETIME)
    }

    fn is_locked(&self, now: Now, suspect: &Suspect, limit: u32) -> bool {
        self.failures.get(suspect).is_some_and(|failures| {
            failures.count >= limit
                && now.monotonic.saturating_duration_since(failures.last) < MEMORY
        })
    }

    fn note_failure(&mut self, now: Now, suspect: Suspect) {
        if self.failures.len() >= MAX_REMEMBERED && !self.failures.contains_key(&suspect) {
            self.forget_old(now);
        }
        let failures =
            self.failures.entry(suspect).or_insert(Failures { count: 0, last: now.monotonic });
        if now.monotonic.saturating_duration_since(failures.last) >= MEMORY {
            failures.count = 0;
        }
        *failures = Failures { count: failures.count.saturating_add(1), last: now.monotonic };
    }

    fn forget_old(&mut self, now: Now) {
        self.failures.retain(|_, f| now.monotonic.saturating_duration_since(f.last) < MEMORY);
        if self.failures.len() >= MAX_REMEMBERED {
            // Many addresses fail at once: keep those that failed last.
            let mut times: Vec<_> = self.failures.values().map(|f| f.last).collect();
            times.sort_unstable();
            let middle = times[times.len() / 2];
            self.failures.retain(|_, f| f.last > middle);
        }
    }
}

/// The credentials for our realm among those the request carries.
fn credentials(request: &Request, realm: &str) -> Option<Credentials> {
    let name = match request.method {
        Method::Register => Name::Authorization,
        _ => Name::ProxyAuthorization,
    };
    request
        .headers
        .get_all(name)
        .filter_map(|value| Credentials::parse(&value))
        .find(|credentials| credentials.realm == realm)
}

/// Whether the proof holds. For an unknown extension the same work is done and nothing holds.
fn verifies(credentials: &Credentials, extension: Option<&Extension>, method: &Method) -> bool {
    let ha1 = match (extension, credentials.algorithm.base()) {
        (None, _) => "0",
        (Some(extension), Algorithm::Sha256 | Algorithm::Sha256Sess) => &extension.ha1_sha256,
        (Some(extension), _) => &extension.ha1_md5,
    };
    credentials.verify(method.as_str(), ha1) && extension.is_some() && !ha1.is_empty()
}

/// Whether the URI that was hashed names the same user as the Request-URI. Phones differ in how
/// they write host, port and parameters there, but the number called must be the one that was
/// proved, or one overheard call could be turned into any other.
fn is_for_this_uri(hashed: &str, uri: &Uri) -> bool {
    match Uri::parse(hashed) {
        Ok(hashed) => hashed.user_unescaped() == uri.user_unescaped(),
        Err(_) => false,
    }
}

fn seconds(now: Now) -> u64 {
    u64::try_from(now.wall.as_micros() / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_model::{DealershipId, Timestamp};
    use cheling_sip::NameAddr;
    use cheling_sip::digest::ha1;

    struct Scene {
        auth: Auth,
        directory: Directory,
        now: Now,
        flow: Flow,
    }

    fn scene() -> Scene {
        let extension = Extension {
            number: "8001".into(),
            dealership_id: DealershipId::mint(Timestamp::from_micros(1), [1; 10]),
            user_id: None,
            display_name: String::new(),
            ha1_md5: ha1(Algorithm::Md5, "8001", "cheling", "right"),
            ha1_sha256: ha1(Algorithm::Sha256, "8001", "cheling", "right"),
            reach: Default::default(),
        };
        #[allow(clippy::disallowed_methods)] // Some instant is needed to count from.
        let monotonic = Instant::now();
        Scene {
            auth: Auth::new([3; 32], Offered::Sha256AndMd5),
            directory: Directory {
                realm: "cheling".into(),
                extensions: vec![extension],
                ..Directory::default()
            },
            now: Now { monotonic, wall: Timestamp::from_micros(1_700_000_000_000_000) },
            flow: Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap()),
        }
    }

    fn request(method: Method) -> Request {
        let address = NameAddr::parse("<sip:8001@h>").unwrap();
        let uri = match method {
            Method::Register => Uri::sip(None, "h", None),
            _ => Uri::sip(Some("8002"), "h", None),
        };
        Request::outside_dialog(method, uri, &address.clone().with_tag("1"), &address, "id", 1)
    }

    impl Scene {
        fn later(&mut self, by: Duration) {
            self.now = Now { monotonic: self.now.monotonic + by, wall: self.now.wall + by };
        }

        fn answered(
            &mut self,
            method: Method,
            user: &str,
            password: &str,
            which: usize,
        ) -> Request {
            let mut request = request(method.clone());
            let response =
                self.auth.challenge(self.now, "cheling", &request, self.flow, false, "t");
            let (asked, answer) = match method {
                Method::Register => (Name::WwwAuthenticate, Name::Authorization),
                _ => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
            };
            let value = response.headers.get_all(asked).nth(which).unwrap().into_owned();
            let challenge = Challenge::parse(&value).unwrap();
            let key = ha1(challenge.algorithm, user, "cheling", password);
            let uri = request.uri.to_string();
            request
                .headers
                .push(answer, challenge.answer(user, &key, method.as_str(), &uri, "c", 1));
            request
        }

        fn check(&mut self, request: &Request) -> String {
            match self.auth.check(self.now, &self.directory, request, self.flow) {
                Outcome::Accepted(extension) => format!("accepted {}", extension.number),
                Outcome::Challenged { is_stale } => format!("challenged stale={is_stale}"),
                Outcome::Refused(refusal) => format!("{refusal:?}"),
            }
        }
    }

    #[test]
    fn the_right_password_passes_in_both_hashes() {
        let mut scene = scene();
        for method in [Method::Register, Method::Invite] {
            assert_eq!(scene.check(&request(method.clone())), "challenged stale=false");
            for which in [0, 1] {
                let request = scene.answered(method.clone(), "8001", "right", which);
                assert_eq!(scene.check(&request), "accepted 8001");
            }
        }
    }

    #[test]
    fn wrong_passwords_and_unknown_extensions_fail_and_only_the_log_can_tell() {
        let mut scene = scene();
        let wrong = scene.answered(Method::Register, "8001", "wrong", 0);
        assert_eq!(scene.check(&wrong), "WrongPassword");
        let unknown = scene.answered(Method::Register, "8009", "right", 1);
        assert_eq!(scene.check(&unknown), "UnknownExtension");
    }

    #[test]
    fn an_old_or_foreign_nonce_with_the_right_password_is_only_stale() {
        let mut scene = scene();
        let request = scene.answered(Method::Register, "8001", "right", 1);
        let home = scene.flow;
        scene.flow.remote = "192.0.2.66:5060".parse().unwrap();
        assert_eq!(scene.check(&request), "challenged stale=true");
        scene.flow = home;
        scene.later(NONCE_LIFETIME + Duration::from_secs(1));
        assert_eq!(scene.check(&request), "challenged stale=true");
    }

    #[test]
    fn an_answer_is_good_once() {
        let mut scene = scene();
        let request = scene.answered(Method::Register, "8001", "right", 1);
        assert_eq!(scene.check(&request), "accepted 8001");
        assert_eq!(scene.check(&request), "challenged stale=true");
        let again = scene.answered(Method::Register, "8001", "right", 1);
        assert_eq!(scene.check(&again), "accepted 8001", "the next challenge is another one");
    }

    #[test]
    fn an_answer_for_one_number_does_not_call_another() {
        let mut scene = scene();
        let mut request = scene.answered(Method::Invite, "8001", "right", 0);
        request.uri = Uri::sip(Some("00999"), "h", None);
        assert_eq!(scene.check(&request), "OtherRequest");
    }

    #[test]
    fn many_failures_lock_out_one_account_from_one_address_for_a_while() {
        let mut scene = scene();
        for _ in 0..FAILURES_PER_ACCOUNT {
            let wrong = scene.answered(Method::Register, "8001", "wrong", 1);
            assert_eq!(scene.check(&wrong), "WrongPassword");
        }
        let right = scene.answered(Method::Register, "8001", "right", 1);
        assert_eq!(scene.check(&right), "LockedOut");
        let home = scene.flow;
        scene.flow.remote = "192.0.2.3:5060".parse().unwrap();
        let elsewhere = scene.answered(Method::Register, "8001", "right", 1);
        assert_eq!(scene.check(&elsewhere), "accepted 8001");
        scene.flow = home;
        scene.later(MEMORY);
        let right = scene.answered(Method::Register, "8001", "right", 1);
        assert_eq!(scene.check(&right), "accepted 8001");
    }

    #[test]
    fn the_memory_of_failures_is_bounded() {
        let mut scene = scene();
        let wrong = scene.answered(Method::Register, "8001", "wrong", 1);
        for number in 0..3 * MAX_REMEMBERED as u32 {
            scene.flow.remote = (std::net::Ipv4Addr::from(number), 5060).into();
            scene.later(Duration::from_millis(1));
            scene.check(&wrong);
            assert!(scene.auth.failures.len() <= MAX_REMEMBERED + 2);
        }
    }
}
