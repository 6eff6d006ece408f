//! Users, extensions, lines.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One user.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UserRow {
    /// Its id.
    pub user_id: Uuid,
    /// Signs in with.
    pub username: String,
    /// Shown.
    pub name: String,
    /// `admin`, `supervisor`, `agent`, `qa`.
    pub role: String,
    /// The phone in use now.
    pub extension: Option<String>,
    /// Cannot sign in.
    pub disabled: bool,
}

/// What a form sends.
#[derive(Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserDraft {
    /// Signs in with.
    pub username: String,
    /// Shown.
    pub name: String,
    /// A role word.
    pub role: String,
    /// The phone to use; `null` for none.
    #[serde(default)]
    pub extension: Option<String>,
    /// A new password, at least 10 characters; unchanged if missing.
    #[serde(default)]
    pub password: Option<String>,
    /// Cannot sign in.
    #[serde(default)]
    pub disabled: bool,
}

/// A phone that a call can go to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Colleague {
    /// 8002.
    pub extension: String,
    /// Who uses it now; else what the phone is called; or `""`.
    pub name: String,
    /// `free`; `busy`: it rings or is in a call; `offline`: no phone is registered.
    pub state: String,
}

/// One SIP account.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExtensionRow {
    /// 8001.
    pub number: String,
    /// Shown on phones.
    pub display_name: String,
    /// Who uses it now, by name, or `""`.
    pub user_name: String,
    /// How far it may dial: `internal`, `local`, `national`, `international`. Emergency, short and
    /// 400 numbers it may always.
    pub reach: String,
    /// Whether a phone is registered now.
    pub registered: bool,
    /// That phone's `User-Agent`, or `""`.
    pub user_agent: String,
    /// That phone's address, or `""`.
    pub address: String,
    /// The password: only in the answer to making it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// What to type into the phone: the registrar's address and port.
    pub registrar: String,
}

/// What a form sends.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtensionDraft {
    /// 2 to 8 digits.
    pub number: String,
    /// Shown on phones.
    #[serde(default)]
    pub display_name: String,
    /// How far it may dial: `internal`, `local`, `national`, `international`. If missing, a new one
    /// is `national`, and one that is there stays as it is.
    #[serde(default)]
    pub reach: Option<String>,
}

/// One trunk of the configuration, and how it is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TrunkRow {
    /// Its name.
    pub name: String,
    /// `up`, `unregistered`, `silent` (it does not answer), `unresolved` (DNS knows no address), or
    /// `unknown` if it is never asked.
    pub state: String,
    /// `udp 192.0.2.1:5060`, the best first.
    pub addresses: Vec<String>,
    /// Whether it answers when asked (OPTIONS); `null` if it never is, or not yet.
    pub answers: Option<bool>,
    /// Our registration there, if there is to be one.
    pub registration: Option<TrunkRegistrationRow>,
    /// Calls on it now, in and out.
    pub calls: u32,
    /// How many it may carry; `null`: no limit.
    pub max_calls: Option<u32>,
}

/// Our registration at a trunk.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TrunkRegistrationRow {
    /// Whether the trunk knows us now.
    pub registered: bool,
    /// At which of its addresses, or `""`.
    pub address: String,
    /// Since when without a break.
    pub since_at: Option<i64>,
    /// Until when, unless renewed.
    pub expires_at: Option<i64>,
    /// The last answer to our registration: 408 for none, 503 for no connection too.
    pub last_status: Option<u16>,
}

/// All lines and ring groups.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    /// The lines.
    pub lines: Vec<LineRow>,
    /// The groups.
    pub groups: Vec<GroupRow>,
    /// Opening hours that lines refer to.
    #[serde(default)]
    pub schedules: Vec<ScheduleRow>,
    /// What numbers begin with that nobody may dial; `null` leaves them as they are.
    #[serde(default)]
    pub blocked_prefixes: Option<Vec<String>>,
}

/// One number that customers call.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LineRow {
    /// Its id; `null` makes a new one.
    pub line_id: Option<Uuid>,
    /// The digits as the trunk sends them.
    pub did: String,
    /// 售后热线.
    pub name: String,
    /// The name of its group.
    pub group: String,
    /// The name of its opening hours; always open if `null`.
    #[serde(default)]
    pub schedule: Option<String>,
    /// Where calls go while it is closed.
    #[serde(default)]
    pub closed: DestinationRow,
}

/// Where a call goes that was not answered where it went first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DestinationRow {
    /// `unavailable` (nobody is there), `busy` (the busy tone), `group`, `extension`, `outside`.
    pub kind: String,
    /// The group's name, the extension, or the number outside; else `""`.
    #[serde(default)]
    pub to: String,
}

impl Default for DestinationRow {
    fn default() -> Self {
        Self { kind: "unavailable".into(), to: String::new() }
    }
}

/// When somebody is there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleRow {
    /// Its id; `null` makes a new one.
    pub schedule_id: Option<Uuid>,
    /// 营业时间, unique.
    pub name: String,
    /// The spans of Monday to Sunday, seven lists.
    pub week: Vec<Vec<SpanRow>>,
    /// Days with spans of their own.
    #[serde(default)]
    pub days: Vec<SpecialDayRow>,
}

/// From one time of a day until just before another.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpanRow {
    /// `08:30`.
    pub from: String,
    /// `17:30`; `24:00` is the day's end.
    pub to: String,
}

/// A holiday, or a Saturday that is worked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpecialDayRow {
    /// `2027-02-17`.
    pub day: String,
    /// 春节; may be empty.
    #[serde(default)]
    pub name: String,
    /// Its spans; closed if there are none.
    #[serde(default)]
    pub spans: Vec<SpanRow>,
}

/// Phones that ring for a line.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupRow {
    /// Its id; `null` makes a new one.
    pub group_id: Option<Uuid>,
    /// 售后一组, unique.
    pub name: String,
    /// Extension numbers, in their order.
    pub members: Vec<String>,
    /// Before an unanswered call goes on, in all, 5 to 300.
    pub ring_seconds: u32,
    /// `ring_all`, `in_order`, `longest_idle`.
    #[serde(default = "ring_all")]
    pub strategy: String,
    /// How long one phone rings before the next, 5 to 300.
    #[serde(default = "member_seconds")]
    pub member_seconds: u32,
    /// Whether phones in a call are left alone.
    #[serde(default)]
    pub skip_busy: bool,
    /// Where calls go that nobody took.
    #[serde(default)]
    pub no_answer: DestinationRow,
    /// Where calls go while all phones are in a call.
    #[serde(default = "busy")]
    pub all_busy: DestinationRow,
    /// Where calls go while no phone is registered.
    #[serde(default)]
    pub nobody: DestinationRow,
}

fn ring_all() -> String {
    "ring_all".into()
}

fn member_seconds() -> u32 {
    20
}

fn busy() -> DestinationRow {
    DestinationRow { kind: "busy".into(), to: String::new() }
}

/// What is wrong with the recorder now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AlarmRows {
    /// One for each thing, the worst first; empty while all is well.
    pub alarms: Vec<AlarmRow>,
}

/// One thing that is wrong with the recorder.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AlarmRow {
    /// `recording_stopped` (no disk takes media: calls are not recorded), `disk_full`,
    /// `disk_failing`, `journal_behind` (a disk is too slow: recordings have gaps).
    pub kind: String,
    /// The folder of the journal it is about, or `""`.
    pub disk: String,
    /// Bytes left there.
    pub free_bytes: u64,
    /// Packets missing in recordings since it began.
    pub lost: u64,
    /// Since when.
    pub since: i64,
}

/// What files a dealership's recordings become.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RecordingFormat {
    /// What it wants, `wav` or `ogg_opus`; `null`: what is usual here.
    pub container: Option<String>,
    /// What is usual here.
    pub usual: String,
    /// The bitrate of Ogg Opus in kbit/s, both sides together.
    pub opus_kbit: u32,
    /// Days after which WAV recordings become Ogg Opus; 0: never.
    pub opus_after_days: u32,
}

/// The choice of a format.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordingFormatDraft {
    /// `wav`, `ogg_opus`, or `null` for what is usual here.
    pub container: Option<String>,
}
