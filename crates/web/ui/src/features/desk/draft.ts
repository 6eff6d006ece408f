/** A wrap-up being written, kept on this computer per call until it is saved. */
import type { Day, Outcome, Uuid } from '@/api/schema'

export interface WrapUpDraft {
  outcome: Outcome | null
  note: string
  next_on: Day | null
  follow_up_id: Uuid | null
}

export const emptyDraft = (): WrapUpDraft => ({
  outcome: null,
  note: '',
  next_on: null,
  follow_up_id: null,
})

const PREFIX = 'cheling.draft.'
const KEPT_MS = 7 * 86_400_000

interface Stored {
  savedAt: number
  draft: WrapUpDraft
}

function read(key: string): Stored | null {
  try {
    const text = localStorage.getItem(key)
    return text ? (JSON.parse(text) as Stored) : null
  } catch {
    return null
  }
}

const keyOf = (userId: Uuid, callId: Uuid) => `${PREFIX}${userId}.${callId}`

export function loadDraft(userId: Uuid, callId: Uuid): WrapUpDraft | null {
  const stored = read(keyOf(userId, callId))
  return stored ? { ...emptyDraft(), ...stored.draft } : null
}

/** A full or forbidden storage loses the draft on reload, not the page. */
export function storeDraft(userId: Uuid, callId: Uuid, draft: WrapUpDraft): boolean {
  try {
    const stored: Stored = { savedAt: Date.now(), draft }
    localStorage.setItem(keyOf(userId, callId), JSON.stringify(stored))
    return true
  } catch {
    return false
  }
}

export function dropDraft(userId: Uuid, callId: Uuid): void {
  localStorage.removeItem(keyOf(userId, callId))
}

/** Forgets drafts that nobody came back to. */
export function pruneDrafts(nowMs: number): void {
  for (const key of Object.keys(localStorage).filter((k) => k.startsWith(PREFIX))) {
    if (nowMs - (read(key)?.savedAt ?? 0) > KEPT_MS) localStorage.removeItem(key)
  }
}
