//! Digest authentication (RFC 8760, RFC 7616; RFC 2617 and RFC 2069 as older phones speak them).
//!
//! The verifier knows HA1 only, never a password. Nonces, and how often each was used, are in
//! [`nonce`].

use std::fmt;

use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512_256};

use crate::text;

pub mod nonce;

pub use nonce::{NonceLedger, NonceState, NonceUse, Nonces};

/// A hash of RFC 7616, and whether its key is bound to the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// `MD5`, also where no algorithm is named.
    #[default]
    Md5,
    /// `MD5-sess`.
    Md5Sess,
    /// `SHA-256`.
    Sha256,
    /// `SHA-256-sess`.
    Sha256Sess,
    /// `SHA-512-256`.
    Sha512_256,
    /// `SHA-512-256-sess`.
    Sha512_256Sess,
}

const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Md5,
    Algorithm::Md5Sess,
    Algorithm::Sha256,
    Algorithm::Sha256Sess,
    Algorithm::Sha512_256,
    Algorithm::Sha512_256Sess,
];

impl Algorithm {
    /// The token on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
            Self::Sha512_256 => "SHA-512-256",
            Self::Sha512_256Sess => "SHA-512-256-sess",
        }
    }

    /// Reads the token in any case.
    pub fn parse(token: &str) -> Option<Self> {
        ALGORITHMS.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(token))
    }

    /// Whether the key is hashed with nonce and cnonce.
    pub fn is_session(self) -> bool {
        matches!(self, Self::Md5Sess | Self::Sha256Sess | Self::Sha512_256Sess)
    }

    /// The algorithm whose HA1 this one needs: MD5, SHA-256 or SHA-512-256.
    pub fn base(self) -> Self {
        match self {
            Self::Md5 | Self::Md5Sess => Self::Md5,
            Self::Sha256 | Self::Sha256Sess => Self::Sha256,
            Self::Sha512_256 | Self::Sha512_256Sess => Self::Sha512_256,
        }
    }

    fn hash(self, parts: &[&str]) -> String {
        self.hash_octets(parts.join(":").as_bytes())
    }

    fn hash_octets(self, octets: &[u8]) -> String {
        match self {
            Self::Md5 | Self::Md5Sess => hex(&Md5::digest(octets)),
            Self::Sha256 | Self::Sha256Sess => hex(&Sha256::digest(octets)),
            Self::Sha512_256 | Self::Sha512_256Sess => hex(&Sha512_256::digest(octets)),
        }
    }
}

/// `H(user:realm:password)` in lower-case hex: what is stored instead of a password.
pub fn ha1(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> String {
    algorithm.hash(&[user, realm, password])
}

/// The request that an answer proves: what of it is hashed.
#[derive(Clone, Copy, Debug)]
pub struct Proved<'a> {
    /// The method.
    pub method: &'a str,
    /// The Request-URI as the client writes it.
    pub uri: &'a str,
    /// The body, which `auth-int` hashes too.
    pub body: &'a [u8],
}

/// A WWW-Authenticate or Proxy-Authenticate value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// What the password is for.
    pub realm: String,
    /// The server's nonce.
    pub nonce: String,
    /// The hash demanded.
    pub algorithm: Algorithm,
    /// Whether the server offers `qop=auth`.
    pub has_qop_auth: bool,
    /// Whether the server offers `qop=auth-int`, which is used only where `auth` is not offered:
    /// whatever changes a body on the way would break it.
    pub has_qop_auth_int: bool,
    /// Whether the password was right and only the nonce too old.
    pub is_stale: bool,
    /// To be given back as it is.
    pub opaque: Option<String>,
}

impl Challenge {
    /// A challenge of ours, with `qop=auth`.
    pub fn new(realm: &str, nonce: &str, algorithm: Algorithm, is_stale: bool) -> Self {
        Self {
            realm: realm.to_owned(),
            nonce: nonce.to_owned(),
            algorithm,
            has_qop_auth: true,
            has_qop_auth_int: false,
            is_stale,
            opaque: None,
        }
    }

    /// Reads a challenge; `None` if it is not Digest or of an algorithm we do not have.
    pub fn parse(value: &str) -> Option<Self> {
        let fields = Fields::parse(value)?;
        let algorithm = match fields.get("algorithm") {
            Some(token) => Algorithm::parse(token)?,
            None => Algorithm::Md5,
        };
        let offers = |token: &str| {
            fields.get("qop").is_some_and(|qop| {
                qop.split(',').any(|offered| offered.trim().eq_ignore_ascii_case(token))
            })
        };
        Some(Self {
            realm: fields.get("realm")?.to_owned(),
            nonce: fields.get("nonce")?.to_owned(),
            algorithm,
            has_qop_auth: offers("auth"),
            has_qop_auth_int: offers("auth-int"),
            is_stale: fields.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
            opaque: fields.get("opaque").map(str::to_owned),
        })
    }

    /// The Authorization or Proxy-Authorization that answers this challenge.
    ///
    /// `ha1` is that of the challenge's realm and algorithm ([`ha1`]); `cnonce` must be random;
    /// `count` is 1 for the first use of this nonce, then 2, and so on.
    pub fn answer(
        &self,
        user: &str,
        ha1: &str,
        method: &str,
        uri: &str,
        cnonce: &str,
        count: u32,
    ) -> Credentials {
        self.answer_request(user, ha1, Proved { method, uri, body: b"" }, cnonce, count)
    }

    /// The same for a request with a body: what to use where the server may offer `auth-int` alone.
    pub fn answer_request(
        &self,
        user: &str,
        ha1: &str,
        request: Proved<'_>,
        cnonce: &str,
        count: u32,
    ) -> Credentials {
        let qop = match (self.has_qop_auth, self.has_qop_auth_int) {
            (true, _) => Some("auth"),
            (false, true) => Some("auth-int"),
            (false, false) => None,
        };
        let has_cnonce = qop.is_some() || self.algorithm.is_session();
        let mut credentials = Credentials {
            user: user.to_owned(),
            is_user_hashed: false,
            realm: self.realm.clone(),
            nonce: self.nonce.clone(),
            uri: request.uri.to_owned(),
            response: String::new(),
            algorithm: self.algorithm,
            qop: qop.map(str::to_owned),
            nonce_count: qop.map(|_| format!("{count:08x}")),
            cnonce: has_cnonce.then(|| cnonce.to_owned()),
            opaque: self.opaque.clone(),
        };
        let response = credentials.expected(request.method, ha1, Some(request.body));
        credentials.response = response.unwrap_or_default();
        credentials
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest realm={}, nonce={}", text::quote(&self.realm), text::quote(&self.nonce))?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", text::quote(opaque))?;
        }
        write!(f, ", algorithm={}", self.algorithm.as_str())?;
        match (self.has_qop_auth, self.has_qop_auth_int) {
            (true, true) => f.write_str(", qop=\"auth,auth-int\"")?,
            (true, false) => f.write_str(", qop=\"auth\"")?,
            (false, true) => f.write_str(", qop=\"auth-int\"")?,
            (false, false) => {}
        }
        if self.is_stale {
            f.write_str(", stale=true")?;
        }
        Ok(())
    }
}

/// An Authorization or Proxy-Authorization value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Who says to be asking; see [`Credentials::names`].
    pub user: String,
    /// Whether `user` is a hash of the user and realm (RFC 7616 §3.4.4).
    pub is_user_hashed: bool,
    /// The realm of the challenge answered.
    pub realm: String,
    /// The nonce of the challenge answered; see [`Nonces::check`].
    pub nonce: String,
    /// The Request-URI as the client hashed it.
    pub uri: String,
    /// The proof, in hex.
    pub response: String,
    /// MD5 if none was named.
    pub algorithm: Algorithm,
    /// `auth`, `auth-int`, or nothing from old clients.
    pub qop: Option<String>,
    /// `nc` as written: hex of any length.
    pub nonce_count: Option<String>,
    /// The client's own nonce.
    pub cnonce: Option<String>,
    /// Given back as it was.
    pub opaque: Option<String>,
}

impl Credentials {
    /// Reads a header value; `None` if it is not Digest, lacks a part, or names an algorithm we
    /// do not have.
    pub fn parse(value: &str) -> Option<Self> {
        let fields = Fields::parse(value)?;
        let algorithm = match fields.get("algorithm") {
            Some(token) => Algorithm::parse(token)?,
            None => Algorithm::Md5,
        };
        let owned = |name: &str| fields.get(name).map(str::to_owned);
        let user = owned("username").or_else(|| extended(fields.get("username*")?))?;
        let is_token = |name: &str| fields.get(name).is_none_or(text::is_token);
        if !is_token("qop") || !is_token("nc") {
            return None;
        }
        Some(Self {
            user,
            is_user_hashed: fields
                .get("userhash")
                .is_some_and(|is| is.eq_ignore_ascii_case("true")),
            realm: owned("realm")?,
            nonce: owned("nonce")?,
            uri: owned("uri")?,
            response: owned("response")?,
            algorithm,
            qop: owned("qop"),
            nonce_count: owned("nc"),
            cnonce: owned("cnonce"),
            opaque: owned("opaque"),
        })
    }

    /// The nonce count as a number; `None` if absent or not hex.
    pub fn count(&self) -> Option<u64> {
        u64::from_str_radix(self.nonce_count.as_deref()?, 16).ok()
    }

    /// Whether this user is meant, be the name plain or hashed (RFC 7616 §3.4.4).
    pub fn names(&self, user: &str) -> bool {
        if !self.is_user_hashed {
            return self.user == user;
        }
        let hashed = self.algorithm.hash(&[user, &self.realm]);
        is_equal(&self.user.to_ascii_lowercase(), &hashed)
    }

    /// Whether the response proves knowledge of the password behind `ha1` (the hex of [`ha1`] for
    /// this realm and [`Algorithm::base`]). Whether the nonce is ours is asked apart. `auth-int`
    /// needs the body and does not hold here.
    pub fn verify(&self, method: &str, ha1: &str) -> bool {
        self.proves(self.expected(method, &ha1.to_ascii_lowercase(), None))
    }

    /// The same for a request with this body, `auth-int` included.
    pub fn verify_with_body(&self, method: &str, body: &[u8], ha1: &str) -> bool {
        self.proves(self.expected(method, &ha1.to_ascii_lowercase(), Some(body)))
    }

    fn proves(&self, expected: Option<String>) -> bool {
        expected.is_some_and(|expected| is_equal(&self.response.to_ascii_lowercase(), &expected))
    }

    fn expected(&self, method: &str, ha1: &str, body: Option<&[u8]>) -> Option<String> {
        let hash = |parts: &[&str]| self.algorithm.hash(parts);
        let session_key;
        let mut key = ha1;
        if self.algorithm.is_session() {
            session_key = hash(&[ha1, &self.nonce, self.cnonce.as_deref()?]);
            key = &session_key;
        }
        let Some(qop) = &self.qop else {
            return Some(hash(&[key, &self.nonce, &hash(&[method, &self.uri])]));
        };
        let ha2 = if qop.eq_ignore_ascii_case("auth") {
            hash(&[method, &self.uri])
        } else if qop.eq_ignore_ascii_case("auth-int") {
            hash(&[method, &self.uri, &self.algorithm.hash_octets(body?)])
        } else {
            return None;
        };
        let (count, cnonce) = (self.nonce_count.as_deref()?, self.cnonce.as_deref()?);
        let is_hex = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| hash(&[key, &self.nonce, count, cnonce, qop, &ha2]))
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Digest username={}, realm={}, nonce={}, uri={}, response={}, algorithm={}",
            text::quote(&self.user),
            text::quote(&self.realm),
            text::quote(&self.nonce),
            text::quote(&self.uri),
            text::quote(&self.response),
            self.algorithm.as_str(),
        )?;
        if let Some(cnonce) = &self.cnonce {
            write!(f, ", cnonce={}", text::quote(cnonce))?;
        }
        if let (Some(qop), Some(count)) = (&self.qop, &self.nonce_count) {
            write!(f, ", qop={qop}, nc={count}")?;
        }
        if self.is_user_hashed {
            f.write_str(", userhash=true")?;
        }
        match &self.opaque {
            Some(opaque) => write!(f, ", opaque={}", text::quote(opaque)),
            None => Ok(()),
        }
    }
}

/// The `name=value` list behind the word Digest.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        let (scheme, rest) = value.split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let fields = text::split_outside_quotes(rest, b',').into_iter().filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), text::unquote(value).into_owned()))
        });
        Some(Self(fields.collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// `UTF-8''%e5%bc%a0` (RFC 5987).
fn extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let charset = parts.next()?;
    let escaped = parts.nth(1)?;
    charset.eq_ignore_ascii_case("UTF-8").then(|| text::unescape(escaped).into_owned())
}

/// Compares in a time that depends on the length only.
fn is_equal(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left.bytes().zip(right.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_verify() {
        // RFC 2617 §3.5 and RFC 7616 §3.9.1.
        let old = r#"Digest username="Mufasa", realm="testrealm@host.com",
            nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", uri="/dir/index.html", qop=auth,
            nc=00000001, cnonce="0a4f113b", response="6629fae49393a05397450978507c4ef1",
            opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let credentials = Credentials::parse(old).unwrap();
        let key = ha1(Algorithm::Md5, "Mufasa", "testrealm@host.com", "Circle Of Life");
        assert!(credentials.verify("GET", &key));
        assert!(!credentials.verify("POST", &key));
        let new = r#"Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html",
            algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc=00000001,
            cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth,
            response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1""#;
        let credentials = Credentials::parse(new).unwrap();
        let key = ha1(Algorithm::Sha256, "Mufasa", "http-auth@example.org", "Circle of Life");
        assert!(credentials.verify("GET", &key.to_uppercase()));
    }

    #[test]
    fn every_kind_of_answer_verifies_and_only_with_its_password() {
        for algorithm in ALGORITHMS {
            for has_qop_auth in [true, false] {
                let mut challenge = Challenge::new("车行", "abc", algorithm, false);
                challenge.has_qop_auth = has_qop_auth;
                let challenge = Challenge::parse(&challenge.to_string()).unwrap();
                let key = ha1(algorithm, "1001", "车行", "secret");
                let answer = challenge.answer("1001", &key, "REGISTER", "sip:h", "c\"n", 10);
                let credentials = Credentials::parse(&answer.to_string()).unwrap();
                assert_eq!(credentials.count(), has_qop_auth.then_some(10));
                assert!(credentials.verify("REGISTER", &key), "{algorithm:?} {has_qop_auth}");
                assert!(!credentials.verify("REGISTER", &ha1(algorithm, "1001", "车行", "no")));
            }
        }
    }

    #[test]
    fn counts_of_any_length_and_loose_spelling_are_read() {
        let key = ha1(Algorithm::Md5, "u", "r", "p");
        for count in ["1", "0000000a", "00000000000000ff"] {
            let ha2 = Algorithm::Md5.hash(&["INVITE", "sip:h"]);
            let response = Algorithm::Md5.hash(&[&key, "n", count, "c", "auth", &ha2]);
            let value = format!(
                "DIGEST  USERNAME = \"u\",realm=\"r\" ,nonce=\"n\",,uri=\"sip:h\",\
                 response=\"{}\",qop=\"auth\",nc={count},cnonce=c,algorithm=\"md5\"",
                response.to_uppercase()
            );
            assert!(Credentials::parse(&value).unwrap().verify("INVITE", &key), "{count}");
        }
    }

    #[test]
    fn what_cannot_be_verified_is_refused() {
        for value in [
            "Basic dTpw",
            "Digest",
            "Digest username=\"u\"",
            "Digest username=u,realm=r,nonce=n,uri=u,response=r,algorithm=SHA-1",
        ] {
            assert!(Credentials::parse(value).is_none(), "{value}");
        }
        for tail in [
            "qop=auth-int,nc=1,cnonce=c",
            "qop=auth-conf,nc=1,cnonce=c",
            "qop=auth,nc=1",
            "qop=auth,nc=zz,cnonce=c",
            "algorithm=MD5-sess",
        ] {
            let value = format!("Digest username=u,realm=r,nonce=n,uri=u,response=,{tail}");
            assert!(!Credentials::parse(&value).unwrap().verify("INVITE", ""), "{tail}");
        }
        let value = "Digest username*=UTF-8''%E5%BC%A0,realm=r,nonce=n,uri=u,response=r";
        assert_eq!(Credentials::parse(value).unwrap().user, "张");
    }

    #[test]
    fn auth_int_binds_the_body_and_is_used_only_when_nothing_else_is_offered() {
        let key = ha1(Algorithm::Sha512_256, "u", "r", "p");
        let mut challenge = Challenge::new("r", "n", Algorithm::Sha512_256, false);
        challenge.has_qop_auth_int = true;
        let request = Proved { method: "INVITE", uri: "sip:h", body: b"v=0" };
        for (has_qop_auth, qop) in [(true, "auth"), (false, "auth-int")] {
            challenge.has_qop_auth = has_qop_auth;
            let read = Challenge::parse(&challenge.to_string()).unwrap();
            assert_eq!(read, challenge);
            let answer = read.answer_request("u", &key, request, "c", 1);
            let credentials = Credentials::parse(&answer.to_string()).unwrap();
            assert_eq!(credentials.qop.as_deref(), Some(qop));
            assert!(credentials.verify_with_body("INVITE", b"v=0", &key));
            assert_eq!(credentials.verify_with_body("INVITE", b"v=1", &key), has_qop_auth);
            assert_eq!(credentials.verify("INVITE", &key), has_qop_auth);
        }
    }

    #[test]
    fn a_hashed_user_is_known_again() {
        // The user and realm of RFC 7616 §3.9.2, hashed with SHA-512-256.
        let hashed = Algorithm::Sha512_256.hash(&["Jäsøn Doe", "api@example.org"]);
        let value = format!(
            "Digest username=\"{}\", userhash=true, realm=\"api@example.org\", nonce=n, uri=u, \
             response=r, algorithm=SHA-512-256",
            hashed.to_uppercase()
        );
        let credentials = Credentials::parse(&value).unwrap();
        assert!(credentials.is_user_hashed && credentials.names("Jäsøn Doe"));
        assert!(!credentials.names("Jason Doe") && !credentials.names(&hashed));
        let plain = Credentials::parse("Digest username=u,realm=r,nonce=n,uri=u,response=r");
        assert!(plain.unwrap().names("u"));
    }
}
