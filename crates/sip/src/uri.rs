//! URIs: `sip:` and `sips:` (RFC 3261 §19.1), `tel:` (RFC 3966), and all others as text.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::params::Params;
use crate::text;

/// A request's target or a party's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uri {
    /// `sip:` or `sips:`.
    Sip(SipUri),
    /// `tel:`.
    Tel(TelUri),
    /// Any other scheme, whole and as written.
    Other(String),
}

/// Whether the URI demands TLS on the way (RFC 3261 §19.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
}

/// A `sip:` or `sips:` URI. All parts keep their escapes, so they are written as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipUri {
    /// `sip` or `sips`.
    pub scheme: Scheme,
    /// What stands before the `@`, without the password. May hold `;` and escapes.
    pub user: Option<String>,
    /// What follows `:` in the user part.
    pub password: Option<String>,
    /// Host name or address, IPv6 with its brackets.
    pub host: String,
    /// The port, if written.
    pub port: Option<u16>,
    /// `;transport=tcp;lr` and so on.
    pub params: Params,
    /// What follows `?`, unread.
    pub headers: Option<String>,
}

/// A `tel:` URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelUri {
    /// The digits as written, with `+` and separators.
    pub number: String,
    /// `;phone-context=…` and so on.
    pub params: Params,
}

/// Why a text is no URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// No `scheme:` at the start.
    #[error("no URI scheme")]
    Scheme,
    /// Empty host or characters no host name has.
    #[error("bad host in URI")]
    Host,
    /// The port is not 0 to 65535.
    #[error("bad port in URI")]
    Port,
    /// White space or angle brackets where none may be.
    #[error("bad character in URI")]
    Character,
}

impl Uri {
    /// Reads a URI without angle brackets.
    ///
    /// # Errors
    /// [`UriError`]; schemes other than `sip`, `sips` and `tel` are only looked at for their name.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let text = text.trim();
        if text.bytes().any(|byte| byte.is_ascii_whitespace() || matches!(byte, b'<' | b'>' | 0)) {
            return Err(UriError::Character);
        }
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Scheme)?;
        if scheme.eq_ignore_ascii_case("sip") {
            return SipUri::parse(Scheme::Sip, rest).map(Self::Sip);
        }
        if scheme.eq_ignore_ascii_case("sips") {
            return SipUri::parse(Scheme::Sips, rest).map(Self::Sip);
        }
        if scheme.eq_ignore_ascii_case("tel") {
            let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
            return Ok(Self::Tel(TelUri {
                number: number.to_owned(),
                params: Params::parse(params),
            }));
        }
        let is_scheme = scheme.starts_with(|char: char| char.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if is_scheme { Ok(Self::Other(text.to_owned())) } else { Err(UriError::Scheme) }
    }

    /// A `sip:` URI of these parts, the user escaped as needed.
    pub fn sip(user: Option<&str>, host: &str, port: Option<u16>) -> Self {
        Self::Sip(SipUri {
            scheme: Scheme::Sip,
            user: user.map(escape_user),
            password: None,
            host: host.to_owned(),
            port,
            params: Params::default(),
            headers: None,
        })
    }

    /// Whether it demands TLS on every hop (RFC 3261 §26.2.2).
    pub fn is_sips(&self) -> bool {
        self.as_sip().is_some_and(|uri| uri.scheme == Scheme::Sips)
    }

    /// The `sip:` or `sips:` URI in it.
    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Self::Sip(sip) => Some(sip),
            Self::Tel(_) | Self::Other(_) => None,
        }
    }

    /// The user part or the telephone number, as written.
    pub fn user(&self) -> Option<&str> {
        match self {
            Self::Sip(sip) => sip.user.as_deref(),
            Self::Tel(tel) => Some(&tel.number),
            Self::Other(_) => None,
        }
    }

    /// The user part or the telephone number with its escapes undone.
    pub fn user_unescaped(&self) -> Option<Cow<'_, str>> {
        self.user().map(text::unescape)
    }

    /// The host as written.
    pub fn host(&self) -> Option<&str> {
        self.as_sip().map(|sip| sip.host.as_str())
    }

    /// Parameters of the URI (not of the header it stands in).
    pub fn params(&self) -> Option<&Params> {
        match self {
            Self::Sip(sip) => Some(&sip.params),
            Self::Tel(tel) => Some(&tel.params),
            Self::Other(_) => None,
        }
    }

    /// Whether both mean the same resource (RFC 3261 §19.1.4, RFC 3966 §4).
    pub fn is_equivalent(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sip(left), Self::Sip(right)) => left.is_equivalent(right),
            (Self::Tel(left), Self::Tel(right)) => {
                let digits = |tel: &TelUri| -> String {
                    tel.number.chars().filter(|char| !"-.()".contains(*char)).collect()
                };
                digits(left).eq_ignore_ascii_case(&digits(right))
                    && params_agree(&left.params, &right.params, &["phone-context", "ext", "isub"])
            }
            (Self::Other(left), Self::Other(right)) => left == right,
            _ => false,
        }
    }
}

impl SipUri {
    fn parse(scheme: Scheme, rest: &str) -> Result<Self, UriError> {
        let (userinfo, rest) = split_user(rest);
        let (user, password) = match userinfo.map(|info| info.split_once(':').unwrap_or((info, "")))
        {
            Some((user, "")) => (Some(user.to_owned()), None),
            Some((user, password)) => (Some(user.to_owned()), Some(password.to_owned())),
            None => (None, None),
        };
        let host_end = rest.find([';', '?']).unwrap_or(rest.len());
        let (host, port) = split_host_port(&rest[..host_end])?;
        let rest = &rest[host_end..];
        let (params, headers) = match rest.split_once('?') {
            Some((params, headers)) => (params, Some(headers.to_owned())),
            None => (rest, None),
        };
        Ok(Self {
            scheme,
            user,
            password,
            host: host.to_owned(),
            port,
            params: Params::parse(params),
            headers,
        })
    }

    /// The host if it is an address and not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(&self.host)
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        let text =
            |part: &Option<String>| part.as_deref().map(|text| text::unescape(text).into_owned());
        let same_host = match (self.ip(), other.ip()) {
            (Some(left), Some(right)) => left == right,
            _ => self.host.eq_ignore_ascii_case(&other.host),
        };
        self.scheme == other.scheme
            && text(&self.user) == text(&other.user)
            && text(&self.password) == text(&other.password)
            && same_host
            && self.port == other.port
            && params_agree(
                &self.params,
                &other.params,
                &["user", "ttl", "method", "maddr", "transport"],
            )
            && headers_agree(self.headers.as_deref(), other.headers.as_deref())
    }
}

/// A parameter in both must match; those in `decisive` must be in both or in neither. Of one that
/// is there twice, the first counts.
fn params_agree(left: &Params, right: &Params, decisive: &[&str]) -> bool {
    let value = |params: &Params, name: &str| {
        params.get(name).map(|value| text::unescape(value).to_ascii_lowercase())
    };
    let agrees = |one: &Params, two: &Params| {
        one.iter().all(|(name, _)| {
            if two.has(name) {
                value(one, name) == value(two, name)
            } else {
                !decisive.iter().any(|decisive| decisive.eq_ignore_ascii_case(name))
            }
        })
    };
    agrees(left, right) && agrees(right, left)
}

fn headers_agree(left: Option<&str>, right: Option<&str>) -> bool {
    let sorted = |headers: Option<&str>| {
        let mut list: Vec<String> = headers
            .unwrap_or("")
            .split('&')
            .map(|part| text::unescape(part).into_owned())
            .collect();
        list.sort();
        list
    };
    sorted(left) == sorted(right)
}

/// Splits at the `@` that ends the user part: the last one before the host's parameters.
fn split_user(rest: &str) -> (Option<&str>, &str) {
    let Some(first) = rest.find('@') else { return (None, rest) };
    let host_end = rest[first..].find([';', '?']).map_or(rest.len(), |end| first + end);
    let at = rest[..host_end].rfind('@').unwrap_or(first);
    (Some(&rest[..at]), &rest[at + 1..])
}

/// Splits `host:port`, `[v6]:port` or `host`.
///
/// # Errors
/// [`UriError::Host`] and [`UriError::Port`].
pub(crate) fn split_host_port(text: &str) -> Result<(&str, Option<u16>), UriError> {
    let text = text.trim();
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']').ok_or(UriError::Host)? + 1;
        if host_ip(&text[..end]).is_none() {
            return Err(UriError::Host);
        }
        (&text[..end], &text[end..])
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let host = text[..end].trim_end();
        let is_name =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._%".contains(&byte) || byte >= 0x80;
        if host.is_empty() || !host.bytes().all(is_name) {
            return Err(UriError::Host);
        }
        (host, &text[end..])
    };
    let port = port.trim();
    if port.is_empty() || port == ":" {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').ok_or(UriError::Host)?.trim_start();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UriError::Port);
    }
    digits.parse().map(|port| (host, Some(port))).map_err(|_| UriError::Port)
}

/// Reads an address as it stands in a URI or Via: IPv6 with or without its brackets. The grammar of
/// RFC 3261 once allowed `:::`, which some still write and nobody should (RFC 5118 §4.10).
pub fn host_ip(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.split_once(":::") {
        Some((start, end)) => format!("{start}::{end}").parse().ok(),
        None => bare.parse().ok(),
    }
}

/// Escapes what may not stand in a user part (RFC 3261 §25.1, `user`).
pub fn escape_user(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            let _ = write!(out, "%{byte:02X}"); // Writing to a String cannot fail.
        }
    }
    out
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Self::parse(text)
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sip(sip) => sip.fmt(f),
            Self::Tel(tel) => write!(f, "tel:{}{}", tel.number, tel.params),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.scheme {
            Scheme::Sip => "sip:",
            Scheme::Sips => "sips:",
        })?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            f.write_str("@")?;
        }
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)?;
        match &self.headers {
            Some(headers) => write!(f, "?{headers}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_written_as_they_came() {
        for text in [
            "sip:1001@10.0.0.1",
            "sip:1001:secret@host.example:5061;transport=tcp;lr?Subject=x&Priority=urgent",
            "sips:[2001:db8::1]:5061",
            "sip:*31%2313800138000@gw",
            "sip:j.d_o-e;day=tuesday;x=%40@h;lr",
            "sip:a@b@proxy.example",
            "sip:null%00@h",
            "tel:+86-138-0013-8000;phone-context=+86",
            "tel:10086",
            "urn:service:sos",
            "http://a.b/c?d",
        ] {
            assert_eq!(Uri::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn parts_are_found() {
        let uri = Uri::parse("SIP:a;b=c:pw@[::1]:70;Transport=UDP").unwrap();
        let sip = uri.as_sip().unwrap();
        assert_eq!((sip.user.as_deref(), sip.password.as_deref()), (Some("a;b=c"), Some("pw")));
        assert_eq!((sip.ip(), sip.port), (Some("::1".parse().unwrap()), Some(70)));
        assert_eq!(sip.params.get("transport"), Some("UDP"));
        assert_eq!(Uri::parse("sip:%31%23@h").unwrap().user_unescaped().unwrap(), "1#");
        assert_eq!(Uri::parse("sip:a@b@c;d").unwrap().user(), Some("a@b"));
        assert_eq!(Uri::sip(Some("1#2 张"), "h", None).to_string(), "sip:1%232%20%E5%BC%A0@h");
    }

    #[test]
    fn bad_uris_are_refused() {
        for (text, want) in [
            ("", UriError::Scheme),
            ("1001", UriError::Scheme),
            ("sip:", UriError::Host),
            ("sip:a@", UriError::Host),
            ("sip:a@h:99999", UriError::Port),
            ("sip:a@h:5x", UriError::Port),
            ("sip:a@[::1", UriError::Host),
            ("sip:a@[zz]", UriError::Host),
            ("sip:a@h b", UriError::Character),
            ("<sip:a@h>", UriError::Character),
        ] {
            assert_eq!(Uri::parse(text), Err(want), "{text}");
        }
    }

    #[test]
    fn equivalence_follows_19_1_4() {
        let same = |left: &str, right: &str| {
            Uri::parse(left).unwrap().is_equivalent(&Uri::parse(right).unwrap())
        };
        for (left, right) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
            ("sip:b.com;method=REGISTER?to=a%40b.com", "sip:b.com;method=REGISTER?to=a%40b.com"),
            ("sip:a@h?x=1&y=2", "sip:a@h?y=2&x=1"),
            ("sip:a@[::1]", "sip:a@[0:0::1]"),
            ("sip:a@h;x=1;x=2", "sip:a@h;x=1;x=2"),
            ("tel:+86-138(00)", "tel:+8613800"),
        ] {
            assert!(same(left, right), "{left} {right}");
        }
        for (left, right) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:carol@c.com;security=off", "sip:carol@c.com;security=on"),
            ("sip:h", "sip:a@h"),
        ] {
            assert!(!same(left, right), "{left} {right}");
        }
    }
}
