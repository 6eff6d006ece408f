//! What a server looks at before it looks at what is asked (RFC 3261 §8.2.1 to §8.2.3): method,
//! URI scheme, demanded extensions, Contact and the kind of body.

use crate::header::Name;
use crate::message::{Request, Response};
use crate::method::Method;
use crate::name_addr::NameAddr;
use crate::sdp;
use crate::uri::Uri;

/// What a server can do.
#[derive(Clone, Copy, Debug)]
pub struct Abilities<'a> {
    /// The methods it answers otherwise than by 405.
    pub methods: &'a [Method],
    /// The option tags it may be asked for in Require.
    pub extensions: &'a [&'a str],
    /// The media types of bodies it understands, in lower case.
    pub content_types: &'a [&'a str],
}

/// Why a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}")]
pub struct Refusal {
    /// The status to answer with.
    pub status: u16,
    /// What the answer tells besides: Allow, Unsupported, Accept or Accept-Encoding.
    pub field: Option<(&'static str, String)>,
}

impl Refusal {
    fn new(status: u16) -> Self {
        Self { status, field: None }
    }

    fn telling(status: u16, name: &'static str, value: String) -> Self {
        Self { status, field: Some((name, value)) }
    }

    /// The answer.
    pub fn response(&self, request: &Request, to_tag: Option<&str>) -> Response {
        let mut response = Response::to(request, self.status, "", to_tag);
        if let Some((name, value)) = &self.field {
            response.headers.push(*name, value);
        }
        response
    }
}

impl Abilities<'_> {
    /// Looks a request over.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with. An ACK is never answered, whatever this says.
    pub fn screen(&self, request: &Request) -> Result<(), Refusal> {
        self.screen_method(&request.method)?;
        if !matches!(request.uri, Uri::Sip(_) | Uri::Tel(_)) {
            return Err(Refusal::new(416));
        }
        let headers = &request.headers;
        let mut contacts = headers.values(Name::Contact);
        contacts.retain(|value| value != "*");
        if contacts.iter().any(|value| NameAddr::parse(value).is_err()) {
            return Err(Refusal::new(400));
        }
        // ACK and CANCEL cannot be refused for what they demand (§8.2.2.3).
        if !matches!(request.method, Method::Ack | Method::Cancel) {
            let is_known =
                |tag: &String| self.extensions.iter().any(|known| known.eq_ignore_ascii_case(tag));
            let mut unknown = headers.require();
            unknown.retain(|tag| !is_known(tag));
            if !unknown.is_empty() {
                return Err(Refusal::telling(420, "Unsupported", unknown.join(", ")));
            }
        }
        self.screen_body(request)
    }

    fn screen_method(&self, method: &Method) -> Result<(), Refusal> {
        if self.methods.contains(method) {
            return Ok(());
        }
        // 501 is for a method nobody here has heard of (§21.5.2).
        let status = if matches!(method, Method::Other(_)) { 501 } else { 405 };
        let allowed: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        Err(Refusal::telling(status, "Allow", allowed.join(", ")))
    }

    fn screen_body(&self, request: &Request) -> Result<(), Refusal> {
        let headers = &request.headers;
        let is_optional = headers.get(Name::ContentDisposition).is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value
                .split(';')
                .any(|param| param.split_whitespace().collect::<String>() == "handling=optional")
        });
        if !request.body.is_empty() && !is_optional {
            let is_plain = headers
                .values(Name::ContentEncoding)
                .iter()
                .all(|encoding| encoding.eq_ignore_ascii_case("identity"));
            if !is_plain {
                return Err(Refusal::telling(415, "Accept-Encoding", String::from("identity")));
            }
            let is_understood = headers
                .content_type()
                .is_none_or(|content| self.content_types.contains(&content.media_type.as_str()));
            if !is_understood {
                return Err(Refusal::telling(415, "Accept", self.content_types.join(", ")));
            }
        }
        // An answer to an INVITE is a session description: who takes none cannot be called.
        let accepts = |value: &String| {
            let kind = value.split(';').next().unwrap_or_default().trim();
            [sdp::CONTENT_TYPE, "application/*", "*/*"]
                .iter()
                .any(|ok| ok.eq_ignore_ascii_case(kind))
        };
        let accepted = headers.values(Name::Accept);
        if request.method == Method::Invite
            && headers.has(Name::Accept)
            && !accepted.iter().any(accepts)
        {
            return Err(Refusal::new(406));
        }
        Ok(())
    }
}
