//! The ways out of the house for a number: which trunks take it, as which digits, and whether
//! whoever dials may.
//!
//! Belongs here: prefixes, permissions, the dial rules of trunks, their order. Does not: how a
//! trunk fares (`trunks`), how it is called (`b2bua`).

use cheling_model::directory::{Dealership, LocalNumbers, Trunk};
use cheling_model::number::{NumberKind, PhoneNumber};
use cheling_model::numbering;
use cheling_model::reach::{LocalMobiles, Reach, is_emergency, is_for_everybody};

use crate::router::is_dialable;

/// A trunk, and the number as it gets it.
pub type Way<'a> = (&'a Trunk, String);

/// Whence a number comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialled {
    /// From a keypad: the prefix says which trunk, and what no rule is for goes as it came.
    Keypad,
    /// From a list, with area code and without prefix: every trunk may take it.
    List,
}

/// Who dials, and how far that may go.
#[derive(Clone, Copy, Debug)]
pub struct Dialler<'a> {
    /// Whose phone it is; `None` if we know nothing of the dealership.
    pub dealership: Option<&'a Dealership>,
    /// What it may dial.
    pub reach: Reach,
    /// Which mobiles are from town.
    pub local_mobiles: &'a LocalMobiles,
}

/// How a trunk stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Calls that cross it now.
    pub calls: u32,
    /// It did not answer lately, or asked for rest.
    pub is_in_trouble: bool,
}

/// Why there is no way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No trunk takes it.
    #[error("no extension, line or trunk takes this number")]
    NoTrunk,
    /// The phone may not dial that far.
    #[error("this phone may not dial {} numbers", .0.as_str())]
    NotPermitted(Reach),
    /// Nobody may dial it.
    #[error("this number begins with a prefix that is blocked")]
    Blocked,
    /// All trunks that take it carry as many calls as they may.
    #[error("all trunks are in use")]
    TrunksFull,
    /// Nobody knows the address of a trunk that takes it.
    #[error("the name of the trunk is not resolved")]
    NotResolved,
}

impl Refusal {
    /// The status for the phone.
    pub const fn status(self) -> u16 {
        match self {
            Self::NoTrunk => 404,
            Self::NotPermitted(_) | Self::Blocked => 403,
            Self::TrunksFull | Self::NotResolved => 503,
        }
    }

    /// The cause of ITU-T Q.850 that says most of it.
    pub const fn q850(self) -> u8 {
        match self {
            Self::NoTrunk => 1,                          // unallocated number
            Self::NotPermitted(_) | Self::Blocked => 57, // bearer capability not authorized
            Self::NotResolved => 38,                     // network out of order
            Self::TrunksFull => 34,                      // no circuit available
        }
    }
}

/// Whether this call is for help: it is never refused for a permission or a limit of ours.
pub fn is_for_help(trunks: &[Trunk], called: &str) -> bool {
    is_emergency(called) || help_behind_prefix(trunks, called).is_some()
}

/// The number of help behind the prefix of a trunk: 9110 is 110, too.
fn help_behind_prefix<'n>(trunks: &[Trunk], called: &'n str) -> Option<&'n str> {
    let rests = trunks.iter().filter_map(|trunk| called.strip_prefix(trunk.strip_prefix.as_str()));
    rests.into_iter().find(|rest| is_emergency(rest))
}

/// The trunks that take this number, the best first.
///
/// # Errors
/// [`Refusal`] if there is none.
pub fn ways<'a>(
    trunks: &'a [Trunk],
    dialler: Dialler<'_>,
    called: &str,
    dialled: Dialled,
    standing: impl Fn(&Trunk) -> Standing,
) -> Result<Vec<Way<'a>>, Refusal> {
    let help = if is_emergency(called) { Some(called) } else { help_behind_prefix(trunks, called) };
    if let Some(help) = help {
        // By whatever trunk, even one whose prefix was not dialled.
        let all = trunks.iter().map(|trunk| (trunk, format!("{}{help}", trunk.add_prefix)));
        return sorted(all.collect(), standing);
    }
    let mut refusal = Refusal::NoTrunk;
    let mut ways = Vec::new();
    for trunk in trunks {
        let prefix = match dialled {
            Dialled::Keypad => trunk.strip_prefix.as_str(),
            Dialled::List => "",
        };
        let Some(rest) = called.strip_prefix(prefix).filter(|rest| is_dialable(rest)) else {
            continue;
        };
        let is_taken = |rest: &str| {
            trunk.prefixes.is_empty()
                || trunk.prefixes.iter().any(|prefix| rest.starts_with(prefix.as_str()))
        };
        if !is_taken(rest) {
            continue;
        }
        let number = read(rest, dialler);
        if let Err(refused) = dialler.may(rest, number.as_ref()) {
            refusal = worse(refusal, refused);
            continue;
        }
        let is_full = trunk.max_calls.is_some_and(|max| standing(trunk).calls >= max);
        if is_full && !number.as_ref().is_some_and(is_for_everybody) {
            refusal = worse(refusal, Refusal::TrunksFull);
            continue;
        }
        let sent = sent(trunk, dialler, rest, number.as_ref(), dialled);
        ways.push((trunk, format!("{}{sent}", trunk.add_prefix)));
    }
    if ways.is_empty() { Err(refusal) } else { sorted(ways, standing) }
}

/// Trunks in trouble last; otherwise as the config has them.
fn sorted<'a>(
    mut ways: Vec<Way<'a>>,
    standing: impl Fn(&Trunk) -> Standing,
) -> Result<Vec<Way<'a>>, Refusal> {
    ways.sort_by_key(|(trunk, _)| standing(trunk).is_in_trouble);
    if ways.is_empty() { Err(Refusal::NoTrunk) } else { Ok(ways) }
}

/// Of the reasons of several trunks the one that says most.
fn worse(a: Refusal, b: Refusal) -> Refusal {
    let rank = |refusal: &Refusal| match refusal {
        Refusal::NoTrunk => 0,
        Refusal::NotPermitted(_) => 1,
        Refusal::Blocked => 2,
        Refusal::TrunksFull | Refusal::NotResolved => 3,
    };
    // Of two that were not permitted, the one that asks for less: dialled with the wrong trunk's
    // eyes, a local number looks like one from abroad.
    match (a, b) {
        (Refusal::NotPermitted(a), Refusal::NotPermitted(b)) => Refusal::NotPermitted(a.min(b)),
        _ if rank(&b) > rank(&a) => b,
        _ => a,
    }
}

/// The number in what was dialled; none where there are `*` and `#`.
fn read(rest: &str, dialler: Dialler<'_>) -> Option<PhoneNumber> {
    if rest.contains(['*', '#']) {
        return None;
    }
    numbering::read(rest, dialler.area_code())
}

impl Dialler<'_> {
    fn area_code(&self) -> &str {
        self.dealership.map_or("", |dealership| dealership.area_code.as_str())
    }

    fn may(&self, rest: &str, number: Option<&PhoneNumber>) -> Result<(), Refusal> {
        let blocked = self.dealership.map_or(&[][..], |it| it.blocked_prefixes.as_slice());
        let national = number.map(numbering::national);
        let is_blocked = blocked.iter().any(|prefix| {
            let begins = |digits: &str| !prefix.is_empty() && digits.starts_with(prefix.as_str());
            begins(rest)
                || national.as_deref().is_some_and(begins)
                || number.is_some_and(|number| begins(&number.key))
        });
        if is_blocked {
            return Err(Refusal::Blocked);
        }
        let needed = number.map_or(Reach::International, |number| {
            Reach::to(number, self.area_code(), self.local_mobiles)
        });
        if needed <= self.reach { Ok(()) } else { Err(Refusal::NotPermitted(needed)) }
    }
}

/// The digits that a trunk is sent, before its own prefix.
fn sent(
    trunk: &Trunk,
    dialler: Dialler<'_>,
    rest: &str,
    number: Option<&PhoneNumber>,
    dialled: Dialled,
) -> String {
    let Some(number) = number else { return rest.to_owned() };
    match (number.kind, &trunk.mobile_prefix) {
        (NumberKind::Mobile, Some(prefix)) => {
            let is_from_town = dialler.local_mobiles.knows(number) == Some(true);
            let prefix = if is_from_town { "" } else { prefix.as_str() };
            return format!("{prefix}{}", numbering::national(number));
        }
        (NumberKind::Landline, _) => {
            let is_near = number.area_code.is_some()
                && number.area_code.as_deref() == dialler.area_code().strip_prefix('0');
            match (is_near, trunk.local_numbers, dialled) {
                (true, LocalNumbers::WithoutAreaCode, _)
                | (true, LocalNumbers::AsDialled, Dialled::List) => {
                    return numbering::local(number).unwrap_or(rest).to_owned();
                }
                (true, LocalNumbers::WithAreaCode, _) => return numbering::national(number),
                _ => {}
            }
        }
        _ => {}
    }
    match dialled {
        Dialled::Keypad => rest.to_owned(),
        Dialled::List => numbering::national(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_model::{DealershipId, Timestamp};

    fn dealership() -> Dealership {
        Dealership {
            dealership_id: DealershipId::mint(Timestamp::from_micros(1), [1; 10]),
            area_code: "021".into(),
            utc_offset_s: 8 * 3600,
            blocked_prefixes: vec!["168".into(), "00882".into()],
        }
    }

    fn trunk(name: &str, strip: &str, add: &str) -> Trunk {
        Trunk {
            strip_prefix: strip.into(),
            add_prefix: add.into(),
            ..Trunk::at(name, "192.0.2.1:5060".parse().unwrap())
        }
    }

    struct Scene {
        trunks: Vec<Trunk>,
        reach: Reach,
        local_mobiles: LocalMobiles,
        /// Name, calls, whether in trouble.
        standing: Vec<(&'static str, u32, bool)>,
    }

    impl Scene {
        fn new(trunks: Vec<Trunk>) -> Self {
            let local_mobiles = LocalMobiles::default();
            Self { trunks, reach: Reach::International, local_mobiles, standing: Vec::new() }
        }

        fn ways(&self, called: &str, dialled: Dialled) -> Result<Vec<(String, String)>, Refusal> {
            let house = dealership();
            let dialler = Dialler {
                dealership: Some(&house),
                reach: self.reach,
                local_mobiles: &self.local_mobiles,
            };
            let standing = |trunk: &Trunk| {
                let known = self.standing.iter().find(|(name, ..)| *name == trunk.name);
                known.map_or(Standing::default(), |(_, calls, is_in_trouble)| Standing {
                    calls: *calls,
                    is_in_trouble: *is_in_trouble,
                })
            };
            ways(&self.trunks, dialler, called, dialled, standing).map(|ways| {
                ways.into_iter().map(|(trunk, number)| (trunk.name.clone(), number)).collect()
            })
        }

        fn keypad(&self, called: &str) -> String {
            told(self.ways(called, Dialled::Keypad))
        }

        fn list(&self, called: &str) -> String {
            told(self.ways(called, Dialled::List))
        }
    }

    fn told(ways: Result<Vec<(String, String)>, Refusal>) -> String {
        match ways {
            Ok(ways) => {
                let told: Vec<_> =
                    ways.iter().map(|(name, sent)| format!("{name} {sent}")).collect();
                told.join(", ")
            }
            Err(refusal) => format!("{refusal:?}"),
        }
    }

    #[test]
    fn prefixes_choose_the_trunk_and_its_rules_write_the_number() {
        let scene = Scene::new(vec![trunk("nine", "9", ""), trunk("any", "", "17909")]);
        for (called, want) in [
            ("913812345678", "nine 13812345678, any 17909913812345678"),
            ("13812345678", "any 1790913812345678"),
            ("9", "any 179099"),
            ("bob", "NoTrunk"),
            ("1;DROP", "NoTrunk"),
        ] {
            assert_eq!(scene.keypad(called), want, "{called}");
        }
        assert_eq!(scene.list("13812345678"), "nine 13812345678, any 1790913812345678");
        let mut mobiles = trunk("gsm", "", "");
        mobiles.prefixes = vec!["1".into(), "01".into()];
        let scene = Scene::new(vec![mobiles, trunk("city", "", "")]);
        assert_eq!(scene.keypad("13812345678"), "gsm 13812345678, city 13812345678");
        assert_eq!(scene.keypad("61234567"), "city 61234567");
    }

    #[test]
    fn mobiles_from_elsewhere_get_their_prefix_and_local_numbers_lose_their_area_code() {
        let mut city = trunk("city", "9", "");
        city.mobile_prefix = Some("0".into());
        city.local_numbers = LocalNumbers::WithoutAreaCode;
        let mut scene = Scene::new(vec![city]);
        let cases = [
            ("913812345678", "city 013812345678"),
            ("9013812345678", "city 013812345678"),
            ("902161234567", "city 61234567"),
            ("961234567", "city 61234567"),
            ("901061234567", "city 01061234567"),
            ("995588", "city 95588"),
            ("9*31#13812345678", "city *31#13812345678"),
        ];
        for (called, want) in cases {
            assert_eq!(scene.keypad(called), want, "{called}");
        }
        scene.local_mobiles = LocalMobiles::read("1381234").unwrap();
        assert_eq!(scene.keypad("913812345678"), "city 13812345678");
        assert_eq!(scene.keypad("913912345678"), "city 013912345678");
        scene.trunks[0].local_numbers = LocalNumbers::WithAreaCode;
        assert_eq!(scene.keypad("961234567"), "city 02161234567");
    }

    #[test]
    fn without_rules_a_keypads_number_goes_as_it_came_and_a_lists_as_the_city_dials_it() {
        let scene = Scene::new(vec![trunk("any", "", "")]);
        for (called, keypad, list) in [
            ("013812345678", "any 013812345678", "any 13812345678"),
            ("02161234567", "any 02161234567", "any 61234567"),
            ("01061234567", "any 01061234567", "any 01061234567"),
            ("+85261234567", "any +85261234567", "any 0085261234567"),
        ] {
            assert_eq!(scene.keypad(called), keypad);
            assert_eq!(scene.list(called), list);
        }
    }

    #[test]
    fn a_phone_dials_as_far_as_it_may() {
        let mut scene = Scene::new(vec![trunk("nine", "9", ""), trunk("any", "", "")]);
        for (called, needs) in [
            ("961234567", Reach::Local),
            ("913812345678", Reach::Local),
            ("901061234567", Reach::National),
            ("90085261234567", Reach::International),
        ] {
            for reach in Reach::ALL {
                scene.reach = reach;
                let told = scene.keypad(called);
                if reach < needs {
                    assert_eq!(told, format!("NotPermitted({needs:?})"), "{called} {reach:?}");
                } else {
                    assert!(told.starts_with("nine "), "{called} {reach:?} {told}");
                }
            }
        }
        scene.reach = Reach::Internal;
        for called in ["995588", "910086", "94008001234", "9110", "110", "119", "120", "122"] {
            assert!(scene.ways(called, Dialled::Keypad).is_ok(), "{called}");
        }
    }

    #[test]
    fn blocked_prefixes_hold_for_everybody_but_not_for_help() {
        let mut scene = Scene::new(vec![trunk("any", "", "")]);
        for called in ["16812345", "0088213", "+88213000000", "0088213000000"] {
            assert_eq!(scene.keypad(called), "Blocked", "{called}");
        }
        assert_eq!(scene.keypad("13168123456"), "any 13168123456");
        scene.trunks[0].max_calls = Some(0);
        assert_eq!(scene.keypad("120"), "any 120");
    }

    #[test]
    fn a_full_trunk_is_passed_over_and_one_in_trouble_comes_last() {
        let mut first = trunk("first", "", "");
        first.max_calls = Some(2);
        let mut scene = Scene::new(vec![first, trunk("second", "", "")]);
        scene.standing = vec![("first", 1, true)];
        assert_eq!(scene.keypad("13812345678"), "second 13812345678, first 13812345678");
        scene.standing = vec![("first", 2, false)];
        assert_eq!(scene.keypad("13812345678"), "second 13812345678");
        assert_eq!(scene.keypad("95588"), "first 95588, second 95588");
        assert_eq!(scene.keypad("110"), "first 110, second 110");
        scene.trunks.pop();
        assert_eq!(scene.keypad("13812345678"), "TrunksFull");
        assert_eq!(scene.keypad("110"), "first 110");
    }

    #[test]
    fn help_is_reached_with_and_without_the_prefix_of_a_trunk() {
        let scene = Scene::new(vec![trunk("nine", "9", ""), trunk("zero", "0", "")]);
        for called in ["110", "9110", "0110"] {
            assert!(is_for_help(&scene.trunks, called), "{called}");
            assert_eq!(scene.keypad(called), "nine 110, zero 110", "{called}");
        }
        assert!(!is_for_help(&scene.trunks, "91101"));
        assert_eq!(Scene::new(Vec::new()).keypad("110"), "NoTrunk");
    }
}
