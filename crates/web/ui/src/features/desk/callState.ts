/**
 * What one user's calls look like after an event: pure, keyed by call, the same event twice
 * changes nothing the second time.
 */
import type {
  Audibility,
  CallGuest,
  CallOffered,
  Card,
  ConsoleEvent,
  EndCause,
  LiveCall,
  Micros,
  RecordingState,
  Uuid,
  WithdrawalReason,
} from '@/api/schema'

export type Phase =
  | { kind: 'ringing'; since: Micros; farEndRings: boolean }
  | { kind: 'talking'; since: Micros }
  | { kind: 'held'; since: Micros; heldAt: Micros }
  /** Over: the agent says what came of it. */
  | { kind: 'wrap_up'; since: Micros; talkMs: number; cause: EndCause; isNew: boolean }
  /** Rang here and was not answered here. */
  | { kind: 'gone'; since: Micros; why: WithdrawalReason | EndCause; answeredBy: string }

export interface DeskCall {
  call_id: Uuid
  offered: CallOffered
  phase: Phase
  recording: RecordingState
  audio: Audibility
  /** Who else is in the call. */
  guests: CallGuest[]
  /** The other side waits while the agent consults. */
  consulting: boolean
  /** The number it is being handed on to, or `''`. */
  transferring: string
  recording_id: Uuid | null
}

const AS_ALWAYS: Pick<DeskCall, 'recording' | 'audio' | 'guests' | 'consulting' | 'transferring'> =
  {
    recording: { state: 'on' },
    audio: { heard: 'both' },
    guests: [],
    consulting: false,
    transferring: '',
  }

export function fromSnapshot(live: LiveCall): DeskCall {
  return {
    call_id: live.offered.call_id,
    offered: live.offered,
    phase: phaseOf(live),
    recording: live.recording,
    audio: live.audio,
    guests: live.guests,
    consulting: live.consulting,
    transferring: live.transferring,
    recording_id: null,
  }
}

function phaseOf({ state, offered, answered_at, ended_at }: LiveCall): Phase {
  const since = answered_at ?? offered.offered_at
  switch (state) {
    case 'ringing':
      return { kind: 'ringing', since: offered.offered_at, farEndRings: false }
    case 'talking':
      return { kind: 'talking', since }
    case 'held':
      return { kind: 'held', since, heldAt: since }
    case 'wrap_up': {
      const end = ended_at ?? since
      const talkMs = answered_at ? (end - answered_at) / 1000 : 0
      return { kind: 'wrap_up', since: end, talkMs, cause: 'hung_up', isNew: false }
    }
  }
}

/** The calls of a snapshot, keeping what only this page knows of those it had. */
export function applySnapshot(before: DeskCall[], live: LiveCall[]): DeskCall[] {
  const fresh = live.map(fromSnapshot)
  const freshIds = new Set(fresh.map((call) => call.call_id))
  const kept = before.filter((call) => call.phase.kind === 'gone' && !freshIds.has(call.call_id))
  return [...kept, ...fresh]
}

/** Calls that rang in vain and stay on the desk; the list of calls has them all. */
const GONE_KEPT = 3

export function applyEvent(calls: DeskCall[], event: ConsoleEvent): DeskCall[] {
  if (event.type === 'call.offered') return forget(offer(calls, event))
  if (!('call_id' in event)) return calls
  return forget(calls.map((call) => (call.call_id === event.call_id ? change(call, event) : call)))
}

function forget(calls: DeskCall[]): DeskCall[] {
  const gone = calls.filter((call) => call.phase.kind === 'gone')
  const old = gone.sort((a, b) => b.phase.since - a.phase.since).slice(GONE_KEPT)
  return old.length ? calls.filter((call) => !old.includes(call)) : calls
}

function offer(calls: DeskCall[], event: ConsoleEvent & { type: 'call.offered' }): DeskCall[] {
  const known = calls.find((call) => call.call_id === event.call_id)
  const ringing: Phase = { kind: 'ringing', since: event.offered_at, farEndRings: false }
  // The same call may ring here again after it was withdrawn (a ring group's second round).
  const phase = known && known.phase.kind !== 'gone' ? known.phase : ringing
  const before = known ?? { ...AS_ALWAYS, recording_id: null }
  const call = { ...before, call_id: event.call_id, offered: event, phase }
  return known
    ? calls.map((other) => (other.call_id === event.call_id ? call : other))
    : [...calls, call]
}

function change(call: DeskCall, event: ConsoleEvent): DeskCall {
  const { phase } = call
  switch (event.type) {
    case 'call.updated':
      return update(call, event)
    case 'call.answered':
      if (phase.kind !== 'ringing' && phase.kind !== 'gone') return call
      return {
        ...call,
        offered: { ...call.offered, extension: event.extension },
        phase: { kind: 'talking', since: event.answered_at },
      }
    case 'call.withdrawn':
      if (phase.kind !== 'ringing') return call
      return {
        ...call,
        phase: {
          kind: 'gone',
          since: event.at,
          why: event.reason,
          answeredBy: event.answered_by ?? event.extension ?? '',
        },
      }
    case 'call.ended':
      return { ...call, ...AS_ALWAYS, phase: end(call, event) }
    case 'recording.ready':
      return { ...call, recording_id: event.recording_id }
    default:
      return call
  }
}

function update(call: DeskCall, event: ConsoleEvent & { type: 'call.updated' }): DeskCall {
  const offered = {
    ...call.offered,
    card: event.card ?? call.offered.card,
    follow_up_id: event.follow_up_id ?? call.offered.follow_up_id,
  }
  let { phase } = call
  if (event.held === true && phase.kind === 'talking') {
    phase = { kind: 'held', since: phase.since, heldAt: event.at }
  } else if (event.held === false && phase.kind === 'held') {
    phase = { kind: 'talking', since: phase.since }
  }
  if (event.far_end_ringing && phase.kind === 'ringing') phase = { ...phase, farEndRings: true }
  const {
    recording = call.recording,
    audio = call.audio,
    guests = call.guests,
    consulting = call.consulting,
    transferring = call.transferring,
  } = event
  return { ...call, offered, phase, recording, audio, guests, consulting, transferring }
}

/** An answered call, and one we dialled, wants a wrap-up; one that only rang here does not. */
function end(call: DeskCall, event: ConsoleEvent & { type: 'call.ended' }): Phase {
  const { phase, offered } = call
  if (phase.kind === 'wrap_up' || phase.kind === 'gone') return phase
  const wants = phase.kind !== 'ringing' || offered.direction === 'outbound'
  return wants && offered.direction !== 'internal'
    ? {
        kind: 'wrap_up',
        since: event.ended_at,
        talkMs: event.talk_ms,
        cause: event.cause,
        isNew: true,
      }
    : { kind: 'gone', since: event.ended_at, why: event.cause, answeredBy: '' }
}

const URGENCY: Record<Phase['kind'], number> = {
  talking: 0,
  held: 1,
  ringing: 2,
  wrap_up: 3,
  gone: 4,
}

/** The call to show when nobody has chosen: talking before ringing before what is over. */
export const mostUrgent = (calls: DeskCall[]): DeskCall | undefined => byUrgency(calls)[0]

export function byUrgency(calls: DeskCall[]): DeskCall[] {
  return [...calls].sort(
    (a, b) => URGENCY[a.phase.kind] - URGENCY[b.phase.kind] || a.phase.since - b.phase.since,
  )
}

export function withCard(calls: DeskCall[], id: Uuid, card: Card): DeskCall[] {
  return calls.map((call) =>
    call.call_id === id ? { ...call, offered: { ...call.offered, card } } : call,
  )
}
