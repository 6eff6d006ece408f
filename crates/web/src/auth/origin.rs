//! Refuses requests that another site's page made in the user's name (cross-site request forgery).
//!
//! Every browser that the console runs in sends `Origin` with each request that may change
//! something and with each WebSocket handshake; newer ones also send `Sec-Fetch-Site` where the
//! page is trustworthy (https, localhost). A request without either is no browser's: curl or a
//! program with a cookie of its own.

use warp::http::{HeaderMap, header};

/// Whether the request comes from a page that we served, or from no page at all.
///
/// `host` is the authority that the client addressed: `Host`, or what a trusted proxy says it was.
pub fn is_same_origin(headers: &HeaderMap, host: Option<&str>) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Some((scheme, authority)) = origin.to_str().ok().and_then(|text| text.split_once("://"))
    else {
        return false; // `null`: a sandboxed frame or a file
    };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    host.is_some_and(|host| {
        let without_port = |name: &str| name.strip_suffix(port).unwrap_or(name).to_lowercase();
        without_port(authority) == without_port(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderValue;

    #[test]
    fn only_our_own_pages_and_programs_may_change_things() {
        for (site, origin, host, want) in [
            (None, None, Some("10.0.0.5:8080"), true), // curl
            (None, Some("http://10.0.0.5:8080"), Some("10.0.0.5:8080"), true),
            (None, Some("http://Cheling.LAN"), Some("cheling.lan:80"), true),
            (None, Some("https://cheling.lan"), Some("cheling.lan"), true),
            (None, Some("http://10.0.0.5:8081"), Some("10.0.0.5:8080"), false),
            (None, Some("http://evil.example"), Some("10.0.0.5:8080"), false),
            (None, Some("http://10.0.0.5:8080.evil.example"), Some("10.0.0.5:8080"), false),
            (None, Some("null"), Some("10.0.0.5:8080"), false),
            (None, Some("file://10.0.0.5:8080"), Some("10.0.0.5:8080"), false),
            (None, Some("http://10.0.0.5"), None, false),
            (Some("same-origin"), Some("https://cheling.lan"), Some("inside:8080"), true),
            (Some("none"), None, Some("cheling.lan"), true),
            (Some("same-site"), Some("https://other.lan"), Some("cheling.lan"), false),
            (Some("cross-site"), None, Some("cheling.lan"), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            }
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_same_origin(&headers, host), want, "{site:?} {origin:?} {host:?}");
        }
    }
}
