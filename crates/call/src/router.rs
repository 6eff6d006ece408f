//! Where a call goes within the house: lines, extensions.
//!
//! Belongs here: numbers as dialled against the directory.
//! Does not: the ways out of the house (`dialling`), who rings when (`hunt`), who is registered
//! (`registrar`), what is said on the wire (`b2bua`).

use std::net::SocketAddr;
use std::sync::Arc;

use cheling_model::DealershipId;
use cheling_model::directory::{Dealership, Directory, Extension, Line, RingGroup, Trunk};

/// The longest number that is routed; E.164 has 15 digits, prefixes and access codes come on top.
const MAX_NUMBER_CHARS: usize = 40;
/// Phones that ring for one call at most; a group with more rings its first ones.
pub const MAX_FORKS: usize = 64;

/// Where a number leads within the house.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// A line of ours.
    Line(&'a Line),
    /// One of our phones.
    Extension(&'a Extension),
    /// Nobody here has this number.
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
///
/// The extensions must be [`in_order`]: ten thousand phones register by this.
pub fn extension<'a>(directory: &'a Directory, number: &str) -> Option<&'a Extension> {
    let found = directory.extensions.binary_search_by(|it| it.number.as_str().cmp(number));
    found.ok().and_then(|index| directory.extensions.get(index))
}

/// The directory with its extensions in the order of their numbers, octet by octet: databases have
/// orders of their own.
pub fn in_order(mut directory: Arc<Directory>) -> Arc<Directory> {
    if !directory.extensions.is_sorted_by(|a, b| a.number <= b.number) {
        Arc::make_mut(&mut directory).extensions.sort_by(|a, b| a.number.cmp(&b.number));
    }
    directory
}

/// The group of this id.
pub fn group(directory: &Directory, group_id: cheling_model::GroupId) -> Option<&RingGroup> {
    directory.groups.iter().find(|group| group.group_id == group_id)
}

/// What calls of this dealership go by.
pub fn dealership(directory: &Directory, id: DealershipId) -> Option<&Dealership> {
    directory.dealerships.iter().find(|dealership| dealership.dealership_id == id)
}

/// Routes a call that a trunk brings: a line's DID, else an extension.
pub fn from_trunk<'a>(directory: &'a Directory, called: &str) -> Route<'a> {
    let line = directory.lines.iter().find(|line| line.did == called).or_else(|| {
        let called = bare(called);
        directory.lines.iter().find(|line| bare(&line.did) == called)
    });
    match line {
        Some(line) => Route::Line(line),
        None => extension(directory, called).map_or(Route::Unknown, Route::Extension),
    }
}

/// Routes a call that one of our phones makes, within the house: an extension, else one of the
/// dealership's own lines.
pub fn from_phone<'a>(directory: &'a Directory, caller: DealershipId, called: &str) -> Route<'a> {
    if let Some(extension) = extension(directory, called) {
        return Route::Extension(extension);
    }
    match from_trunk(directory, called) {
        Route::Line(line) if line.dealership_id == caller => Route::Line(line),
        _ => Route::Unknown,
    }
}

/// A dialled number without what people put between digits; as it came if it is a name.
pub fn dialled(user: &str) -> String {
    let user = user.split(';').next().unwrap_or_default();
    let digits: String =
        user.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.' | '/')).collect();
    if is_dialable(&digits) { digits } else { user.chars().take(MAX_NUMBER_CHARS).collect() }
}

/// Whether it is digits that a trunk may be sent.
pub(crate) fn is_dialable(number: &str) -> bool {
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
    use cheling_model::reach::Reach;
    use cheling_model::{GroupId, LineId, Timestamp};

    fn dealership() -> DealershipId {
        DealershipId::mint(Timestamp::from_micros(1), [1; 10])
    }

    fn house() -> Directory {
        let group_id = GroupId::mint(Timestamp::from_micros(1), [2; 10]);
        let extension = |number: &str| Extension {
            number: number.into(),
            dealership_id: dealership(),
            user_id: None,
            display_name: String::new(),
            ha1_md5: String::new(),
            ha1_sha256: String::new(),
            reach: Reach::National,
        };
        Directory {
            realm: "cheling".into(),
            extensions: vec![extension("8001"), extension("8002")],
            lines: vec![Line {
                line_id: LineId::mint(Timestamp::from_micros(1), [3; 10]),
                dealership_id: dealership(),
                did: "02161234567".into(),
                name: "售后热线".into(),
                group_id,
                hours: None,
                closed: Default::default(),
            }],
            groups: vec![RingGroup::ring_all(group_id, "售后一组", &["8001", "8002"], 20)],
            dealerships: Vec::new(),
        }
    }

    #[test]
    fn every_extension_is_found_whatever_order_the_database_has() {
        let mut directory = house();
        let pattern = directory.extensions.remove(0);
        let numbers = ["9", "8002", "80", "10000000", "8001", "801", "2"];
        directory.extensions =
            numbers.map(|number| Extension { number: number.into(), ..pattern.clone() }).into();
        let directory = in_order(Arc::new(directory));
        for number in numbers {
            assert_eq!(extension(&directory, number).map(|it| it.number.as_str()), Some(number));
        }
        for number in ["", "8", "8003", "90"] {
            assert!(extension(&directory, number).is_none(), "{number}");
        }
    }

    #[test]
    fn a_did_is_found_in_the_forms_gateways_send() {
        let directory = house();
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
            assert_eq!(matches!(route, Route::Line(_)), found, "{called}");
        }
        assert!(
            matches!(from_trunk(&directory, "8002"), Route::Extension(e) if e.number == "8002")
        );
        assert_eq!(from_trunk(&directory, "8003"), Route::Unknown);
    }

    #[test]
    fn a_phone_reaches_extensions_and_the_lines_of_its_own_house() {
        let directory = house();
        let route = |caller, called| from_phone(&directory, caller, called);
        assert!(matches!(route(dealership(), "8002"), Route::Extension(_)));
        assert!(matches!(route(dealership(), "02161234567"), Route::Line(_)));
        let other = DealershipId::mint(Timestamp::from_micros(1), [9; 10]);
        assert_eq!(route(other, "02161234567"), Route::Unknown);
        assert_eq!(route(dealership(), "13812345678"), Route::Unknown);
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
