/**
 * Click-to-dial: the agent's own phone rings first, then the customer's.
 *
 * One key per intention: a retry after a lost answer never dials twice.
 */
import { defineStore } from 'pinia'
import { shallowRef } from 'vue'
import { api } from '@/api/api'
import { ApiError } from '@/api/http'
import type { Dial, Uuid } from '@/api/schema'
import { randomKey } from './randomKey'

export type DialState =
  | { kind: 'idle' }
  | { kind: 'asking'; number: string; follow_up_id: Uuid | null }
  /** Accepted: waiting for our own phone to ring. */
  | { kind: 'ringing_own'; number: string; call_id: Uuid; follow_up_id: Uuid | null }
  | { kind: 'failed'; number: string; error: unknown }

const REPEAT_MS = 10 * 60_000

export const useDial = defineStore('dial', () => {
  const state = shallowRef<DialState>({ kind: 'idle' })
  const dialledAt = new Map<string, number>()
  let pending: { of: string; key: string } | null = null

  /** Dialled from here within ten minutes: worth asking once. */
  const isRepeat = (number: string, nowMs: number) =>
    nowMs - (dialledAt.get(number) ?? -Infinity) < REPEAT_MS

  async function dial(body: Dial, nowMs = Date.now()): Promise<void> {
    if (state.value.kind === 'asking') return
    const follow_up_id = body.follow_up_id ?? null
    const of = `${body.number} ${follow_up_id ?? ''}`
    if (pending?.of !== of) pending = { of, key: randomKey() }
    state.value = { kind: 'asking', number: body.number, follow_up_id }
    try {
      const { call_id } = await api.calls.dial(body, pending.key)
      pending = null
      dialledAt.set(body.number, nowMs)
      state.value = { kind: 'ringing_own', number: body.number, call_id, follow_up_id }
    } catch (error) {
      // Only a lost answer may have dialled: any other refusal is final.
      if (!(error instanceof ApiError && error.code === 'network')) pending = null
      state.value = { kind: 'failed', number: body.number, error }
    }
  }

  /** The call has come to our phone, or the person has read the failure. */
  function settle(call_id?: Uuid): void {
    const now = state.value
    if (call_id && !(now.kind === 'ringing_own' && now.call_id === call_id)) return
    if (!call_id && now.kind === 'asking') return
    state.value = { kind: 'idle' }
  }

  return { state, dial, settle, isRepeat }
})
