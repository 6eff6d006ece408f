//! Digest authentication (RFC 8760, RFC 7616; RFC 2617 and RFC 2069 as older phones speak them).
//!
//! The verifier knows HA1 only, never a password, and keeps no list of nonces: a nonce carries its
//! own time and a keyed hash of it. Time and secret are arguments.

use std::fmt;
use std::time::Duration;

use md5::Md5;
use sha2::{Digest as _, Sha256};

use crate::text;

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
}

impl Algorithm {
    /// The token on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
            Self::Sha256 => "SHA-256",
            Self::Sha256Sess => "SHA-256-sess",
        }
    }

    /// Reads the token in any case.
    pub fn parse(token: &str) -> Option<Self> {
        [Self::Md5, Self::Md5Sess, Self::Sha256, Self::Sha256Sess]
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(token))
    }

    /// Whether the key is hashed with nonce and cnonce.
    pub fn is_session(self) -> bool {
        matches!(self, Self::Md5Sess | Self::Sha256Sess)
    }

    /// The algorithm whose HA1 this one needs: MD5 or SHA-256.
    pub fn base(self) -> Self {
        match self {
            Self::Md5 | Self::Md5Sess => Self::Md5,
            Self::Sha256 | Self::Sha256Sess => Self::Sha256,
        }
    }

    fn hash(self, parts: &[&str]) -> String {
        let joined = parts.join(":");
        match self.base() {
            Self::Md5 | Self::Md5Sess => hex(&Md5::digest(joined.as_bytes())),
            Self::Sha256 | Self::Sha256Sess => hex(&Sha256::digest(joined.as_bytes())),
        }
    }
}

/// `H(user:realm:password)` in lower-case hex: what is stored instead of a password.
pub fn ha1(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> String {
    algorithm.hash(&[user, realm, password])
}

/// Makes nonces and knows its own again.
#[derive(Clone)]
pub struct Nonces {
    secret: [u8; 32],
    lifetime: Duration,
}

/// What a nonce in a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceState {
    /// Ours and in time.
    Fresh,
    /// Ours but too old: challenge again with `stale=true`, so that the phone does not ask its
    /// user for the password.
    Stale,
    /// Not ours.
    Foreign,
}

impl Nonces {
    /// `secret` must be random; whoever knows it can forge nonces (not responses).
    pub fn new(secret: [u8; 32], lifetime: Duration) -> Self {
        Self { secret, lifetime }
    }

    /// A nonce of this moment: seconds since any fixed time, the same one in [`Nonces::check`].
    pub fn issue(&self, now_s: u64) -> String {
        format!("{now_s:016x}{}", self.seal(now_s))
    }

    /// Whether a nonce is ours and in time.
    pub fn check(&self, now_s: u64, nonce: &str) -> NonceState {
        let Some((time, seal)) = nonce.split_at_checked(16) else { return NonceState::Foreign };
        let Ok(issued_s) = u64::from_str_radix(time, 16) else { return NonceState::Foreign };
        if !is_equal(seal, &self.seal(issued_s)) {
            return NonceState::Foreign;
        }
        let age = now_s.saturating_sub(issued_s);
        if age > self.lifetime.as_secs() { NonceState::Stale } else { NonceState::Fresh }
    }

    fn seal(&self, time_s: u64) -> String {
        let mut hash = Sha256::new();
        hash.update(self.secret);
        hash.update(time_s.to_be_bytes());
        hash.update(self.secret);
        hex(&hash.finalize()[..16])
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
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
        let has_cnonce = self.has_qop_auth || self.algorithm.is_session();
        let mut credentials = Credentials {
            user: user.to_owned(),
            realm: self.realm.clone(),
            nonce: self.nonce.clone(),
            uri: uri.to_owned(),
            response: String::new(),
            algorithm: self.algorithm,
            qop: self.has_qop_auth.then(|| String::from("auth")),
            nonce_count: self.has_qop_auth.then(|| format!("{count:08x}")),
            cnonce: has_cnonce.then(|| cnonce.to_owned()),
            opaque: self.opaque.clone(),
        };
        credentials.response = credentials.expected(method, ha1).unwrap_or_default();
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
        if self.has_qop_auth {
            f.write_str(", qop=\"auth\"")?;
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
    /// Who says to be asking.
    pub user: String,
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
    /// `auth`, or nothing from old clients. `auth-int` is never accepted.
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
        Some(Self {
            user,
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

    /// Whether the response proves knowledge of the password behind `ha1` (the hex of [`ha1`] for
    /// this realm and [`Algorithm::base`]). Whether the nonce is ours is asked apart.
    pub fn verify(&self, method: &str, ha1: &str) -> bool {
        match self.expected(method, &ha1.to_ascii_lowercase()) {
            Some(expected) => is_equal(&self.response.to_ascii_lowercase(), &expected),
            None => false,
        }
    }

    fn expected(&self, method: &str, ha1: &str) -> Option<String> {
        let hash = |parts: &[&str]| self.algorithm.hash(parts);
        let session_key;
        let mut key = ha1;
        if self.algorithm.is_session() {
            session_key = hash(&[ha1, &self.nonce, self.cnonce.as_deref()?]);
            key = &session_key;
        }
        let ha2 = hash(&[method, &self.uri]);
        let Some(qop) = &self.qop else { return Some(hash(&[key, &self.nonce, &ha2])) };
        if !qop.eq_ignore_ascii_case("auth") {
            return None;
        }
        let (count, cnonce) = (self.nonce_count.as_deref()?, self.cnonce.as_deref()?);
        let is_hex = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| hash(&[key, &self.nonce, count, cnonce, qop, &ha2]))
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{}\", algorithm={}",
            text::quote(&self.user),
            text::quote(&self.realm),
            text::quote(&self.nonce),
            text::quote(&self.uri),
            self.response,
            self.algorithm.as_str(),
        )?;
        if let Some(cnonce) = &self.cnonce {
            write!(f, ", cnonce={}", text::quote(cnonce))?;
        }
        if let (Some(qop), Some(count)) = (&self.qop, &self.nonce_count) {
            write!(f, ", qop={qop}, nc={count}")?;
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
        for algorithm in
            [Algorithm::Md5, Algorithm::Md5Sess, Algorithm::Sha256, Algorithm::Sha256Sess]
        {
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
    fn nonces_are_ours_for_their_lifetime() {
        let nonces = Nonces::new([7; 32], Duration::from_secs(60));
        let nonce = nonces.issue(1000);
        for (now_s, want) in [
            (1000, NonceState::Fresh),
            (1060, NonceState::Fresh),
            (1061, NonceState::Stale),
            (900, NonceState::Fresh),
        ] {
            assert_eq!(nonces.check(now_s, &nonce), want);
        }
        let other = Nonces::new([8; 32], Duration::from_secs(60));
        let mut forged = nonce.clone();
        forged.replace_range(15..16, "f");
        for foreign in [other.issue(1000), forged, String::new(), "张".repeat(20)] {
            assert_eq!(nonces.check(1000, &foreign), NonceState::Foreign);
        }
    }
}
