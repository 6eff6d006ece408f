/** Who is signed in. */
import { defineStore } from 'pinia'
import { computed, shallowRef } from 'vue'
import { api } from '@/api/api'
import { ApiError } from '@/api/http'
import type { Me, Role, SignIn } from '@/api/schema'

export type SessionState =
  | { kind: 'unknown' }
  | { kind: 'signed_out' }
  | { kind: 'signed_in'; me: Me }
  /** The server did not say: down, or being restarted. */
  | { kind: 'unreachable' }

export const useSession = defineStore('session', () => {
  const state = shallowRef<SessionState>({ kind: 'unknown' })
  const me = computed(() => (state.value.kind === 'signed_in' ? state.value.me : null))
  const is = (...roles: Role[]) => (me.value ? roles.includes(me.value.role) : false)

  async function refresh(): Promise<SessionState> {
    try {
      state.value = { kind: 'signed_in', me: await api.session.me() }
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) state.value = { kind: 'signed_out' }
      else if (state.value.kind !== 'signed_in') state.value = { kind: 'unreachable' }
    }
    return state.value
  }

  async function signIn(body: SignIn): Promise<void> {
    state.value = { kind: 'signed_in', me: await api.session.signIn(body) }
  }

  async function signOut(): Promise<void> {
    await api.session.signOut().catch(() => undefined)
    state.value = { kind: 'signed_out' }
  }

  const ended = () => (state.value = { kind: 'signed_out' })

  return { state, me, is, refresh, signIn, signOut, ended }
})
