//! Where a call goes: lines and ring groups, extensions, trunks.
//!
//! Belongs here: numbers as dialled against the directory and the trunks' prefix rules.
//! Does not: who is registered (`registrar`), what is said on the wire (`b2bua`).

use std::net::SocketAddr;

use cheling_model::DealershipId;
use cheling_model::directory::{Directory, Extension, Line, RingGroup, Trunk};

/// The longest number that is routed; E.164 has 15 digits, prefixes and access codes come on top.
const MAX_NUMBER_CHARS: usize = 40;
/// Phones that ring for one call at most; a group with more rings its first ones.
pub const MAX_FORKS: usize = 64;

/// Where a number leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// A line of ours: every member of its group rings.
    Group {
        /// The line called.
        line: &'a Line,
        /// Who rings.
        group: &'a RingGroup,
    },
    /// One of our phones.
    Extension(&'a Extension),
    /// Out of the house, by the first of these that takes the call.
    Trunks {
        /// The trunk and the number as it gets it, best first.
        ways: Vec<(&'a Trunk, String)>,
    },
    /// Nobody has this number.
    Unknown,
}

/// The trunk that this request comes from, if it comes from one (RFC 3261 knows no better for a
/// peer without a password; the config names the addresses that are trusted).
///
/// The trunk's address and port both fit, or the IP alone (gateways send from other ports, and
/// over TCP always) unless the request claims to be one of our extensions: a phone that shares
/// the gateway's IP, as on one test machine, has to prove that it is that phone.
pub fn trunk_at<'a>(
    trunks: &'a [Trunk],
    directory: &Directory,
    source: SocketAddr,
    from_user: &str,
) -> Option<&'a Trunk> {
    let at_ip = |trunk: &&Trunk| trunk.is_at(source.ip());
    let exactly = trunks.iter().filter(at_ip).find(|trunk| is_exactly_at(trunk, source));
    exactly.or_else(|| {
        let is_phone = extension(directory, from_user).is_some();
        trunks.iter().find(at_ip).filter(|_| !is_phone)
    })
}

/// Whether this is one of the trunk's addresses, port and all.
pub fn is_exactly_at(trunk: &Trunk, source: SocketAddr) -> bool {
    let source = (source.ip().to_canonical(), source.port());
    let mut places = trunk.addresses.iter().map(|it| it.address);
    places.any(|address| (address.ip().to_canonical(), address.port()) == source)
}

/// The extension of this number.
pub fn extension<'a>(directory: &'a Directory, number: &str) -> Option<&'a Extension> {
    directory.extensions.iter().find(|extension| extension.number == number)
}

/// Routes a call that a trunk brings: a line's DID, else an extension.
pub fn from_trunk<'a>(directory: &'a Directory, called: &str) -> Route<'a> {
    let line = directory.lines.iter().find(|line| line.did == called).or_else(|| {
        let called = bare(called);
        directory.lines.iter().find(|line| bare(&line.did) == called)
    });
    let Some(line) = line else {
        return extension(directory, called).map_or(Route::Unknown, Route::Extension);
    };
    match directory.groups.iter().find(|group| group.group_id == line.group_id) {
        Some(group) => Route::Group { line, group },
        None => Route::Unknown,
    }
}

/// Routes a call that one of our phones makes: an extension, one of the dealership's own lines,
/// else the trunks by their prefixes.
pub fn from_phone<'a>(
    directory: &'a Directory,
    trunks: &'a [Trunk],
    caller: DealershipId,
    called: &str,
) -> Route<'a> {
    if let Some(extension) = extension(directory, called) {
        return Route::Extension(extension);
    }
    let ways = trunk_ways(trunks, called);
    if !ways.is_empty() {
        return Route::Trunks { ways };
    }
    match from_trunk(directory, called) {
        Route::Group { line, group } if line.dealership_id == caller => {
            Route::Group { line, group }
        }
        _ => Route::Unknown,
    }
}

/// The trunks that take this number, and the number as each gets it.
pub fn trunk_ways<'a>(trunks: &'a [Trunk], called: &str) -> Vec<(&'a Trunk, String)> {
    trunks
        .iter()
        .filter_map(|trunk| {
            let rest = called.strip_prefix(trunk.strip_prefix.as_str())?;
            let is_number = !rest.is_empty() && is_dialable(rest);
            is_number.then(|| (trunk, format!("{}{rest}", trunk.add_prefix)))
        })
        .collect()
}

/// The ways out for a number that comes from a list rather than from a keypad: no prefix was
/// dialled, so the first trunk takes it as it is, with its own prefix added.
pub fn dial_ways<'a>(trunks: &'a [Trunk], number: &str) -> Vec<(&'a Trunk, String)> {
    if number.is_empty() || !is_dialable(number) {
        return Vec::new();
    }
    trunks.iter().map(|trunk| (trunk, format!("{}{number}", trunk.add_prefix))).collect()
}

/// A dialled number without what people put between digits; as it came if it is a name.
pub fn dialled(user: &str) -> String {
    let user = user.split(';').next().unwrap_or_default();
    let digits: String =
        user.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.' | '/')).collect();
    if is_dialable(&digits) { digits } else { user.chars().take(MAX_NUMBER_CHARS).collect() }
}

fn is_dialable(number: &str) -> bool {
    let digits = number.strip_prefix('+').unwrap_or(number);
    number.len() <= MAX_NUMBER_CHARS
        && !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#')
}

/// A DID without what gateways put before it or leave out: `+86`, `86`, and the 0 of the area.
fn bare(number: &str) -> &str {
    let digits = number.strip_prefix('+').unwrap_or(number);
    let national = match digits.strip_prefix("86") {
        Some(rest) if rest.len() >= 9 => rest,
        _ => digits,
    };
    national.strip_prefix('0').unwrap_or(national)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_model::{GroupId, LineId, Timestamp};

    fn dealership() -> DealershipId {
        DealershipId::mint(Timestamp::from_micros(1), [1; 10])
    }

    fn house() -> (Directory, Vec<Trunk>) {
        let group_id = GroupId::mint(Timestamp::from_micros(1), [2; 10]);
        let extension = |number: &str| Extension {
            number: number.into(),
            dealership_id: dealership(),
            user_id: None,
            display_name: String::new(),
            ha1_md5: String::new(),
            ha1_sha256: String::new(),
        };
        let directory = Directory {
            realm: "cheling".into(),
            extensions: vec![extension("8001"), extension("8002")],
            lines: vec![Line {
                line_id: LineId::mint(Timestamp::from_micros(1), [3; 10]),
                dealership_id: dealership(),
                did: "02161234567".into(),
                name: "售后热线".into(),
                group_id,
            }],
            groups: vec![RingGroup {
                group_id,
                name: "售后一组".into(),
                members: vec!["8001".into(), "8002".into()],
                ring_seconds: 20,
            }],
        };
        let trunk = |name: &str, strip: &str, add: &str| Trunk {
            strip_prefix: strip.into(),
            add_prefix: add.into(),
            ..Trunk::at(name, "192.0.2.1:5060".parse().unwrap())
        };
        (directory, vec![trunk("nine", "9", ""), trunk("any", "", "17909")])
    }

    #[test]
    fn a_did_is_found_in_the_forms_gateways_send() {
        let (directory, _) = house();
        for (called, found) in [
            ("02161234567", true),
            ("2161234567", true),
            ("+862161234567", true),
            ("862161234567", true),
            ("61234567", false),
            ("02161234568", false),
            ("", false),
        ] {
            let route = from_trunk(&directory, called);
            assert_eq!(matches!(route, Route::Group { .. }), found, "{called}");
        }
        assert!(
            matches!(from_trunk(&directory, "8002"), Route::Extension(e) if e.number == "8002")
        );
        assert_eq!(from_trunk(&directory, "8003"), Route::Unknown);
    }

    #[test]
    fn a_phone_reaches_extensions_before_trunks_and_prefixes_choose_the_trunk() {
        let (directory, trunks) = house();
        let ways = |called: &str| match from_phone(&directory, &trunks, dealership(), called) {
            Route::Trunks { ways } => {
                ways.into_iter().map(|(trunk, n)| (trunk.name.clone(), n)).collect()
            }
            _ => Vec::new(),
        };
        assert!(matches!(
            from_phone(&directory, &trunks, dealership(), "8002"),
            Route::Extension(_)
        ));
        assert_eq!(
            ways("913812345678"),
            [("nine".into(), "13812345678".into()), ("any".into(), "17909913812345678".into())]
        );
        assert_eq!(ways("13812345678"), [("any".into(), "1790913812345678".into())]);
        assert_eq!(ways("9"), [("any".into(), "179099".into())]);
        assert!(ways("bob").is_empty() && ways("1;DROP").is_empty());
    }

    #[test]
    fn without_a_trunk_that_takes_it_a_number_is_unknown() {
        let (directory, mut trunks) = house();
        trunks.truncate(1);
        let route = |called: &str| from_phone(&directory, &trunks, dealership(), called);
        assert_eq!(route("13812345678"), Route::Unknown);
        assert!(matches!(route("02161234567"), Route::Group { .. }));
    }

    #[test]
    fn dialled_numbers_lose_what_people_put_between_digits() {
        for (user, want) in [
            ("138-1234 5678", "13812345678"),
            ("(021)61234567", "02161234567"),
            ("+86.138.1234.5678", "+8613812345678"),
            ("*31#13812345678", "*31#13812345678"),
            ("8001;phone-context=x", "8001"),
            ("john.doe", "john.doe"),
        ] {
            assert_eq!(dialled(user), want);
        }
    }
}
