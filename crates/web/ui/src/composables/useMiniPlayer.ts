/** One audio element for all the small play buttons of the page. */
import { shallowRef } from 'vue'
import { api } from '@/api/api'
import type { Uuid } from '@/api/schema'

export type MiniPlayer =
  | { kind: 'idle' }
  | { kind: 'loading'; id: Uuid }
  | { kind: 'playing'; id: Uuid; positionMs: number }
  | { kind: 'failed'; id: Uuid }

const state = shallowRef<MiniPlayer>({ kind: 'idle' })
let audio: HTMLAudioElement | null = null

function element(): HTMLAudioElement {
  if (audio) return audio
  const made = (audio = new Audio())
  const current = () => (state.value.kind === 'idle' ? null : state.value.id)
  made.ontimeupdate = () => {
    const id = current()
    if (id && !made.paused) {
      state.value = { kind: 'playing', id, positionMs: made.currentTime * 1000 }
    }
  }
  made.onpause = () => (state.value = { kind: 'idle' })
  made.onended = () => (state.value = { kind: 'idle' })
  made.onerror = () => {
    const id = current()
    if (id) state.value = { kind: 'failed', id }
  }
  return made
}

/** Browsers without Ogg Opus get the same audio as WAV. */
export function audioUrlFor(id: Uuid): string {
  const canOpus = element().canPlayType('audio/ogg; codecs=opus') !== ''
  return api.recordings.audioUrl(id, canOpus ? {} : { format: 'wav' })
}

async function toggle(id: Uuid): Promise<void> {
  const player = element()
  if (state.value.kind === 'playing' && state.value.id === id) {
    player.pause()
    return
  }
  player.pause()
  player.src = audioUrlFor(id)
  state.value = { kind: 'loading', id }
  try {
    await player.play()
  } catch {
    if (state.value.kind === 'loading' && state.value.id === id)
      state.value = { kind: 'failed', id }
  }
}

const stop = () => audio?.pause()

export const useMiniPlayer = () => ({ state, toggle, stop })
