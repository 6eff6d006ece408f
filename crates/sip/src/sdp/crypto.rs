//! SRTP keys in a session description: the `a=crypto` lines (SDES, RFC 4568) of the audio line, and
//! its transport protocol.
//!
//! Belongs here: reading and writing the lines. Does not: what a suite does (a name here), which of
//! several is chosen.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sdp_types::Attribute;

use super::Sdp;

/// The most crypto lines that are looked at.
const MAX_LINES: usize = 32;
/// The longest key identifier: one byte says more than enough keys.
const MAX_MKI_BYTES: u8 = 128;

/// One way of protecting what the writer of the line will send.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    /// Names the line; the answer repeats the one it has chosen.
    pub tag: u32,
    /// The crypto suite's name, such as `AES_CM_128_HMAC_SHA1_80`.
    pub suite: String,
    /// The master key and the master salt after it. Never printed.
    pub key_and_salt: Vec<u8>,
    /// Bytes of the key identifier in each packet; 0 without one.
    pub mki_bytes: u8,
}

impl Crypto {
    /// Reads the value of an `a=crypto` line (RFC 4568 §9.1). `None` if it cannot be read, has
    /// several keys, or asks for something that not everybody does: plain SRTCP, no
    /// authentication, keys derived again and again.
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next()?.parse().ok()?;
        let suite = words.next()?.to_owned();
        let (method, key) = words.next()?.split_once(':')?;
        if !method.eq_ignore_ascii_case("inline") || key.contains(';') {
            return None;
        }
        let is_harmless = |word: &str| {
            let upper = word.to_ascii_uppercase();
            // A parameter after a dash may be passed over (RFC 4568 §6.3.7).
            upper.starts_with('-') || upper.starts_with("WSH=") || upper == "KDR=0"
        };
        if !words.all(is_harmless) {
            return None;
        }
        let mut parts = key.split('|');
        let key = parts.next()?;
        let key_and_salt = STANDARD.decode(key).or_else(|_| STANDARD_NO_PAD.decode(key)).ok()?;
        // Lifetime and identifier may both be there or not; only the latter has a colon.
        let mki_bytes = match parts.find_map(|part| part.split_once(':')) {
            Some((_, len)) => len.parse().ok().filter(|len| (1..=MAX_MKI_BYTES).contains(len))?,
            None => 0,
        };
        Some(Self { tag, suite, key_and_salt, mki_bytes })
    }

    fn write(&self) -> String {
        format!("{} {} inline:{}", self.tag, self.suite, STANDARD.encode(&self.key_and_salt))
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crypto({} {})", self.tag, self.suite)
    }
}

impl Sdp {
    /// The crypto lines of the line [`Sdp::audio`] finds that can be read, in their order.
    pub fn crypto(&self) -> Vec<Crypto> {
        let Some(audio) = self.audio() else { return Vec::new() };
        let attributes = &self.session.medias[audio.index].attributes;
        attributes
            .iter()
            .filter(|attribute| attribute.attribute.eq_ignore_ascii_case("crypto"))
            .take(MAX_LINES)
            .filter_map(|attribute| Crypto::parse(attribute.value.as_deref()?))
            .collect()
    }

    /// Has the audio line carried over `protocol` and protected as `lines` say, whatever was said
    /// of it before.
    pub fn set_crypto(&mut self, protocol: &str, lines: &[Crypto]) {
        let Some(audio) = self.audio() else { return };
        self.clear_protection(&audio);
        let media = &mut self.session.medias[audio.index];
        media.proto = protocol.to_owned();
        for line in lines {
            media.attributes.push(Attribute::with_value("crypto", line.write()));
        }
    }
}

/// Shows the text, keys left out: descriptions get into logs of what surrounds them.
impl fmt::Debug for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.to_bytes();
        let text = String::from_utf8_lossy(&bytes);
        for line in text.lines() {
            let lower = line.to_ascii_lowercase();
            let secret = ["a=crypto", "a=ice-pwd", "a=key-mgmt", "k="]
                .into_iter()
                .find(|secret| lower.starts_with(secret));
            match secret {
                Some(secret) => writeln!(f, "{secret}…")?,
                None => writeln!(f, "{line}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    #[test]
    fn crypto_lines_are_read_as_devices_write_them() {
        let secret = STANDARD.decode(KEY).unwrap();
        for (value, mki_bytes) in [
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"), 0),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4"), 4),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4"), 4),
            (format!("1  AES_CM_128_HMAC_SHA1_80\tINLINE:{KEY}|2^48  WSH=64"), 0),
            (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} -FUTURE KDR=0"), 0),
        ] {
            let crypto = Crypto::parse(&value).unwrap();
            assert_eq!((crypto.tag, crypto.mki_bytes), (1, mki_bytes), "{value}");
            assert_eq!(crypto.key_and_salt, secret);
        }
        for value in [
            "",
            "1",
            "x AES_CM_128_HMAC_SHA1_80 inline:AAAA",
            "1 AES_CM_128_HMAC_SHA1_80 inline:!!",
            "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA|1:0",
            "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA|2^20|1:4;inline:AAAA|2^20|2:4",
            "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA UNENCRYPTED_SRTP",
            "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA UNENCRYPTED_SRTCP",
            "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA UNAUTHENTICATED_SRTP",
            "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA KDR=24",
            "1 AES_CM_128_HMAC_SHA1_80 uri:https://keys.example",
        ] {
            assert_eq!(Crypto::parse(value), None, "{value}");
        }
    }

    #[test]
    fn lines_are_set_and_read_back_and_never_shown() {
        let mut sdp = Sdp::parse(
            b"v=0\r\no=x 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n\
              m=video 4 RTP/SAVP 97\r\na=crypto:9 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\n\
              m=audio 6 RTP/AVP 8\r\na=crypto:1 NULL inline:AAAA\r\n",
        )
        .unwrap();
        let line = Crypto {
            tag: 2,
            suite: String::from("AEAD_AES_128_GCM"),
            key_and_salt: (0..28).collect(),
            mki_bytes: 0,
        };
        sdp.set_crypto("RTP/SAVP", std::slice::from_ref(&line));
        let read = Sdp::parse(&sdp.to_bytes()).unwrap();
        assert_eq!(read.crypto(), [line]);
        assert!(read.audio().unwrap().is_secure());
        let shown = format!("{read:?}");
        assert!(shown.contains("a=crypto…") && !shown.contains("inline"), "{shown}");
    }
}
