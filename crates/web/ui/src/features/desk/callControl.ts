/** What can be done to the calls of a desk, and to whom: pure. */
import type { CallRow, UserRow } from '@/api/schema'
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

/** Only who has answered can take the waiting side over. */
export const canComplete = (subject: Subject): boolean =>
  subject.kind === 'consult' && subject.consulted !== null && talks(subject.consulted)

/** What was typed as it is sent, or `''` if nothing can be dialled with it. */
export function dialled(typed: string): string {
  const bare = typed.replace(/[\s().-]/g, '')
  return /^\+?\d{2,20}$/.test(bare) ? bare : ''
}

export interface Colleague {
  number: string
  name: string
}

const isExtension = (number: string) => /^\d{2,8}$/.test(number)

function distinct(all: Colleague[], own: string): Colleague[] {
  const known = new Map<string, Colleague>()
  for (const one of all) {
    if (!isExtension(one.number) || one.number === own) continue
    if (!known.get(one.number)?.name) known.set(one.number, one)
  }
  return [...known.values()]
}

/** Whoever has a phone. */
export const colleaguesOf = (users: UserRow[], own: string): Colleague[] =>
  distinct(
    users.filter((u) => !u.disabled).map((u) => ({ number: u.extension ?? '', name: u.name })),
    own,
  )

/** With whom internal calls were made lately, for those who may not see the list of users. */
export const colleaguesIn = (calls: CallRow[], own: string): Colleague[] =>
  distinct(
    calls.flatMap((call) => [
      { number: call.extension, name: call.user_name },
      { number: call.number, name: '' },
    ]),
    own,
  )

/** Those whose number or name has what was typed. */
export function matching(colleagues: Colleague[], typed: string): Colleague[] {
  const text = typed.trim().toLowerCase()
  return colleagues.filter(
    ({ number, name }) => number.startsWith(text) || name.toLowerCase().includes(text),
  )
}
