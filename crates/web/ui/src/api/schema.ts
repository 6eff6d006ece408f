/**
 * The JSON of `/api/v1`.
 *
 * Ids are UUIDs in text; `*_at` are microseconds since 1970-01-01 UTC; `*_on` are dates
 * `YYYY-MM-DD` of the dealership; `*_ms` are milliseconds. A missing thing is `null`, an empty
 * text is `''`.
 */

export type Uuid = string
export type Container = 'wav' | 'ogg_opus'

/** Microseconds since 1970-01-01 UTC. */
export type Micros = number
/** `YYYY-MM-DD` of the dealership. */
export type Day = string

export interface Page<T> {
  items: T[]
  next_cursor: string | null
}

export interface ErrorBody {
  error: {
    code: string
    message: string
    field: string | null
    /** Of one thing among many: what is wrong, with which, and the value it cannot have. */
    reason?: string
    about?: string
    value?: string
  }
}

// --- Signing in ------------------------------------------------------------------------------

export const ROLES = ['admin', 'supervisor', 'agent', 'qa'] as const
export type Role = (typeof ROLES)[number]

export interface SignIn {
  username: string
  password: string
}

export interface Me {
  user_id: Uuid
  username: string
  name: string
  role: Role
  extension: string | null
  extension_registered: boolean
  dealership_id: Uuid
  dealership_name: string
}

// --- The screen-pop card ---------------------------------------------------------------------

export type CardKind = 'known' | 'candidates' | 'unknown' | 'withheld' | 'internal'
export type Lifecycle = 'existing' | 'prospect'

export interface Card {
  kind: CardKind
  /** As it came; empty if withheld. */
  number: string
  number_key: string
  /** `上海`, or `''`. */
  place: string
  customer: CustomerCard | null
  candidates: CustomerBrief[]
  past_calls: ContactBrief[]
}

export interface CustomerCard {
  customer_id: Uuid
  customer_no: string
  name: string
  salutation: string
  lifecycle: Lifecycle
  segments: string[]
  lead_grade: string
  owner_name: string
  source: string
  note: string
  phones: PhoneBrief[]
  vehicles: VehicleBrief[]
  open_items: OpenItem[]
  last_contacts: ContactBrief[]
}

export interface CustomerBrief {
  customer_id: Uuid
  name: string
  salutation: string
  plate: string
  phone_label: string
  open_items: number
  last_contact_at: Micros | null
}

export interface PhoneBrief {
  number: string
  number_key: string
  label: string
  is_primary: boolean
}

export interface VehicleBrief {
  vehicle_id: Uuid
  plate: string
  vin: string
  model: string
  displacement: string
  transmission: string
  mileage_km: number | null
  last_visit_on: Day | null
  next_service_on: Day | null
  insurance_due_on: Day | null
}

export interface OpenItem {
  follow_up_id: Uuid
  type: FollowUpType
  state: FollowUpState
  due_on: Day
  subject: string
  owner_name: string
}

export interface ContactBrief {
  call_id: Uuid | null
  at: Micros
  kind: 'inbound' | 'outbound' | 'internal' | 'visit'
  user_name: string
  /** An outcome word or an end cause. */
  result: string
  note: string
  talk_ms: number
  recording_id: Uuid | null
}

// --- Calls -----------------------------------------------------------------------------------

export const DIRECTIONS = ['inbound', 'outbound', 'internal'] as const
export type Direction = (typeof DIRECTIONS)[number]

export const OUTCOMES = [
  'completed',
  'partial',
  'call_back',
  'no_answer',
  'busy',
  'switched_off',
  'empty_number',
  'wrong_number',
  'refused',
  'third_party',
] as const
export type Outcome = (typeof OUTCOMES)[number]

export interface CallRow {
  call_id: Uuid
  direction: Direction
  offered_at: Micros
  answered_at: Micros | null
  ended_at: Micros | null
  talk_ms: number
  number: string
  line_name: string
  extension: string
  user_name: string
  customer_id: Uuid | null
  customer_name: string
  plate: string
  cause: string
  outcome: string
  follow_up_id: Uuid | null
  recording_id: Uuid | null
  verdict: string
}

export interface CallDetail extends CallRow {
  hangup_by: '' | 'customer' | 'agent'
  match_method: string
  note: string
  legs: CallLegRow[]
  /** Where a call to a line was sent, in order. */
  route: CallStopRow[]
  /** Who was in the call beside its two sides, in the order they came. */
  guests: CallGuestRow[]
}

/** What a third party does: talks with all, only hears, is heard by the agent alone, barges in. */
export type GuestRole = 'conference' | 'listen' | 'whisper' | 'barge'
export type MonitorRole = Exclude<GuestRole, 'conference'>

export interface CallGuestRow {
  /** Its number in the call, 1 to 7. */
  guest: number
  role: GuestRole
  /** The number that was called for it. */
  number: string
  user_name: string
  joined_at: Micros
  left_at: Micros | null
}

export interface CallStopRow {
  at: Micros
  kind: 'group' | 'extension' | 'outside' | 'refused'
  name: string
  why: 'called' | 'closed' | 'no_answer' | 'all_busy' | 'nobody' | 'loop'
}

export interface CallLegRow {
  extension: string
  user_name: string
  ringing_at: Micros
  answered_at: Micros | null
  withdrawn_reason: string
}

export interface Dial {
  number: string
  follow_up_id?: Uuid | null
  customer_id?: Uuid | null
}

export interface Dialling {
  call_id: Uuid
}

export interface CallOffered {
  call_id: Uuid
  direction: Direction
  extension: string
  line_name: string
  called: string
  offered_at: Micros
  follow_up_id: Uuid | null
  card: Card
}

/** Whether what is said is being recorded; `until` is when a pause ends by itself. */
export type RecordingState = { state: 'on' } | { state: 'paused'; since: Micros; until: Micros }

/** Who is heard, as far as arriving packets tell. */
export type Audibility =
  { heard: 'both' } | { heard: 'one_way'; missing: 'customer' | 'agent' } | { heard: 'nobody' }

/** A third party, as the two sides see it; who only listens is not shown to them. */
export interface CallGuest {
  guest: number
  role: GuestRole
  number: string
  name: string
  /** It is being called, and has not answered. */
  ringing?: boolean
}

export interface LiveCall {
  offered: CallOffered
  state: 'ringing' | 'talking' | 'held' | 'wrap_up'
  answered_at: Micros | null
  ended_at: Micros | null
  recording: RecordingState
  audio: Audibility
  guests: CallGuest[]
  /** The other side waits while the agent consults. */
  consulting: boolean
  /** The number it is being handed on to, or `''`. */
  transferring: string
}

/** A call of anybody in which both sides talk. */
export interface RunningCall {
  call_id: Uuid
  direction: Direction
  extension: string
  user_name: string
  line_name: string
  number: string
  customer_name: string
  answered_at: Micros
  held: boolean
  recording: RecordingState
  audio: Audibility
}

export interface LiveCalls {
  /** The WebSocket's number as of this snapshot. */
  seq: number
  calls: LiveCall[]
}

export interface WrapUp {
  outcome: Outcome
  note: string
  next_on: Day | null
  follow_up_id: Uuid | null
}

// --- Events of the WebSocket -------------------------------------------------------------------

export type WithdrawalReason =
  'answered_elsewhere' | 'caller_hung_up' | 'busy' | 'declined' | 'no_answer' | 'failed'

export type EndCause =
  'hung_up' | 'cancelled' | 'busy' | 'declined' | 'no_answer' | 'not_found' | 'failed' | 'shutdown'

interface Numbered {
  seq: number
  at: Micros
}

export type ConsoleEvent = Numbered &
  (
    | ({ type: 'call.offered' } & CallOffered)
    | {
        type: 'call.updated'
        call_id: Uuid
        card?: Card
        held?: boolean
        far_end_ringing?: boolean
        follow_up_id?: Uuid
        recording?: RecordingState
        audio?: Audibility
        guests?: CallGuest[]
        consulting?: boolean
        transferring?: string
      }
    | {
        type: 'call.alarm'
        call_id: Uuid
        extension: string
        user_name: string
        audio: Audibility
      }
    | { type: 'call.answered'; call_id: Uuid; extension: string; answered_at: Micros }
    | {
        type: 'call.withdrawn'
        call_id: Uuid
        reason: WithdrawalReason
        extension?: string
        status?: number
        answered_by?: string
      }
    | {
        type: 'call.ended'
        call_id: Uuid
        cause: EndCause
        by: 'customer' | 'agent' | null
        ended_at: Micros
        talk_ms: number
      }
    | {
        type: 'recording.ready'
        call_id: Uuid
        recording_id: Uuid
        duration_ms: number
        verdict: string
        follow_up_id: Uuid | null
      }
    | { type: 'task.changed'; follow_up_id: Uuid }
    | { type: 'reset' }
  )

// --- Recordings --------------------------------------------------------------------------------

export const VERDICTS = [
  'ok',
  'one_way',
  'silent',
  'short',
  'truncated',
  'encrypted',
  'undecodable',
  'paused',
  'not_recorded',
] as const

export interface RecordingRow {
  recording_id: Uuid
  started_at: Micros
  duration_ms: number
  verdict: string
  verdict_detail: string
  container: Container
  bytes: number
  call: CallRow
  attach_method: string
  follow_up_type: string
}

export interface RecordingDetail extends RecordingRow {
  sha256: string
  sample_rate_hz: number
  /** [customer, agent], as all pairs below. */
  encodings: [string, string]
  quality: [LaneQuality, LaneQuality]
  speech: Speech
  /** Paused by request: silence in the file. */
  pauses: { from_ms: number; until_ms: number }[]
  /** Digits sent as tones, silenced on the lane that had them. */
  digits: { from_ms: number; until_ms: number }[]
  note: string
  listeners: Listener[]
}

export interface LaneQuality {
  received_packets: number
  lost_packets: number
  reordered_packets: number
  duplicate_packets: number
  tap_dropped_packets: number
  jitter_us: number
  concealed_ms: number
  /** 1 to 4.4 (G.107); none without packets. */
  mos: number | null
  /** None if the phone's RTCP did not tell. */
  round_trip_us: number | null
}

export interface Speech {
  talk_ratio: [number, number]
  silence_ratio: number
  longest_silence_ms: number
  overlaps: number
  first_response_ms: number
}

export interface Listener {
  user_name: string
  at: Micros
  action: 'play' | 'download'
}

// --- Customers -----------------------------------------------------------------------------------

export interface CustomerRow {
  customer_id: Uuid
  customer_no: string
  name: string
  salutation: string
  lifecycle: Lifecycle
  segments: string[]
  number: string
  plate: string
  model: string
  owner_name: string
  last_contact_at: Micros | null
}

export interface CustomerDetail {
  card: CustomerCard
  created_at: Micros
  address: string
}

export interface PhoneDraft {
  number: string
  label: string
  is_primary: boolean
}

export interface VehicleDraft {
  plate: string
  vin: string
  model: string
  displacement: string
  transmission: string
}

export interface CustomerDraft {
  name: string
  salutation: string
  lifecycle: Lifecycle
  source: string
  address: string
  note: string
  phones: PhoneDraft[]
  vehicles: VehicleDraft[]
  call_id?: Uuid | null
}

export interface ImportReport {
  applied: boolean
  rows: number
  created: number
  updated: number
  unchanged: number
  bad_rows: BadRow[]
  bad_row_count: number
}

export interface BadRow {
  row: number
  column: string
  cell: string
  /** A sentence; its word is `reason_code`. */
  reason: string
  reason_code: string
}

// --- Follow-ups ------------------------------------------------------------------------------------

export const FOLLOW_UP_TYPES = [
  'delivery_3dc',
  'first_maintenance_7dc',
  'service_3dc',
  'sales_csat',
  'service_csat',
  'quarterly_contact',
  'maintenance_reminder',
  'insurance_renewal',
  'complaint_handling',
  'test_drive',
  'inbound_contact',
  'other',
] as const
export type FollowUpType = (typeof FOLLOW_UP_TYPES)[number]

export const FOLLOW_UP_STATES = [
  'open',
  'in_progress',
  'done',
  'unreachable',
  'refused',
  'cancelled',
] as const
export type FollowUpState = (typeof FOLLOW_UP_STATES)[number]

export const FOLLOW_UP_VIEWS = ['today', 'overdue', 'done', 'all'] as const
export type FollowUpView = (typeof FOLLOW_UP_VIEWS)[number]

export interface FollowUpRow {
  follow_up_id: Uuid
  type: FollowUpType
  state: FollowUpState
  due_on: Day
  subject: string
  owner_id: Uuid | null
  owner_name: string
  customer_id: Uuid | null
  customer_name: string
  salutation: string
  segments: string[]
  number: string
  plate: string
  model: string
  attempts: number
  last_outcome: string
  note: string
  closed_at: Micros | null
  recording_ids: Uuid[]
}

export interface FollowUpPage extends Page<FollowUpRow> {
  counts: FollowUpCounts
}

export interface FollowUpCounts {
  today: number
  overdue: number
  done_today: number
}

export interface FollowUpDraft {
  type: FollowUpType
  due_on: Day
  subject: string
  owner_id?: Uuid | null
  customer_id?: Uuid | null
  vehicle_id?: Uuid | null
  state?: FollowUpState | null
}

// --- Administration ----------------------------------------------------------------------------------

export const COLLEAGUE_STATES = ['free', 'busy', 'offline'] as const
export interface ColleagueRow {
  extension: string
  name: string
  state: (typeof COLLEAGUE_STATES)[number]
}

export interface UserRow {
  user_id: Uuid
  username: string
  name: string
  role: Role
  extension: string | null
  disabled: boolean
}

export interface UserDraft {
  username: string
  name: string
  role: Role
  extension: string | null
  password?: string
  disabled: boolean
}

export interface ExtensionRow {
  number: string
  display_name: string
  user_name: string
  reach: Reach
  registered: boolean
  user_agent: string
  address: string
  /** Only in the answer to making it. */
  password?: string
  registrar: string
}

export interface TrunkRow {
  name: string
  state: 'up' | 'unregistered' | 'silent' | 'unresolved' | 'unknown'
  addresses: string[]
  answers: boolean | null
  registration: TrunkRegistration | null
  calls: number
  max_calls: number | null
}

export interface TrunkRegistration {
  registered: boolean
  address: string
  since_at: number | null
  expires_at: number | null
  /** 408 for no answer, 503 for no connection too. */
  last_status: number | null
}

/** How far a phone may dial. */
export type Reach = 'internal' | 'local' | 'national' | 'international'

export interface ExtensionDraft {
  reach?: Reach
  number: string
  display_name: string
}

export interface Lines {
  lines: LineRow[]
  groups: GroupRow[]
  schedules: ScheduleRow[]
  /** What numbers begin with that nobody may dial. */
  blocked_prefixes: string[]
}

export interface DestinationRow {
  kind: 'unavailable' | 'busy' | 'group' | 'extension' | 'outside'
  /** The group's name, the extension or the number; else empty. */
  to: string
}

export interface SpanRow {
  /** 08:30 */
  from: string
  to: string
}

export interface ScheduleRow {
  schedule_id: Uuid | null
  name: string
  /** Monday to Sunday. */
  week: SpanRow[][]
  days: SpecialDayRow[]
}

export interface SpecialDayRow {
  /** 2027-02-17 */
  day: string
  name: string
  spans: SpanRow[]
}

export interface LineRow {
  line_id: Uuid | null
  did: string
  name: string
  group: string
  /** The name of its opening hours; always open if null. */
  schedule: string | null
  closed: DestinationRow
}

export interface GroupRow {
  group_id: Uuid | null
  name: string
  /** In their order. */
  members: string[]
  ring_seconds: number
  strategy: 'ring_all' | 'in_order' | 'longest_idle'
  member_seconds: number
  skip_busy: boolean
  no_answer: DestinationRow
  all_busy: DestinationRow
  nobody: DestinationRow
}

/** Something is wrong with the recorder: calls go on and are not recorded, or not wholly. */
export interface RecorderAlarm {
  kind: 'recording_stopped' | 'disk_full' | 'disk_failing' | 'journal_behind'
  /** The folder of the journal it is about; empty if it is about all. */
  disk: string
  /** Space left there. */
  free_bytes: number
  /** Packets that are missing in recordings since it began. */
  lost: number
  since: Micros
}

/** What files recordings become. */
export interface RecordingFormat {
  /** What this dealership wants; null: as is usual. */
  container: Container | null
  usual: Container
  opus_kbit: number
  /** Days after which WAV becomes Opus; 0: never. */
  opus_after_days: number
}
