//! What can go wrong with a request, and how it is said: `{"error": {code, message, field}}`.
//!
//! The code is for programs and translations, the message for people. Nothing inside the server is
//! told: an internal error is logged once, here, and answered without its text.

use crate::wire::{ErrorBody, ErrorInfo};
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::{Reply, Response};

/// What a handler gives back.
pub type ApiResult = Result<Response, ApiError>;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No session, or one that has ended.
    #[error("sign in first")]
    NotSignedIn,
    /// The name or the password is wrong; which of the two is not said.
    #[error("the user name or the password is wrong")]
    BadCredentials,
    /// Too many wrong passwords for this name or from this address.
    #[error("too many attempts; try again in {retry_after_s} s")]
    TooManyAttempts {
        /// Seconds until the next attempt is heard.
        retry_after_s: u64,
    },
    /// The role does not allow it.
    #[error("your role does not allow this")]
    Forbidden,
    /// The request came from a page of another origin.
    #[error("requests that change something must come from the console itself")]
    CrossOrigin,
    /// No such thing, or it belongs to another dealership: the two look alike on purpose.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The path exists, the method does not.
    #[error("this path does not take this method")]
    MethodNotAllowed,
    /// A field has a value that cannot be.
    #[error("{message}")]
    Invalid {
        /// The field, as the JSON names it.
        field: &'static str,
        /// What is wrong with it.
        message: String,
        /// The same for translations, where there is more to say than that.
        reason: Option<Box<Reason>>,
    },
    /// The body or the query cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// The body is of another type than the path takes.
    #[error("the body must be {0}")]
    UnsupportedMediaType(&'static str),
    /// The body is too large.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// How large it may be.
        limit_bytes: usize,
    },
    /// It clashes with what is there.
    #[error("{message}")]
    Conflict {
        /// A word for programs.
        code: &'static str,
        /// The field at fault, if one is.
        field: Option<&'static str>,
        /// What it clashes with.
        message: String,
    },
    /// No part of the file lies in the range asked for.
    #[error("the file has {length_bytes} bytes")]
    RangeNotSatisfiable {
        /// Its size.
        length_bytes: u64,
    },
    /// The recording is kept in another container than asked for.
    #[error("this recording is kept as {0} only")]
    FormatNotAvailable(&'static str),
    /// A plain request where a WebSocket handshake was expected.
    #[error("this path speaks WebSocket only")]
    UpgradeRequired,
    /// Something that the server needs does not answer.
    #[error("{0}")]
    Unavailable(&'static str),
    /// Others are using all there is of something; it will be free soon.
    #[error("{what}; try again in {retry_after_s} s")]
    Busy {
        /// What takes it up.
        what: &'static str,
        /// Seconds after which to try again.
        retry_after_s: u64,
    },
    /// A fault of ours, already logged.
    #[error("the server failed; its log says why")]
    Internal,
}

/// What is wrong with one of many things that came in one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// A word for translations: `no_such_group` …
    pub code: &'static str,
    /// What it is about: a line's number, a group's name.
    pub about: String,
    /// The value that cannot be.
    pub value: String,
}

impl ApiError {
    /// A field has a value that cannot be.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into(), reason: None }
    }

    /// One of many things in a field cannot be.
    pub fn because(field: &'static str, reason: Reason, message: impl Into<String>) -> Self {
        Self::Invalid { field, message: message.into(), reason: Some(Box::new(reason)) }
    }

    /// Logs a fault of ours and hides its text from the answer.
    pub fn internal(what: &'static str, error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "{what}");
        Self::Internal
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotSignedIn | Self::BadCredentials => StatusCode::UNAUTHORIZED,
            Self::TooManyAttempts { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Forbidden | Self::CrossOrigin => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::RangeNotSatisfiable { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::FormatNotAvailable(_) => StatusCode::NOT_ACCEPTABLE,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::Unavailable(_) | Self::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotSignedIn => "not_signed_in",
            Self::BadCredentials => "bad_credentials",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::Forbidden => "forbidden",
            Self::CrossOrigin => "cross_origin",
            Self::NotFound(_) => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Invalid { .. } => "invalid",
            Self::Malformed(_) => "malformed",
            Self::UnsupportedMediaType(_) => "unsupported_media_type",
            Self::TooLarge { .. } => "too_large",
            Self::Conflict { code, .. } => code,
            Self::RangeNotSatisfiable { .. } => "range_not_satisfiable",
            Self::FormatNotAvailable(_) => "format_not_available",
            Self::UpgradeRequired => "upgrade_required",
            Self::Unavailable(_) | Self::Busy { .. } => "unavailable",
            Self::Internal => "internal",
        }
    }

    fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Invalid { reason, .. } => reason.as_deref(),
            _ => None,
        }
    }

    fn field(&self) -> Option<&'static str> {
        match self {
            Self::Invalid { field, .. } => Some(field),
            Self::Conflict { field, .. } => *field,
            _ => None,
        }
    }

    /// The answer.
    pub fn into_response(self) -> Response {
        let body = ErrorBody {
            error: ErrorInfo {
                code: self.code().into(),
                message: self.to_string(),
                field: self.field().map(Into::into),
                reason: self.reason().map(|it| it.code.into()),
                about: self.reason().map(|it| it.about.clone()),
                value: self.reason().map(|it| it.value.clone()),
            },
        };
        let mut response =
            warp::reply::with_status(warp::reply::json(&body), self.status()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::TooManyAttempts { retry_after_s } | Self::Busy { retry_after_s, .. } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
            }
            Self::RangeNotSatisfiable { length_bytes } => {
                if let Ok(value) = HeaderValue::try_from(format!("bytes */{length_bytes}")) {
                    headers.insert(header::CONTENT_RANGE, value);
                }
            }
            _ => {}
        }
        response
    }
}

impl From<cheling_records::Error> for ApiError {
    fn from(error: cheling_records::Error) -> Self {
        use cheling_records::Error;
        match error {
            Error::NotFound => Self::NotFound("thing"),
            Error::Conflict { field } => Self::Conflict {
                code: "already_taken",
                message: "another one has this value already".into(),
                field: wire_field(&field),
            },
            Error::Refused(what) if what == "cursor" => {
                Self::Malformed("this cursor is not one of ours".into())
            }
            Error::Refused(what) => {
                tracing::warn!(%what, "the database refused a request's values");
                Self::Malformed("the values do not fit together".into())
            }
            Error::Unavailable(what) => {
                tracing::error!(%what, "database unavailable");
                Self::Unavailable("the database does not answer; try again")
            }
            error => Self::internal("database", error),
        }
    }
}

/// What the JSON calls a column that must be unique.
fn wire_field(column: &str) -> Option<&'static str> {
    match column {
        "sign_in_name" => Some("username"),
        "number" => Some("number"),
        "did" => Some("did"),
        "vin" => Some("vin"),
        _ => None,
    }
}
