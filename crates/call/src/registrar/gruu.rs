//! Addresses that mean one phone and no other of its extension (RFC 5627).
//!
//! The public one names extension and device and lasts as long as both. A temporary one tells nobody
//! whose it is; each REGISTER makes another, and those of a phone end with its registration.

use std::time::Instant;

use cheling_sip::Uri;

use super::{Binding, Registrar};

/// What a temporary address begins with.
const TEMPORARY: &str = "tgruu.";
/// How a device that can be named in an address names itself.
const UUID: &str = "urn:uuid:";

/// Whom a Request-URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// A number, to be routed as ever.
    Number(String),
    /// One phone of this extension.
    Phone {
        /// The extension.
        extension: String,
        /// The device.
        instance: String,
    },
    /// A phone that there is not, or not any more.
    Nobody,
}

impl Registrar {
    /// The parameters of a Contact that give a phone its addresses; empty for one that does not say
    /// which device it is.
    pub(super) fn addresses(&self, extension: &str, binding: &Binding) -> String {
        let device = binding.instance.as_deref().and_then(device);
        let (Some(device), Some(newest)) = (device, binding.temporary.back()) else {
            return String::new();
        };
        let (user, host) = (cheling_sip::uri::escape_user(extension), &self.host);
        format!(
            ";pub-gruu=\"sip:{user}@{host};gr={device}\";temp-gruu=\"sip:{TEMPORARY}{newest}@{host};gr\""
        )
    }

    /// Whom this Request-URI names.
    pub(crate) fn named(&self, now: Instant, uri: &Uri) -> Named {
        let user = uri.user_unescaped().unwrap_or_default();
        let number = || Named::Number(crate::router::dialled(&user));
        let Some(sip) = uri.as_sip().filter(|sip| sip.params.has("gr")) else { return number() };
        if let Some(token) = user.strip_prefix(TEMPORARY) {
            let live = self.bindings.iter().flat_map(|(extension, bindings)| {
                bindings.iter().filter(|it| it.expires > now).map(move |it| (extension, it))
            });
            let mut live = live.filter(|(_, it)| it.temporary.iter().any(|known| known == token));
            return match live.next() {
                Some((extension, Binding { instance: Some(instance), .. })) => {
                    Named::Phone { extension: extension.clone(), instance: instance.clone() }
                }
                _ => Named::Nobody,
            };
        }
        match sip.params.get("gr").map(|device| format!("<{device}>")) {
            Some(instance) => Named::Phone { extension: crate::router::dialled(&user), instance },
            None => number(),
        }
    }
}

/// The device of an instance id, as it can stand in an address.
fn device(instance: &str) -> Option<&str> {
    let device = instance.strip_prefix('<')?.strip_suffix('>')?;
    let uuid = device.strip_prefix(UUID)?;
    let is_uuid = uuid.len() == 36 && uuid.bytes().all(|it| it.is_ascii_hexdigit() || it == b'-');
    is_uuid.then_some(device)
}

/// Whether it can be repeated between quotes as it is.
pub(super) fn is_plain(instance: &str) -> bool {
    instance.len() <= 200
        && instance.bytes().all(|it| it.is_ascii_graphic() && !matches!(it, b'"' | b'\\'))
}
