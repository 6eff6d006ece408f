//! Invents a believable dealership, the same one for the same seed: for the demonstration, tests
//! and measurements.
//!
//! Belongs here: customers, vehicles, history, tasks, users, phones and lines as rows. Does not:
//! passwords (an argument), recordings (there is no audio).

mod customers;
mod history;
mod random;
mod words;

use crate::{Result, date};
use cheling_model::directory::Destination;
use cheling_model::follow_up::Role;
use cheling_model::reach::Reach;
use cheling_model::{DealershipId, GroupId, LineId, Timestamp, UserId};
use cheling_records::admin::Dealership;
use cheling_records::call::{Call, Leg};
use cheling_records::customer::{Customer, Segment};
use cheling_records::follow_up::{Attempt, FollowUp};
use cheling_records::phone::Phone;
use cheling_records::switchboard::{Assignment, Extension, Line, Member, RingGroup};
use cheling_records::user::User;
use cheling_records::vehicle::{Tie, Vehicle};
use cheling_records::wrap_up::WrapUp;
use cheling_records::{Database, insert, insert_all};
use jiff::civil::Date;
use random::Random;

/// What to invent.
pub struct Options<'a> {
    /// The same seed, count and moment give the same rows.
    pub seed: u64,
    /// How many customers.
    pub customers: usize,
    /// The present moment: tasks are due around it.
    pub now: Timestamp,
    /// The argon2 hash of a user's password, by sign-in name.
    pub password_hash: &'a dyn Fn(&str) -> String,
    /// Hex of MD5 and SHA-256 of `number:realm:password`, by extension number.
    pub ha1: &'a dyn Fn(&str) -> (String, String),
}

/// Someone of the invented dealership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    /// What is typed to sign in.
    pub sign_in_name: &'static str,
    /// The name.
    pub display_name: &'static str,
    /// What they are.
    pub role: Role,
    /// `售后`, `销售` or empty.
    pub team: &'static str,
    /// The number of their phone, or empty.
    pub extension: &'static str,
}

/// Who works there.
pub const PEOPLE: &[Person] = &[
    person("admin", "陈远", Role::Admin, "", ""),
    person("lijing", "李静", Role::Agent, "售后", "8001"),
    person("wangfang", "王芳", Role::Agent, "售后", "8002"),
    person("zhangwei", "张伟", Role::Agent, "售后", "8003"),
    person("liuyang", "刘洋", Role::Agent, "销售", "8004"),
    person("sunlei", "孙磊", Role::Agent, "销售", "8005"),
    person("zhoumin", "周敏", Role::Supervisor, "客服", "8006"),
    person("zhaoli", "赵丽", Role::Qa, "质检", ""),
];

/// The hotlines: digits, name, and the team that answers.
pub const LINES: &[(&str, &str, &str)] =
    &[("02168880001", "售后热线", "售后"), ("02168880002", "销售热线", "销售")];

/// The dealership's name.
pub const DEALERSHIP: &str = "远航汽车浦东店";

const fn person(
    sign_in_name: &'static str,
    display_name: &'static str,
    role: Role,
    team: &'static str,
    extension: &'static str,
) -> Person {
    Person { sign_in_name, display_name, role, team, extension }
}

/// All rows of an invented dealership.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each field is the rows of the table it names")]
pub struct Generated {
    pub dealership: Dealership,
    pub users: Vec<User>,
    pub extensions: Vec<Extension>,
    pub assignments: Vec<Assignment>,
    pub groups: Vec<RingGroup>,
    pub members: Vec<Member>,
    pub lines: Vec<Line>,
    pub customers: Vec<Customer>,
    pub segments: Vec<Segment>,
    pub phones: Vec<Phone>,
    pub vehicles: Vec<Vehicle>,
    pub ties: Vec<Tie>,
    pub follow_ups: Vec<FollowUp>,
    pub calls: Vec<Call>,
    pub legs: Vec<Leg>,
    pub attempts: Vec<Attempt>,
    pub wrap_ups: Vec<WrapUp>,
}

/// Invents a dealership.
pub fn generate(options: &Options<'_>) -> Generated {
    let mut random = Random::new(options.seed);
    let mut made = people(options, &mut random);
    let mut scene = Scene {
        dealership_id: made.dealership.dealership_id,
        now: options.now,
        today: date::of(options.now),
        random,
    };
    customers::add(&mut made, &mut scene, options.customers);
    history::add(&mut made, &mut scene);
    made
}

/// What every part needs.
struct Scene {
    dealership_id: DealershipId,
    now: Timestamp,
    today: Date,
    random: Random,
}

impl Scene {
    /// A moment between 9 and 18 o'clock on the day `days` ago; never after now.
    fn working_hour(&mut self, days_ago: i64) -> Timestamp {
        let midnight = date::midnight(date::plus_days(self.today, -days_ago)).as_micros();
        let second = 9 * 3600 + self.random.below(9 * 3600) as i64;
        let at = midnight + second * 1_000_000 + self.random.below(1_000_000) as i64;
        Timestamp::from_micros(at.min(self.now.as_micros() - 60_000_000))
    }
}

/// `at`, `seconds` later.
fn later(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_micros(at.as_micros() + seconds * 1_000_000)
}

fn people(options: &Options<'_>, random: &mut Random) -> Generated {
    let opened = later(options.now, -6 * 365 * 86_400);
    let dealership_id = DealershipId::mint(opened, random.bytes());
    let mut made = Generated {
        dealership: Dealership {
            dealership_id,
            name: DEALERSHIP.to_owned(),
            area_code: "021".to_owned(),
            created_at: opened,
        },
        users: Vec::new(),
        extensions: Vec::new(),
        assignments: Vec::new(),
        groups: Vec::new(),
        members: Vec::new(),
        lines: Vec::new(),
        customers: Vec::new(),
        segments: Vec::new(),
        phones: Vec::new(),
        vehicles: Vec::new(),
        ties: Vec::new(),
        follow_ups: Vec::new(),
        calls: Vec::new(),
        legs: Vec::new(),
        attempts: Vec::new(),
        wrap_ups: Vec::new(),
    };
    for person in PEOPLE {
        let user_id = UserId::mint(opened, random.bytes());
        made.users.push(User {
            user_id,
            dealership_id,
            sign_in_name: person.sign_in_name.to_owned(),
            display_name: person.display_name.to_owned(),
            role: person.role,
            team: person.team.to_owned(),
            password_hash: (options.password_hash)(person.sign_in_name),
            disabled: false,
            created_at: opened,
            updated_at: opened,
        });
        if person.extension.is_empty() {
            continue;
        }
        let (ha1_md5, ha1_sha256) = (options.ha1)(person.extension);
        let extension_id = random.uuid(opened);
        made.extensions.push(Extension {
            extension_id,
            dealership_id,
            number: person.extension.to_owned(),
            display_name: person.display_name.to_owned(),
            ha1_md5,
            ha1_sha256,
            reach: Reach::National,
            disabled: false,
            created_at: opened,
        });
        made.assignments.push(Assignment {
            assignment_id: random.uuid(opened),
            extension_id,
            user_id,
            since: opened,
            until: None,
        });
    }
    for &(did, name, team) in LINES {
        let group_id = GroupId::mint(opened, random.bytes());
        let name_of_group = format!("{team}组");
        made.groups.push(RingGroup::ring_all(group_id, dealership_id, &name_of_group, 30));
        let team_members = PEOPLE.iter().filter(|person| person.team == team);
        for (person, position) in team_members.zip(0..) {
            let found = made.extensions.iter().find(|it| it.number == person.extension);
            made.members.extend(found.map(|extension| Member {
                group_id,
                extension_id: extension.extension_id,
                position,
            }));
        }
        made.lines.push(Line {
            line_id: LineId::mint(opened, random.bytes()),
            dealership_id,
            did: did.to_owned(),
            name: name.to_owned(),
            group_id,
            schedule_id: None,
            closed: Destination::Unavailable,
        });
    }
    made
}

impl Generated {
    /// Writes all rows, or none.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] if it was written before; [`crate::Error::Unavailable`].
    pub async fn write(&self, db: &Database) -> Result<()> {
        let mut tx = db.begin().await?;
        insert(&mut tx, &self.dealership).await?;
        insert_all(&mut tx, &self.users).await?;
        insert_all(&mut tx, &self.extensions).await?;
        insert_all(&mut tx, &self.assignments).await?;
        insert_all(&mut tx, &self.groups).await?;
        insert_all(&mut tx, &self.members).await?;
        insert_all(&mut tx, &self.lines).await?;
        insert_all(&mut tx, &self.customers).await?;
        insert_all(&mut tx, &self.segments).await?;
        insert_all(&mut tx, &self.phones).await?;
        insert_all(&mut tx, &self.vehicles).await?;
        insert_all(&mut tx, &self.ties).await?;
        insert_all(&mut tx, &self.follow_ups).await?;
        insert_all(&mut tx, &self.calls).await?;
        insert_all(&mut tx, &self.legs).await?;
        insert_all(&mut tx, &self.attempts).await?;
        insert_all(&mut tx, &self.wrap_ups).await?;
        tx.commit().await?;
        db.analyze().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cheling_model::follow_up::FollowUpState;
    use cheling_records::testing::{NOW, TODAY, on_both};
    use std::collections::HashSet;

    fn options(seed: u64) -> Options<'static> {
        Options {
            seed,
            customers: 300,
            now: NOW,
            password_hash: &|name| format!("hash of {name}"),
            ha1: &|number| (format!("m{number}"), format!("s{number}")),
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_dealership() {
        assert_eq!(generate(&options(7)), generate(&options(7)));
        assert_ne!(generate(&options(7)).customers, generate(&options(8)).customers);
    }

    #[test]
    fn every_vin_has_a_valid_check_digit_and_is_unique() {
        let made = generate(&options(7));
        let mut seen = HashSet::new();
        for vehicle in &made.vehicles {
            assert!(crate::import::is_vin(&vehicle.vin), "{}", vehicle.vin);
            assert!(seen.insert(&vehicle.vin));
        }
    }

    #[test]
    fn every_agent_has_work_today_and_some_of_yesterday() {
        let made = generate(&options(7));
        for user in made.users.iter().filter(|user| user.role == Role::Agent) {
            let open: Vec<_> = made
                .follow_ups
                .iter()
                .filter(|it| it.owner_user_id == Some(user.user_id))
                .filter(|it| it.state == FollowUpState::Open)
                .collect();
            let today = open.iter().filter(|it| it.due_on == TODAY).count();
            let overdue = open.iter().filter(|it| it.due_on.as_str() < TODAY).count();
            assert!(today >= 5 && overdue >= 2, "{}: {today} {overdue}", user.display_name);
            assert!(open.iter().all(|it| !it.subject.is_empty() && it.customer_id.is_some()));
        }
    }

    #[test]
    fn numbers_read_back_to_their_keys() {
        for phone in &generate(&options(7)).phones {
            let number = crate::number::read(&phone.number, "021").unwrap();
            assert_eq!((&number.key, number.kind), (&phone.number_key, phone.number_kind));
        }
    }

    #[tokio::test]
    async fn both_engines_take_it_once() {
        on_both(async |db| {
            let made = generate(&options(7));
            made.write(&db).await.unwrap();
            let here = made.dealership.dealership_id;
            assert_eq!(cheling_records::customer::count(&db, here).await.unwrap(), 300);
            assert!(made.write(&db).await.is_err());
            let directory = crate::directory::build(&db, "cheling", 8 * 3600).await.unwrap();
            assert_eq!(directory.extensions.len(), 6);
            assert_eq!(directory.groups.iter().map(|it| it.members.len()).sum::<usize>(), 5);
            assert_eq!(directory.lines.len(), 2);
        })
        .await;
    }
}
