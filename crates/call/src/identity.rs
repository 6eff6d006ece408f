//! Who calls, by the headers a trunk is configured to be believed in; and how a caller is shown on.
//!
//! Belongs here: From, P-Asserted-Identity, Remote-Party-ID, Privacy. Does not: reading a number
//! (`lookup` normalises).

use cheling_model::Presentation;
use cheling_model::call::Party;
use cheling_model::directory::{CallerHeader, IdentityHeader, TrunkManners};
use cheling_sip::{Headers, Name, NameAddr, Uri};

/// Display names longer than this are cut; nobody's screen shows more.
const MAX_DISPLAY_CHARS: usize = 64;
/// Numbers longer than this are cut.
const MAX_NUMBER_CHARS: usize = 64;

/// Reads the caller from the headers in this order; the first that names somebody counts.
pub fn caller(headers: &Headers, order: &[CallerHeader]) -> Party {
    let from_only = [CallerHeader::From];
    let order = if order.is_empty() { &from_only[..] } else { order };
    let found = order.iter().find_map(|header| match header {
        CallerHeader::PAssertedIdentity => {
            headers.p_asserted_identity().into_iter().find(names_somebody)
        }
        CallerHeader::RemotePartyId => headers.remote_party_id().into_iter().find(names_somebody),
        CallerHeader::From => headers.from().filter(names_somebody),
    });
    let from = headers.from();
    let shown = found.as_ref().or(from.as_ref()).map(party).unwrap_or_default();
    if wants_privacy(headers) {
        // The network knows the number, but its owner asked not to be shown: keep what From says.
        let number = from.map(|from| number(&from)).unwrap_or_default();
        let is_hidden = shown.number == number && reads_as_number(&number);
        return Party {
            number: if is_hidden { String::new() } else { number },
            display_name: None,
            presentation: Presentation::Withheld,
        };
    }
    shown
}

/// The party of one address, judged by its user part alone.
pub fn party(address: &NameAddr) -> Party {
    let number = number(address);
    let display_name = address
        .display
        .as_ref()
        .map(|display| display.trim().chars().take(MAX_DISPLAY_CHARS).collect::<String>())
        .filter(|display| !display.is_empty() && *display != number);
    let presentation = match presentation_of(&number) {
        // sip:c8oqz84zk7z@privacy.org and the like name nobody either (RFC 3323 §4.1.1.3).
        Presentation::Allowed
            if address.uri.host().is_some_and(|h| h.eq_ignore_ascii_case("anonymous.invalid")) =>
        {
            Presentation::Withheld
        }
        presentation => presentation,
    };
    Party { number, display_name, presentation }
}

fn number(address: &NameAddr) -> String {
    let user = match &address.uri {
        Uri::Tel(tel) => tel.number.clone(),
        uri => uri.user_unescaped().unwrap_or_default().into_owned(),
    };
    // sip:+8613812345678;phone-context=…@h (RFC 3261 §19.1.6)
    user.split(';').next().unwrap_or_default().trim().chars().take(MAX_NUMBER_CHARS).collect()
}

fn presentation_of(number: &str) -> Presentation {
    match number.to_ascii_lowercase().as_str() {
        "anonymous" | "restricted" | "private" | "withheld" | "blocked" => Presentation::Withheld,
        "" | "unavailable" | "unknown" | "s" | "null" | "asserted-identity" => {
            Presentation::Unavailable
        }
        _ => Presentation::Allowed,
    }
}

fn names_somebody(address: &NameAddr) -> bool {
    party(address).presentation == Presentation::Allowed
}

fn reads_as_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'+')
}

/// Privacy (RFC 3323, RFC 3325 §9.3) and what Remote-Party-ID has for it.
fn wants_privacy(headers: &Headers) -> bool {
    let asked = headers.get_all(Name::Privacy).any(|value| {
        value.split([';', ',']).map(str::trim).any(|word| {
            ["id", "user", "header"].iter().any(|private| word.eq_ignore_ascii_case(private))
        })
    });
    asked
        || headers.remote_party_id().iter().any(|address| {
            address.params.unquoted("privacy").is_some_and(|privacy| {
                privacy
                    .split(['-', ','])
                    .any(|word| ["full", "uri"].iter().any(|full| word.eq_ignore_ascii_case(full)))
            })
        })
}

/// The From we write for a caller, without tag (RFC 3323 §4.1.1.3 for those not shown).
pub fn from_address(caller: &Party, host: &str) -> NameAddr {
    if caller.presentation != Presentation::Allowed || caller.number.is_empty() {
        let mut address = NameAddr::new(Uri::sip(Some("anonymous"), "anonymous.invalid", None));
        address.display = Some("Anonymous".into());
        return address;
    }
    let user = cheling_sip::uri::escape_user(&caller.number);
    let mut address = NameAddr::new(Uri::sip(Some(&user), host, None));
    address.display = caller.display_name.clone();
    address
}

/// Where [`write_identity`] writes.
pub(crate) const TOLD_BESIDE_FROM: [Name; 4] =
    [Name::PAssertedIdentity, Name::PPreferredIdentity, Name::RemotePartyId, Name::Privacy];

/// Writes who calls beside From, and Privacy for a caller who is not shown: to one of our phones,
/// or by a trunk's manners.
pub fn write_identity(
    headers: &mut Headers,
    caller: &Party,
    host: &str,
    manners: Option<&TrunkManners>,
) {
    let is_known = caller.presentation == Presentation::Allowed && !caller.number.is_empty();
    let is_withheld = caller.presentation == Presentation::Withheld
        || manners.is_some_and(|manners| manners.withholds_caller);
    let usual = [IdentityHeader::PAssertedIdentity];
    let told = manners.map_or(&usual[..], |manners| &manners.identity).iter();
    for header in told.filter(|_| is_known) {
        let mut address = from_address(caller, host);
        let name = match header {
            IdentityHeader::PAssertedIdentity => Name::PAssertedIdentity,
            IdentityHeader::PPreferredIdentity => Name::PPreferredIdentity,
            IdentityHeader::RemotePartyId => {
                let privacy = if is_withheld { "full" } else { "off" };
                for (name, value) in [("party", "calling"), ("privacy", privacy), ("screen", "yes")]
                {
                    address.params.set(name, Some(value));
                }
                Name::RemotePartyId
            }
        };
        headers.push(name, address);
    }
    if is_withheld {
        headers.push(Name::Privacy, "id");
    }
}

/// The caller as From shows it to this side.
pub fn shown_caller(caller: &Party, manners: Option<&TrunkManners>) -> Party {
    match manners {
        Some(manners) if manners.withholds_caller => {
            Party { presentation: Presentation::Withheld, ..caller.clone() }
        }
        _ => caller.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use CallerHeader::{From, PAssertedIdentity, RemotePartyId};

    fn headers(fields: &[(Name, &str)]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.push(*name, value);
        }
        headers
    }

    #[test]
    fn the_first_configured_header_that_names_somebody_counts() {
        let from = (Name::From, "\"王\" <sip:100@gw>;tag=1");
        let asserted = (Name::PAssertedIdentity, "<sip:anonymous@x>, <tel:+8613812345678>");
        let remote = (Name::RemotePartyId, "\"Li\" <sip:13900000000@gw>;party=calling");
        let all = headers(&[from, asserted, remote]);
        for (order, number, display) in [
            (&[PAssertedIdentity, From][..], "+8613812345678", None),
            (&[RemotePartyId, PAssertedIdentity], "13900000000", Some("Li")),
            (&[From], "100", Some("王")),
            (&[], "100", Some("王")),
        ] {
            let party = caller(&all, order);
            assert_eq!((party.number.as_str(), party.display_name.as_deref()), (number, display));
            assert_eq!(party.presentation, Presentation::Allowed);
        }
        let party = caller(&headers(&[from]), &[PAssertedIdentity, RemotePartyId, From]);
        assert_eq!(party.number, "100");
    }

    #[test]
    fn callers_without_a_number_are_told_apart() {
        for (from, want) in [
            ("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1", Presentation::Withheld),
            ("<sip:c8oqz84zk7z@anonymous.invalid>;tag=1", Presentation::Withheld),
            ("<sip:Restricted@gw>;tag=1", Presentation::Withheld),
            ("<sip:unavailable@gw>;tag=1", Presentation::Unavailable),
            ("<sip:s@gw>;tag=1", Presentation::Unavailable),
            ("<sip:gw>;tag=1", Presentation::Unavailable),
            ("<sip:13812345678@gw>;tag=1", Presentation::Allowed),
        ] {
            let party = caller(&headers(&[(Name::From, from)]), &[From]);
            assert_eq!(party.presentation, want, "{from}");
        }
    }

    #[test]
    fn privacy_hides_the_number_that_the_network_asserts() {
        let asserted = (Name::PAssertedIdentity, "<sip:13812345678@gw>");
        let anonymous = (Name::From, "\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag=1");
        let party = caller(
            &headers(&[anonymous, asserted, (Name::Privacy, "header;id")]),
            &[PAssertedIdentity, From],
        );
        assert_eq!(
            (party.number.as_str(), party.presentation),
            ("anonymous", Presentation::Withheld)
        );
        let plain = (Name::From, "<sip:13812345678@gw>;tag=1");
        let party =
            caller(&headers(&[plain, asserted, (Name::Privacy, "id")]), &[PAssertedIdentity]);
        assert_eq!((party.number.as_str(), party.presentation), ("", Presentation::Withheld));
        let remote = (Name::RemotePartyId, "<sip:13812345678@gw>;privacy=full;screen=yes");
        let party = caller(&headers(&[plain, remote]), &[RemotePartyId]);
        assert_eq!(party.presentation, Presentation::Withheld);
        let none = caller(&headers(&[plain, (Name::Privacy, "none")]), &[From]);
        assert_eq!(none.presentation, Presentation::Allowed);
    }

    #[test]
    fn callers_are_shown_on_as_they_came() {
        let host = "192.0.2.9";
        let shown = Party {
            number: "13812345678".into(),
            display_name: Some("王 \"x\"".into()),
            presentation: Presentation::Allowed,
        };
        assert_eq!(
            from_address(&shown, host).to_string(),
            r#""王 \"x\"" <sip:13812345678@192.0.2.9>"#
        );
        let hidden = Party { presentation: Presentation::Withheld, ..shown };
        assert_eq!(
            from_address(&hidden, host).to_string(),
            "\"Anonymous\" <sip:anonymous@anonymous.invalid>"
        );
        let mut written = Headers::default();
        write_identity(&mut written, &hidden, host, None);
        assert_eq!(written.get(Name::Privacy).unwrap(), "id");
        assert!(!written.has(Name::PAssertedIdentity));
    }

    #[test]
    fn a_trunk_is_told_in_the_headers_it_wants() {
        let host = "192.0.2.9";
        let own = Party { number: "02158998000".into(), ..Party::default() };
        let asserted = ("P-Asserted-Identity", "<sip:02158998000@192.0.2.9>");
        let remote = |privacy| {
            format!("<sip:02158998000@192.0.2.9>;party=calling;privacy={privacy};screen=yes")
        };
        for (identity, withholds_caller, want, from) in [
            (vec![], false, vec![], "02158998000"),
            (vec![IdentityHeader::PAssertedIdentity], false, vec![asserted], "02158998000"),
            (
                vec![IdentityHeader::RemotePartyId, IdentityHeader::PPreferredIdentity],
                false,
                vec![("Remote-Party-ID", &remote("off")[..]), ("P-Preferred-Identity", asserted.1)],
                "02158998000",
            ),
            // The network is told who it is, and not to show it.
            (
                vec![IdentityHeader::PAssertedIdentity, IdentityHeader::RemotePartyId],
                true,
                vec![asserted, ("Remote-Party-ID", &remote("full")), ("Privacy", "id")],
                "anonymous",
            ),
        ] {
            let manners = TrunkManners { identity, withholds_caller, ..TrunkManners::default() };
            let mut written = Headers::default();
            write_identity(&mut written, &own, host, Some(&manners));
            let got: Vec<_> = written
                .iter()
                .map(|field| (String::from_utf8_lossy(field.name()), field.text()))
                .collect();
            let got: Vec<_> = got.iter().map(|(name, text)| (&**name, &**text)).collect();
            assert_eq!(got, want);
            let shown = shown_caller(&own, Some(&manners));
            assert_eq!(from_address(&shown, host).uri.user(), Some(from));
        }
    }
}
