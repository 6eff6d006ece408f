/** The one running call that this page listens to. */
import { defineStore } from 'pinia'
import { computed, ref, shallowRef } from 'vue'
import { listenUrl } from '@/api/api'
import type { RunningCall, Uuid } from '@/api/schema'
import { loudness, readStretch } from './alaw'
import { Speaker } from './speaker'

export type ListeningState =
  | { kind: 'off' }
  | { kind: 'connecting'; call: RunningCall }
  | { kind: 'hearing'; call: RunningCall; since: number }
  /** The recording is paused: nothing can be heard. */
  | { kind: 'paused'; call: RunningCall; since: number }
  | { kind: 'over'; call: RunningCall; why: 'ended' | 'failed' }

const CALL_OVER = 1000

export const useListening = defineStore('listening', () => {
  const state = shallowRef<ListeningState>({ kind: 'off' })
  const levels = ref({ customer: 0, agent: 0 })
  const callId = computed<Uuid | null>(() =>
    state.value.kind === 'off' || state.value.kind === 'over' ? null : state.value.call.call_id,
  )
  let socket: WebSocket | null = null
  let speaker: Speaker | null = null

  /** From a click, so that the browser lets it sound. */
  function start(call: RunningCall): void {
    stop()
    state.value = { kind: 'connecting', call }
    speaker = new Speaker()
    speaker.start()
    const mine = (socket = new WebSocket(listenUrl(call.call_id)))
    mine.binaryType = 'arraybuffer'
    let opened = false
    mine.onopen = () => {
      opened = true
      state.value = { kind: 'hearing', call, since: Date.now() }
    }
    mine.onmessage = ({ data }: MessageEvent<ArrayBuffer | string>) => hear(call, data)
    mine.onclose = ({ code }) => {
      if (socket !== mine) return
      silence()
      state.value = { kind: 'over', call, why: opened && code === CALL_OVER ? 'ended' : 'failed' }
    }
  }

  function hear(call: RunningCall, data: ArrayBuffer | string): void {
    if (state.value.kind !== 'hearing' && state.value.kind !== 'paused') return
    const { since } = state.value
    if (typeof data === 'string') {
      const { recording } = JSON.parse(data) as { recording: 'on' | 'paused' }
      levels.value = { customer: 0, agent: 0 }
      state.value = { kind: recording === 'paused' ? 'paused' : 'hearing', call, since }
      return
    }
    const stretch = readStretch(data)
    if (!stretch) return
    levels.value = { customer: loudness(stretch.customer), agent: loudness(stretch.agent) }
    speaker?.play(stretch)
  }

  function silence(): void {
    socket?.close()
    socket = null
    speaker?.stop()
    speaker = null
    levels.value = { customer: 0, agent: 0 }
  }

  function stop(): void {
    silence()
    state.value = { kind: 'off' }
  }

  return { state, levels, callId, start, stop }
})
