/** What is known of one's own phone in the call of others: pure. */
import type { CallGuestRow, MonitorRole, Uuid } from '@/api/schema'

export interface Monitoring {
  call_id: Uuid
  role: MonitorRole
  /** The phone was answered; until then it rings. */
  hasJoined: boolean
  /** Milliseconds since 1970, when it was asked for. */
  askedAt: number
}

/** A phone that was not answered by then no longer rings. */
const RINGS_MS = 60_000

/** What the call's own list of third parties says; `null` once the phone is out of it. */
export function confirmed(
  was: Monitoring,
  guests: CallGuestRow[],
  extension: string,
  nowMs: number,
): Monitoring | null {
  const mine = guests.find((guest) => guest.number === extension && guest.left_at === null)
  if (mine && mine.role !== 'conference') return { ...was, role: mine.role, hasJoined: true }
  return was.hasJoined || nowMs - was.askedAt > RINGS_MS ? null : was
}
