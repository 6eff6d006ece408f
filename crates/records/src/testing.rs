//! Databases of a test's own, on both engines, and rows to put in.
//!
//! PostgreSQL is a throwaway cluster of the test process: its own folder and socket, no port, no
//! fsync. A shell holds it and removes it when the process is gone, however it went: it waits for
//! the end of a pipe.

use crate::admin::Dealership;
use crate::call::{Call, MatchMethod};
use crate::customer::{Customer, pinyin};
use crate::follow_up::FollowUp;
use crate::phone::Phone;
use crate::switchboard::{Assignment, Extension};
use crate::user::User;
use crate::{Database, insert, mint};
use cheling_model::follow_up::{FollowUpState, FollowUpType, Lifecycle, Role};
use cheling_model::number::NumberKind;
use cheling_model::{CallId, CustomerId, DealershipId, Direction, Presentation, Timestamp, UserId};
use sqlx::Connection as _;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// A moment in a working morning: 2026-11-22 09:30 in China.
pub const NOW: Timestamp = Timestamp::from_micros(1_795_311_000_000_000);
/// Its date.
pub const TODAY: &str = "2026-11-22";

/// Runs a test on an empty SQLite file, then on an empty PostgreSQL database.
///
/// # Panics
/// If the test does, or PostgreSQL is not installed.
pub async fn on_both(test: impl AsyncFn(Database)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = format!("sqlite://{}", folder.path().join("test.db").display());
    let name = new_postgres().await;
    for url in [file, cluster().url(&name)] {
        let db = Database::open(&url).await.expect("an empty database opens");
        let _told = Told(db.engine());
        test(db.clone()).await;
        db.close().await;
    }
    // A hundred of them are a gigabyte.
    administer(format!("drop database {name}")).await;
}

/// Says on which engine a test failed.
struct Told(crate::Engine);

impl Drop for Told {
    #[allow(clippy::print_stderr, reason = "it belongs to the test's own report")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed on {:?}", self.0);
        }
    }
}

/// The URL of a new, empty PostgreSQL database in this process's own cluster.
///
/// # Panics
/// If PostgreSQL is not installed or does not start.
pub async fn postgres_url() -> String {
    cluster().url(&new_postgres().await)
}

/// Its name.
async fn new_postgres() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    administer(format!("create database {name}")).await;
    name
}

async fn administer(statement: String) {
    let mut admin = sqlx::PgConnection::connect(&cluster().url("postgres"))
        .await
        .expect("the test's own PostgreSQL answers");
    let done = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut admin).await;
    done.expect("its administrator may do everything");
    admin.close().await.expect("the connection closes");
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

struct Cluster {
    folder: String,
    /// The shell goes on as long as this pipe is open.
    _pipe: ChildStdin,
    _shell: Child,
}

/// `$1` is the folder of PostgreSQL's programs.
const HOLD: &str = r#"
trap '' INT TERM HUP
folder=$(mktemp -d) && cd "$folder" || exit 1
"$1/initdb" --no-sync -D data -U postgres -A trust -E UTF8 --locale=C >log 2>&1 &&
"$1/pg_ctl" -D data -l log -w -o "-k '$folder' -c listen_addresses='' -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_connections=300" start >>log 2>&1 ||
    { cat log; rm -rf "$folder"; exit 1; }
echo "ready $folder"
read -r _
"$1/pg_ctl" -D data -m immediate -w stop >/dev/null 2>&1
cd / && rm -rf "$folder"
"#;

impl Cluster {
    fn start() -> Self {
        let programs = programs();
        // initdb refuses to run as root.
        let is_root = std::fs::read_to_string("/proc/self/status")
            .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t")));
        let mut command = if is_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", "sh"]);
            command
        } else {
            Command::new("sh")
        };
        #[allow(clippy::zombie_processes, reason = "it ends after this process does")]
        let mut shell = command
            .args(["-c", HOLD, "sh"])
            .arg(&programs)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell (as user postgres, where the tests run as root)");
        let pipe = shell.stdin.take().expect("it was piped");
        let mut said = String::new();
        for line in BufReader::new(shell.stdout.take().expect("it was piped")).lines() {
            let line = line.expect("the shell speaks UTF-8");
            if let Some(folder) = line.strip_prefix("ready ") {
                return Self { folder: folder.to_owned(), _pipe: pipe, _shell: shell };
            }
            said.push_str(&line);
            said.push('\n');
        }
        panic!("PostgreSQL for the tests did not start:\n{said}");
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.folder)
    }
}

fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<_> = versions
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect(
        "these tests run on PostgreSQL too, and its programs are not in \
         /usr/lib/postgresql/*/bin: install the Debian package `postgresql`",
    )
}

/// A dealership in Shanghai, inserted.
///
/// # Panics
/// If it cannot be inserted.
pub async fn dealership(db: &Database) -> DealershipId {
    let row = Dealership {
        dealership_id: mint(),
        name: "远航汽车".into(),
        area_code: "021".into(),
        created_at: NOW,
    };
    insert(db, &row).await.expect("a dealership");
    row.dealership_id
}

/// An agent at a phone since long ago, inserted.
///
/// # Panics
/// If they cannot be inserted.
pub async fn agent(db: &Database, dealership_id: DealershipId, extension: &str) -> UserId {
    let user = User {
        user_id: mint(),
        dealership_id,
        sign_in_name: format!("agent{extension}"),
        display_name: format!("坐席{extension}"),
        role: Role::Agent,
        team: "售后".into(),
        password_hash: String::new(),
        disabled: false,
        created_at: NOW,
        updated_at: NOW,
    };
    insert(db, &user).await.expect("a user");
    let phone = Extension {
        extension_id: mint(),
        dealership_id,
        number: extension.into(),
        display_name: user.display_name.clone(),
        ha1_md5: "00".into(),
        ha1_sha256: "00".into(),
        reach: cheling_model::reach::Reach::National,
        disabled: false,
        created_at: NOW,
    };
    insert(db, &phone).await.expect("an extension");
    let seat = Assignment {
        assignment_id: mint(),
        extension_id: phone.extension_id,
        user_id: user.user_id,
        since: Timestamp::from_micros(0),
        until: None,
    };
    insert(db, &seat).await.expect("an assignment");
    user.user_id
}

/// A customer with one mobile number, inserted.
///
/// # Panics
/// If they cannot be inserted.
pub async fn customer(
    db: &Database,
    dealership_id: DealershipId,
    name: &str,
    mobile: &str,
) -> CustomerId {
    let (full, initials) = pinyin(name);
    let customer = Customer {
        customer_id: mint(),
        dealership_id,
        customer_no: crate::customer::next_no(db, dealership_id).await.expect("a number"),
        kind: "person".into(),
        name: name.into(),
        pinyin: full,
        pinyin_initials: initials,
        salutation: "先生".into(),
        lifecycle: Lifecycle::Existing,
        lead_grade: String::new(),
        source: "bought_here".into(),
        owner_user_id: None,
        address: String::new(),
        note: String::new(),
        created_at: NOW,
        updated_at: NOW,
        deleted_at: None,
    };
    insert(db, &customer).await.expect("a customer");
    let phone = phone(dealership_id, customer.customer_id, mobile);
    insert(db, &phone).await.expect("a number");
    customer.customer_id
}

/// A primary mobile number.
pub fn phone(dealership_id: DealershipId, customer_id: CustomerId, mobile: &str) -> Phone {
    Phone {
        phone_id: mint(),
        dealership_id,
        customer_id,
        number: mobile.into(),
        number_key: format!("+86{mobile}"),
        number_kind: NumberKind::Mobile,
        label: "本人".into(),
        is_primary: true,
        status: "ok".into(),
        created_at: NOW,
    }
}

/// An open task due today.
pub fn task(dealership_id: DealershipId, customer_id: CustomerId, owner: UserId) -> FollowUp {
    FollowUp {
        follow_up_id: mint(),
        dealership_id,
        follow_up_type: FollowUpType::Service3dc,
        customer_id: Some(customer_id),
        vehicle_id: None,
        origin_call_id: None,
        previous_id: None,
        due_on: TODAY.into(),
        owner_user_id: Some(owner),
        state: FollowUpState::Open,
        subject: "维修3日回访".into(),
        attempts: 0,
        result: None,
        note: String::new(),
        call_made: false,
        created_at: Timestamp::from_micros(NOW.as_micros() - 86_400_000_000),
        updated_at: NOW,
        closed_at: None,
        closed_by: None,
    }
}

/// A call with a mobile number that was just offered.
pub fn call(dealership_id: DealershipId, direction: Direction, mobile: &str) -> Call {
    let is_inbound = direction == Direction::Inbound;
    Call {
        call_id: mint::<CallId>(),
        dealership_id,
        direction,
        caller_number: if is_inbound { mobile.into() } else { "8001".into() },
        caller_name: String::new(),
        presentation: Presentation::Allowed,
        called_number: if is_inbound { "02161234567".into() } else { mobile.into() },
        customer_number: mobile.into(),
        customer_key: format!("+86{mobile}"),
        trunk: "gateway".into(),
        line_id: None,
        extension: if is_inbound { String::new() } else { "8001".into() },
        user_id: None,
        offered_at: NOW,
        ringing_at: None,
        answered_at: None,
        ended_at: None,
        cause: None,
        hangup_by: None,
        sip_status: None,
        customer_id: None,
        match_method: MatchMethod::None,
        follow_up_id: None,
        attach_method: None,
    }
}
