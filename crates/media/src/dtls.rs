//! DTLS-SRTP (RFC 5763, RFC 5764): two ends prove by a handshake who they are and agree on the keys
//! of their SRTP.
//!
//! Belongs here: the handshake of one association, the proof against the fingerprint that the other
//! end gave elsewhere, and the keys that come of it. Does not: which datagram belongs to it (`rtp`
//! tells the kinds apart), where datagrams go, and how a fingerprint is agreed on
//! (`sip::sdp::dtls`).

use crate::srtp::{MasterKey, Suite};
use dimpl::{Config, Dtls, DtlsCertificate, Output, SrtpProfile};
use ring::digest;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first wait for an answer, doubled with each that does not come.
const FIRST_WAIT: Duration = Duration::from_millis(400);
/// Times that something without an answer is sent again.
const RETRIES: usize = 6;
/// The time that a whole handshake may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest datagram that we send: it fits every tunnel.
const MTU: usize = 1150;

/// Who we are in handshakes: a certificate that nobody signed but itself, and its key. Both ends
/// know each other by the fingerprints of such certificates.
#[derive(Clone)]
pub struct Identity {
    certificate: DtlsCertificate,
    config: Arc<Config>,
    fingerprint: Fingerprint,
}

impl Identity {
    /// An identity by a certificate (DER) and its key (PKCS #8, ECDSA with P-256 or P-384).
    ///
    /// # Errors
    /// [`DtlsError::Library`] if the library does not start.
    pub fn new(certificate: Vec<u8>, private_key: Vec<u8>) -> Result<Self, DtlsError> {
        let config = Config::builder()
            .mtu(MTU)
            .flight_start_rto(FIRST_WAIT)
            .flight_retries(RETRIES)
            .handshake_timeout(PATIENCE)
            .build()
            .map_err(|err| DtlsError::Library(err.to_string()))?;
        let fingerprint = Fingerprint::of(Hash::Sha256, &certificate);
        let certificate = DtlsCertificate { certificate, private_key };
        Ok(Self { certificate, config: Arc::new(config), fingerprint })
    }

    /// The fingerprint of its certificate, by SHA-256.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.fingerprint).finish()
    }
}

/// By what a fingerprint is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// What everybody uses.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Its name in a session description (RFC 8122 §5).
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    /// The one of this name. Those too weak to prove anything are not known.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Sha256, Self::Sha384, Self::Sha512];
        all.into_iter().find(|hash| hash.name().eq_ignore_ascii_case(name))
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

/// The fingerprint of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    hash: Hash,
    bytes: Vec<u8>,
}

impl Fingerprint {
    /// A fingerprint that was read; `None` if it is not as long as its hash is.
    pub fn new(hash: Hash, bytes: &[u8]) -> Option<Self> {
        let is_whole = bytes.len() == hash.algorithm().output_len();
        is_whole.then(|| Self { hash, bytes: bytes.to_vec() })
    }

    /// That of a certificate in DER.
    pub fn of(hash: Hash, certificate: &[u8]) -> Self {
        let bytes = digest::digest(hash.algorithm(), certificate).as_ref().to_vec();
        Self { hash, bytes }
    }

    /// By what it was made.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The hash itself.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Who begins the handshake (RFC 5763 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// We do: `active`.
    Client,
    /// The other end does: `passive`.
    Server,
}

/// Why there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DtlsError {
    /// Somebody else than was announced, who may hear nothing.
    #[error("the certificate is not the one whose fingerprint was announced")]
    Fingerprint,
    /// The two share no way of protecting media.
    #[error("no SRTP protection profile was agreed on")]
    Profile,
    /// The handshake was not finished in time.
    #[error("the handshake had no answer in time")]
    Timeout,
    /// What the library says.
    #[error("the handshake failed: {0}")]
    Library(String),
}

/// The keys of an association. Never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// With which the other end sends.
    pub theirs: MasterKey,
    /// With which we send.
    pub ours: MasterKey,
}

/// What an association wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Send this datagram to the other end.
    Send(Vec<u8>),
    /// The other end is who it should be, and these are the keys.
    Agreed(Box<Keys>),
    /// There will be no keys; the association is of no use any more.
    Failed(DtlsError),
}

/// One association with another end, from the first datagram to the keys and a little longer.
pub struct Association {
    dtls: Dtls,
    role: Role,
    theirs: Fingerprint,
    is_proven: bool,
    is_connected: bool,
    /// The keys that wait for the proof.
    keys: Option<Keys>,
    has_keys: bool,
    has_ended: bool,
    due: Option<Instant>,
    events: VecDeque<Event>,
    buffer: Vec<u8>,
}

impl Association {
    /// Begins, with an end whose certificate has this fingerprint.
    pub fn new(identity: &Identity, role: Role, theirs: Fingerprint, now: Instant) -> Self {
        let (config, certificate) = (Arc::clone(&identity.config), identity.certificate.clone());
        let mut dtls = Dtls::new_auto(config, certificate, now);
        dtls.set_active(role == Role::Client);
        let mut association = Self {
            dtls,
            role,
            theirs,
            is_proven: false,
            is_connected: false,
            keys: None,
            has_keys: false,
            has_ended: false,
            due: None,
            events: VecDeque::new(),
            buffer: vec![0; 2 * MTU],
        };
        association.handle_timeout(now);
        association
    }

    /// Takes a datagram of the other end.
    pub fn receive(&mut self, now: Instant, datagram: &[u8]) {
        if self.has_ended {
            return;
        }
        let taken = self.dtls.handle_timeout(now).and_then(|()| self.dtls.handle_packet(datagram));
        self.proceed(now, taken);
    }

    /// To be called when it is [`Association::due`].
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.has_ended {
            return;
        }
        let taken = self.dtls.handle_timeout(now);
        self.proceed(now, taken);
    }

    /// When something is to be sent again or given up; `None` if nothing is waited for.
    pub fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.has_ended)
    }

    /// Whether it has brought its keys.
    pub fn is_agreed(&self) -> bool {
        self.is_connected && self.is_proven && self.has_keys && self.keys.is_none()
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn proceed(&mut self, now: Instant, taken: Result<(), dimpl::Error>) {
        // What is to be sent is sent even then: an alert says why.
        self.drain(now);
        match taken {
            Ok(()) => {}
            Err(dimpl::Error::Timeout(_)) => self.fail(DtlsError::Timeout),
            Err(err) => self.fail(DtlsError::Library(err.to_string())),
        }
        if self.is_connected && self.is_proven && !self.has_ended {
            match (self.keys.take(), self.has_keys) {
                (Some(keys), _) => self.events.push_back(Event::Agreed(Box::new(keys))),
                (None, true) => {}
                (None, false) => self.fail(DtlsError::Profile),
            }
        }
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(packet) => self.events.push_back(Event::Send(packet.to_vec())),
                Output::BufferTooSmall { needed } => self.buffer.resize(needed, 0),
                Output::Timeout(at) => {
                    // Waiting for nothing is a time far away.
                    self.due = Some(at).filter(|at| *at <= now + PATIENCE);
                    return;
                }
                Output::PeerCert(der) => {
                    if Fingerprint::of(self.theirs.hash, der) != self.theirs {
                        return self.fail(DtlsError::Fingerprint);
                    }
                    self.is_proven = true;
                }
                Output::KeyingMaterial(material, profile) => {
                    self.keys = keys(&material, profile, self.role);
                    self.has_keys = self.keys.is_some();
                    if !self.has_keys {
                        return self.fail(DtlsError::Profile);
                    }
                }
                Output::Connected => self.is_connected = true,
                _ => {}
            }
        }
    }

    fn fail(&mut self, err: DtlsError) {
        if !self.has_ended {
            self.has_ended = true;
            self.events.push_back(Event::Failed(err));
        }
    }
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association")
            .field("role", &self.role)
            .field("is_agreed", &self.is_agreed())
            .finish_non_exhaustive()
    }
}

/// The client's key, the server's, the client's salt, the server's (RFC 5764 §4.2).
fn keys(material: &[u8], profile: SrtpProfile, role: Role) -> Option<Keys> {
    let suite = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Suite::AesCm128HmacSha1Tag80,
        SrtpProfile::AEAD_AES_128_GCM => Suite::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Suite::AeadAes256Gcm,
        _ => return None,
    };
    let (key, salt) = (suite.key_bytes() - suite.salt_bytes(), suite.salt_bytes());
    let of = |end: usize| {
        let salt_at = 2 * key + end * salt;
        let parts =
            [material.get(end * key..(end + 1) * key)?, material.get(salt_at..salt_at + salt)?];
        MasterKey::new(suite, &parts.concat())
    };
    let (client, server) = (of(0)?, of(1)?);
    Some(match role {
        Role::Client => Keys { theirs: server, ours: client },
        Role::Server => Keys { theirs: client, ours: server },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Identity::new(certificate.der().to_vec(), key.serialize_der()).unwrap()
    }

    /// Two ends, and what each has been told.
    struct Pair {
        ends: [Association; 2],
        now: Instant,
        agreed: [Option<Keys>; 2],
        failed: [Option<DtlsError>; 2],
        sent: usize,
    }

    impl Pair {
        #[allow(clippy::disallowed_methods)] // An instant to count from.
        fn new(theirs: impl Fn(&Identity, &Identity) -> [Fingerprint; 2]) -> Self {
            let identities = [identity(), identity()];
            let now = Instant::now();
            let [of_client, of_server] = theirs(&identities[0], &identities[1]);
            let client = Association::new(&identities[0], Role::Client, of_server, now);
            let server = Association::new(&identities[1], Role::Server, of_client, now);
            Self {
                ends: [client, server],
                now,
                agreed: [None, None],
                failed: [None, None],
                sent: 0,
            }
        }

        fn honest() -> Self {
            Self::new(|client, server| [client.fingerprint().clone(), server.fingerprint().clone()])
        }

        /// Runs until nothing is said any more; datagrams are lost as `is_lost` says.
        fn run(&mut self, mut is_lost: impl FnMut(usize) -> bool) {
            for _ in 0..200 {
                let mut is_quiet = true;
                for end in [0, 1] {
                    while let Some(event) = self.ends[end].poll() {
                        is_quiet = false;
                        match event {
                            Event::Send(datagram) => {
                                self.sent += 1;
                                if !is_lost(self.sent) {
                                    self.ends[1 - end].receive(self.now, &datagram);
                                }
                            }
                            Event::Agreed(keys) => self.agreed[end] = Some(*keys),
                            Event::Failed(err) => self.failed[end] = Some(err),
                        }
                    }
                }
                if is_quiet {
                    let due = self.ends.iter().filter_map(Association::due).min();
                    let Some(due) = due else { return };
                    self.now = due;
                    self.ends.iter_mut().for_each(|end| end.handle_timeout(due));
                }
            }
            panic!("never quiet");
        }
    }

    #[test]
    fn two_honest_ends_agree_on_keys() {
        let mut pair = Pair::honest();
        pair.run(|_| false);
        let [client, server] = pair.agreed.map(Option::unwrap);
        assert_eq!(client.ours, server.theirs);
        assert_eq!(client.theirs, server.ours);
        assert_ne!(client.ours, client.theirs);
        assert_eq!(pair.failed, [None, None]);
        assert_eq!(format!("{client:?}").matches("MasterKey(AEAD_AES_256_GCM)").count(), 2);
    }

    #[test]
    fn what_is_lost_is_sent_again() {
        for lost in 1..8 {
            let mut pair = Pair::honest();
            pair.run(|sent| sent == lost);
            assert!(pair.agreed.iter().all(Option::is_some), "{lost}: {:?}", pair.failed);
        }
        let mut pair = Pair::honest();
        pair.run(|_| true);
        assert_eq!(pair.failed[0], Some(DtlsError::Timeout));
        assert_eq!(pair.agreed, [None, None]);
    }

    #[test]
    fn another_certificate_than_was_announced_gets_no_keys() {
        for (wrong, other) in [(0, 1), (1, 0)] {
            let mut pair = Pair::new(|client, server| {
                let mut theirs = [client.fingerprint().clone(), server.fingerprint().clone()];
                theirs[wrong] = Fingerprint::of(Hash::Sha256, b"somebody else's");
                theirs
            });
            pair.run(|_| false);
            assert_eq!(pair.failed[other], Some(DtlsError::Fingerprint));
            assert_eq!(pair.agreed[other], None);
        }
    }

    #[test]
    fn a_fingerprint_is_of_its_hash_and_whole() {
        for (name, len) in [("SHA-256", 32), ("sha-384", 48), ("sha-512", 64)] {
            let hash = Hash::named(name).unwrap();
            assert!(Fingerprint::new(hash, &vec![1; len]).is_some());
            assert!(Fingerprint::new(hash, &vec![1; len - 1]).is_none());
            assert_eq!(Fingerprint::of(hash, b"x").bytes().len(), len);
        }
        assert_eq!(Hash::named("sha-1"), None);
    }

    #[test]
    fn garbage_is_passed_over() {
        let mut pair = Pair::honest();
        let now = pair.now;
        for datagram in [&[][..], &[22], &[22, 254, 253, 0, 0], &[20; 40], &[63; 1200]] {
            pair.ends[1].receive(now, datagram);
        }
        pair.run(|_| false);
        assert!(pair.agreed.iter().all(Option::is_some));
    }
}
