/**
 * The live connection as the page sees it: its state, and the user's events in order, each once.
 *
 * First the hub, then the snapshot, then the events above the snapshot's number: so nothing is
 * missed between the two and nothing is painted twice.
 */
import { defineStore } from 'pinia'
import { shallowRef } from 'vue'
import { api, socketUrl } from '@/api/api'
import { ApiError } from '@/api/http'
import type { ConsoleEvent, LiveCall } from '@/api/schema'
import { backoff } from './backoff'
import { connectHub, type HubLink } from './client'
import type { Presentation, ToTab } from './hub'
import type { LinkStatus } from './socket'

export interface Listener {
  snapshot?: (calls: LiveCall[]) => void
  event?: (event: ConsoleEvent, present: Presentation) => void
}

export const useLink = defineStore('link', () => {
  const status = shallowRef<LinkStatus>({ kind: 'connecting' })
  const listeners = new Set<Listener>()
  let hub: HubLink | null = null
  /** Events below this are in the snapshot already; `null` while one is being fetched. */
  let applied: number | null = null
  let waiting: { event: ConsoleEvent; present: Presentation }[] = []
  let generation = 0

  function start(userId: string): void {
    if (hub) return
    hub = connectHub(userId, receive)
    void load(++generation)
  }

  function stop(): void {
    generation++
    hub?.signOut()
    hub = null
    applied = null
    waiting = []
    status.value = { kind: 'connecting' }
  }

  function receive(message: ToTab): void {
    if (message.kind === 'status') {
      const retries = message.status.kind === 'retrying' ? message.status.attempt : 0
      status.value = message.status
      // The socket cannot say why it was refused; a request can, and signs out on a 401.
      const isOver = message.status.kind === 'refused'
      if (isOver || (retries > 0 && retries % 4 === 0)) void api.calls.live().catch(() => undefined)
      return
    }
    if (message.event.type === 'reset') {
      applied = null
      waiting = []
      void load(++generation)
      return
    }
    if (applied === null) waiting.push({ event: message.event, present: message.present })
    else deliver(message.event, message.present)
  }

  function deliver(event: ConsoleEvent, present: Presentation): void {
    if (applied !== null && event.seq <= applied) return
    applied = event.seq
    for (const listener of listeners) listener.event?.(event, present)
  }

  async function load(mine: number): Promise<void> {
    for (let attempt = 0; mine === generation; attempt++) {
      try {
        const live = await api.calls.live()
        if (mine !== generation) return
        applied = live.seq
        for (const listener of listeners) listener.snapshot?.(live.calls)
        const late = waiting
        waiting = []
        for (const { event, present } of late) deliver(event, present)
        hub?.start(socketUrl(live.seq), live.seq)
        return
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) return
        status.value = { kind: 'retrying', attempt: attempt + 1 }
        await new Promise((resolve) => setTimeout(resolve, backoff(attempt)))
      }
    }
  }

  function listen(listener: Listener): () => void {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  return { status, start, stop, listen }
})
