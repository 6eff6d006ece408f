/** What can be done to the calls of a desk, and to whom: pure. */
import { COLLEAGUE_STATES, type ColleagueRow } from '@/api/schema'
import type { DeskCall } from './callState'

export type Subject =
  | { kind: 'none' }
  /** A conversation. */
  | { kind: 'call'; call: DeskCall }
  /** One side waits, a third is spoken with or rung. */
  | { kind: 'consult'; waiting: DeskCall; consulted: DeskCall | null }

const talks = (call: DeskCall) => call.phase.kind === 'talking' || call.phase.kind === 'held'

/** What the buttons are for; both calls of a consultation have the same. */
export function subjectOf(calls: DeskCall[], current: DeskCall | null): Subject {
  if (!current || !(talks(current) || current.phase.kind === 'ringing')) return { kind: 'none' }
  const waiting = calls.find((call) => call.consulting && talks(call))
  if (waiting) {
    const thirds = calls.filter((call) => call !== waiting && isConsultation(call))
    const consulted = thirds.includes(current) ? current : (thirds[0] ?? null)
    if (current === waiting || current === consulted) return { kind: 'consult', waiting, consulted }
  }
  return talks(current) ? { kind: 'call', call: current } : { kind: 'none' }
}

/** Not what rings in: the agent calls whom he consults. */
const isConsultation = (call: DeskCall) =>
  talks(call) || (call.phase.kind === 'ringing' && call.offered.direction !== 'inbound')

/** Only who has answered can take the waiting side over, or join it. */
export const canComplete = (subject: Subject): boolean =>
  subject.kind === 'consult' && subject.consulted !== null && talks(subject.consulted)

/** Whether somebody would talk on with the other side if the agent left. */
export const canLeave = (subject: Subject): boolean =>
  subject.kind === 'call' &&
  subject.call.guests.some((guest) => guest.role === 'conference' && !guest.ringing)

/** What was typed as it is sent, or `''` if nothing can be dialled with it. */
export function dialled(typed: string): string {
  const bare = typed.replace(/[\s().-]/g, '')
  return /^\+?\d{2,20}$/.test(bare) ? bare : ''
}

export interface Colleague {
  number: string
  name: string
  state: ColleagueRow['state']
}

/** Who can take a call now comes first, then who may soon. */
export const colleaguesOf = (rows: ColleagueRow[]): Colleague[] =>
  rows
    .map(({ extension, name, state }) => ({ number: extension, name, state }))
    .sort((a, b) => COLLEAGUE_STATES.indexOf(a.state) - COLLEAGUE_STATES.indexOf(b.state))

/** Those whose number or name has what was typed. */
export function matching(colleagues: Colleague[], typed: string): Colleague[] {
  const text = typed.trim().toLowerCase()
  return colleagues.filter(
    ({ number, name }) => number.startsWith(text) || name.toLowerCase().includes(text),
  )
}
