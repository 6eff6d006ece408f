//! Answers digest challenges (RFC 2617, as RFC 3261 §22 uses it), MD5 with and without `qop`.
//!
//! `rsip`'s own generator cannot count a nonce past nine and confuses MD5-sess with MD5, so the
//! few lines are written here.

use md5::{Digest, Md5};

/// One challenge of a 401 or 407.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    has_qop_auth: bool,
    /// The server says that only the nonce was too old (RFC 2617 §3.2.1).
    pub(crate) is_stale: bool,
}

impl Challenge {
    /// Reads the value of WWW-Authenticate or Proxy-Authenticate; `None` if it is no digest
    /// with MD5, so that the next of several challenges is tried.
    pub(crate) fn read(value: &str) -> Option<Self> {
        let scheme = value.get(..6)?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let parameters = parameters(&value[6..]);
        let find = |name: &str| {
            parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone())
        };
        if find("algorithm").is_some_and(|algorithm| !algorithm.eq_ignore_ascii_case("md5")) {
            return None;
        }
        Some(Self {
            realm: find("realm")?,
            nonce: find("nonce")?,
            opaque: find("opaque"),
            has_qop_auth: find("qop")
                .is_some_and(|qop| qop.split(',').any(|q| q.trim().eq_ignore_ascii_case("auth"))),
            is_stale: find("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// Writes the value of Authorization or Proxy-Authorization.
    ///
    /// `count` is how often this nonce has been used, this time included.
    pub(crate) fn answer(
        &self,
        (user, password): (&str, &str),
        (method, uri): (&str, &str),
        client_nonce: &str,
        count: u32,
    ) -> String {
        let Self { realm, nonce, .. } = self;
        let secret = hex_md5(&format!("{user}:{realm}:{password}"));
        let request = hex_md5(&format!("{method}:{uri}"));
        let (response, qop) = if self.has_qop_auth {
            let count = format!("{count:08x}");
            let response =
                hex_md5(&format!("{secret}:{nonce}:{count}:{client_nonce}:auth:{request}"));
            (response, format!(", qop=auth, nc={count}, cnonce=\"{client_nonce}\""))
        } else {
            (hex_md5(&format!("{secret}:{nonce}:{request}")), String::new())
        };
        let opaque = self.opaque.as_ref().map(|o| format!(", opaque=\"{o}\"")).unwrap_or_default();
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm=MD5{qop}{opaque}"
        )
    }
}

fn hex_md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Splits `name=value, name="quoted, value"` (RFC 3261 §25.1 auth-param).
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, remaining) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        found.push((name.trim().to_owned(), value.trim().to_owned()));
        rest = remaining.trim_start_matches([',', ' ', '\t']);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 2617 §3.5.
    #[test]
    fn answers_the_example_of_the_rfc() {
        let challenge = Challenge::read(
            "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
             nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"",
        )
        .unwrap();
        let answer = challenge.answer(
            ("Mufasa", "Circle Of Life"),
            ("GET", "/dir/index.html"),
            "0a4f113b",
            1,
        );
        assert!(answer.contains("response=\"6629fae49393a05397450978507c4ef1\""), "{answer}");
        assert!(answer.contains("nc=00000001"), "{answer}");
    }

    #[test]
    fn passes_over_what_it_cannot_answer() {
        assert_eq!(Challenge::read("Digest realm=\"a\", nonce=\"b\", algorithm=SHA-256"), None);
        assert_eq!(Challenge::read("Basic realm=\"a\""), None);
        assert_eq!(Challenge::read("Dig"), None);
        assert!(
            Challenge::read("digest nonce=b ,realm=a,algorithm=md5,stale=TRUE").unwrap().is_stale
        );
    }
}
