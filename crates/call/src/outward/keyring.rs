//! The challenges a trunk has put to us, and our answers: kept, so that later requests carry their
//! proof at once and need no second round.

use cheling_model::directory::Account;
use cheling_sip::digest::{Challenge, Proved, ha1};
use cheling_sip::{Method, Name, Request, Response};

/// Realms of one trunk that are remembered at most; the oldest goes first.
const MAX_REALMS: usize = 4;

/// One challenge, and how often its nonce was used.
#[derive(Debug)]
struct Known {
    challenge: Challenge,
    answer: Name,
    /// Registrars and proxies of one trunk need not share their nonces.
    is_for_register: bool,
    uses: u32,
}

/// What a challenge comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Worth an answer.
    New,
    /// The password was right, the nonce too old.
    Stale,
    /// Nothing in it that we could answer.
    Unknown,
}

/// All challenges of one trunk.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    known: Vec<Known>,
}

impl Keyring {
    /// Takes the challenges of a 401 or 407 in. Of several for one realm the first that we have the
    /// algorithm of counts (RFC 8760 §2.4).
    pub(super) fn take(&mut self, response: &Response, method: &Method) -> Judged {
        let is_for_register = *method == Method::Register;
        let (mut judged, mut realms) = (Judged::Unknown, Vec::new());
        for (asked, answer) in [
            (Name::WwwAuthenticate, Name::Authorization),
            (Name::ProxyAuthenticate, Name::ProxyAuthorization),
        ] {
            for value in response.headers.get_all(asked) {
                let Some(challenge) = Challenge::parse(&value) else { continue };
                if realms.contains(&(answer, challenge.realm.clone())) {
                    continue;
                }
                realms.push((answer, challenge.realm.clone()));
                judged = match (judged, challenge.is_stale) {
                    (Judged::New, _) | (_, false) => Judged::New,
                    _ => Judged::Stale,
                };
                self.known.retain(|known| {
                    known.answer != answer
                        || known.is_for_register != is_for_register
                        || known.challenge.realm != challenge.realm
                });
                if self.known.len() >= MAX_REALMS {
                    self.known.remove(0);
                }
                self.known.push(Known { challenge, answer, is_for_register, uses: 0 });
            }
        }
        judged
    }

    /// Puts our answers to all known challenges into a request, in place of any it had.
    pub(super) fn sign(&mut self, account: &Account, request: &mut Request, cnonce: &str) {
        request.headers.remove(Name::Authorization);
        request.headers.remove(Name::ProxyAuthorization);
        let is_register = request.method == Method::Register;
        let uri = request.uri.to_string();
        let method = request.method.to_string();
        let body = request.body.clone();
        for known in self.known.iter_mut().filter(|it| it.is_for_register == is_register) {
            known.uses += 1;
            let challenge = &known.challenge;
            let key = ha1(
                challenge.algorithm.base(),
                &account.auth_user,
                &challenge.realm,
                &account.password,
            );
            let proved = Proved { method: &method, uri: &uri, body: &body };
            let answer =
                challenge.answer_request(&account.auth_user, &key, proved, cnonce, known.uses);
            request.headers.push(known.answer, answer);
        }
    }
}
