//! The session cookie: a random token that only the browser holds; the database has its hash.

use cheling_model::Timestamp;
use rand::Rng as _;
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use warp::http::{HeaderMap, HeaderValue, header};

/// The cookie's name.
pub const COOKIE: &str = "cheling_session";
/// A session ends when it was not used for this long.
pub const IDLE: Duration = Duration::from_secs(12 * 3600);
/// A session ends at this age, used or not.
pub const ABSOLUTE: Duration = Duration::from_secs(7 * 24 * 3600);
/// A use moves the end only if that is this much later: one write a minute, not one a request.
const STEP: Duration = Duration::from_secs(60);

/// 32 random bytes in hex.
pub fn mint_token() -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    hex(&bytes)
}

/// What the database keeps of a token.
pub fn hash_of(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// When a session began: its id says so (UUIDv7, to the millisecond).
pub fn born(session_id: uuid::Uuid) -> Timestamp {
    let (seconds, nanos) = session_id.get_timestamp().map_or((0, 0), |at| at.to_unix());
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX / 2_000_000);
    Timestamp::from_micros(seconds.saturating_mul(1_000_000) + i64::from(nanos / 1000))
}

/// When a session that is used now ends, if that should be written down.
pub fn prolonged(created: Timestamp, expires: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let end = (now + IDLE).min(created + ABSOLUTE);
    (end.since(expires) >= STEP).then_some(end)
}

/// The token of a request, if it carries one that can be ours.
pub fn token_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|c| c.split_once('='));
    let (_, token) = pairs.find(|(name, _)| name.trim() == COOKIE)?;
    let token = token.trim();
    (token.len() == 64 && token.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(token)
}

/// `Set-Cookie` for a new session, or, with an empty token, for one that has ended.
pub fn set_cookie(token: &str, is_secure: bool) -> HeaderValue {
    let age = if token.is_empty() { 0 } else { ABSOLUTE.as_secs() };
    let secure = if is_secure { "; Secure" } else { "" };
    let text = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}");
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_of_ours_is_read_from_the_cookies() {
        let token = mint_token();
        for (line, want) in [
            (format!("{COOKIE}={token}"), true),
            (format!("theme=dark; {COOKIE}={token}; lang=zh-CN"), true),
            (format!("x{COOKIE}={token}"), false),
            (format!("{COOKIE}=short"), false),
            (format!("{COOKIE}={}", "g".repeat(64)), false),
            (String::new(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, HeaderValue::try_from(&line).unwrap());
            assert_eq!(token_of(&headers), want.then_some(token.as_str()), "{line}");
        }
        assert_eq!(hash_of("abc").len(), 64);
        assert_ne!(hash_of(&token), token);
    }

    #[test]
    fn a_session_ends_12_hours_after_its_last_use_and_7_days_after_its_first() {
        let hours = |n: i64| Timestamp::from_micros(n * 3_600_000_000);
        assert_eq!(prolonged(hours(0), hours(12), hours(1)), Some(hours(13)));
        assert_eq!(prolonged(hours(0), hours(168), hours(160)), None);
        assert_eq!(prolonged(hours(0), hours(167), hours(160)), Some(hours(168)));
        let soon = Timestamp::from_micros(30_000_000);
        assert_eq!(prolonged(hours(0), hours(12), soon), None, "not one write a request");
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let cookie = set_cookie("ab", false);
        assert_eq!(cookie, "cheling_session=ab; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800");
        assert!(set_cookie("ab", true).to_str().unwrap().ends_with("; Secure"));
        assert!(set_cookie("", false).to_str().unwrap().contains("Max-Age=0"));
    }
}
