/** The one call of others that one's own phone is in: to listen, whisper or barge in. */
import { defineStore } from 'pinia'
import { ref, shallowRef } from 'vue'
import { api } from '@/api/api'
import { ApiError } from '@/api/http'
import type { MonitorRole, RunningCall, Uuid } from '@/api/schema'
import { useSession } from '@/app/session'
import { confirmed, type Monitoring } from './monitoring'

/** A page that is loaded anew still knows which call to ask about. */
const KEY = 'cheling.monitoring'

function stored(): Monitoring | null {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? 'null') as Monitoring | null
  } catch {
    return null
  }
}

export const useMonitoring = defineStore('monitoring', () => {
  const session = useSession()
  const state = shallowRef<Monitoring | null>(stored())
  const isBusy = ref(false)

  function set(now: Monitoring | null): void {
    state.value = now
    if (now) sessionStorage.setItem(KEY, JSON.stringify(now))
    else sessionStorage.removeItem(KEY)
  }

  async function ask(order: () => Promise<unknown>): Promise<boolean> {
    if (isBusy.value) return false
    isBusy.value = true
    try {
      await order()
      return true
    } finally {
      isBusy.value = false
    }
  }

  /** Rings one's own phone, or changes what one does in the call. */
  async function take(call_id: Uuid, role: MonitorRole): Promise<void> {
    if (!(await ask(() => api.calls.monitor(call_id, role)))) return
    const hasJoined = state.value?.call_id === call_id && state.value.hasJoined
    set({ call_id, role, hasJoined, askedAt: Date.now() })
  }

  async function leave(): Promise<void> {
    const now = state.value
    if (!now) return
    const isOut = await ask(() => api.calls.leave(now.call_id)).catch((error: unknown) => {
      // Already hung up there, or the call is over.
      if (error instanceof ApiError && error.status === 404) return true
      throw error
    })
    if (isOut) set(null)
  }

  /** The phone may have been answered or hung up, and the call may be over. */
  async function check(running: RunningCall[]): Promise<void> {
    const was = state.value
    if (!was) return
    if (!running.some((call) => call.call_id === was.call_id)) return set(null)
    const { guests } = await api.calls.detail(was.call_id)
    // What was asked for meanwhile is newer than this answer.
    if (state.value !== was || isBusy.value) return
    set(confirmed(was, guests, session.me?.extension ?? '', Date.now()))
  }

  return { state, isBusy, take, leave, check }
})
