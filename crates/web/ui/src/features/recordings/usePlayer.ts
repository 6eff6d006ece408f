/** The player as a page uses it: its state, its keys, what is remembered between recordings. */
import { onBeforeUnmount, reactive, ref, shallowRef, watch } from 'vue'
import { api } from '@/api/api'
import type { RecordingDetail } from '@/api/schema'
import { useKeys } from '@/composables/useKeys'
import { audioUrlFor, useMiniPlayer } from '@/composables/useMiniPlayer'
import { parsePeaks, silences, type Peaks } from './peaks'
import { TwoLanePlayer } from './player'

export const SPEEDS = [0.75, 1, 1.25, 1.5, 2] as const
export type Lane = 'agent' | 'customer'
export type PlayerState = { kind: 'loading' } | { kind: 'ready' } | { kind: 'failed' }

const SPEED_KEY = 'cheling.speed'
const SKIP_KEY = 'cheling.skip_silence'

export function usePlayer(detail: RecordingDetail, texts: { paused: string; digits: string }) {
  const named = (text: string) => (it: { from_ms: number; until_ms: number }) => ({
    start: it.from_ms / 1000,
    end: it.until_ms / 1000,
    text,
  })
  const marks = [
    ...detail.pauses.map(named(texts.paused)),
    ...detail.digits.map(named(texts.digits)),
  ]
  const state = shallowRef<PlayerState>({ kind: 'loading' })
  const time = ref(0)
  const seconds = ref(detail.duration_ms / 1000)
  const isPlaying = ref(false)
  const speed = ref(Number(localStorage.getItem(SPEED_KEY)) || 1)
  const skips = ref(localStorage.getItem(SKIP_KEY) === '1')
  const solo = ref<Lane | null>(null)
  const muted = reactive<Record<Lane, boolean>>({ agent: false, customer: false })
  let player: TwoLanePlayer | null = null
  let quiet: ReturnType<typeof silences> = []

  async function mount(wave: HTMLElement, ruler: HTMLElement): Promise<void> {
    useMiniPlayer().stop()
    const peaks = await loadPeaks(detail)
    quiet = silences(peaks)
    player = new TwoLanePlayer({
      wave,
      ruler,
      src: audioUrlFor(detail.recording_id),
      peaks,
      seconds: seconds.value,
      silences: quiet,
      marks,
      on: {
        time: onTime,
        playing: (playing) => (isPlaying.value = playing),
        failed: () => (state.value = { kind: 'failed' }),
        ready: (length) => {
          if (Number.isFinite(length) && length > 0) seconds.value = length
          state.value = { kind: 'ready' }
        },
      },
    })
    player.setSpeed(speed.value)
  }

  function onTime(at: number): void {
    time.value = at
    if (!skips.value || !isPlaying.value) return
    const gap = quiet.find(({ start, end }) => at >= start + 0.3 && at < end - 0.3)
    if (gap) player?.seek(gap.end - 0.2)
  }

  const toggle = () => player?.toggle()
  const seek = (to: number) => player?.seek(to)
  const by = (seconds: number) => seek(time.value + seconds)
  function setSpeed(to: number): void {
    speed.value = to
    player?.setSpeed(to)
    localStorage.setItem(SPEED_KEY, String(to))
  }
  function faster(step: 1 | -1): void {
    const next = SPEEDS[SPEEDS.indexOf(speed.value as (typeof SPEEDS)[number]) + step]
    if (next) setSpeed(next)
  }
  watch(skips, (on) => localStorage.setItem(SKIP_KEY, on ? '1' : '0'))
  watch([solo, () => ({ ...muted })], () => {
    const heard = (lane: Lane) => !muted[lane] && (solo.value === null || solo.value === lane)
    player?.hear({ agent: heard('agent'), customer: heard('customer') })
  })

  useKeys(() => ({
    Space: () => void toggle(),
    ArrowLeft: (event) => by(event.shiftKey ? -15 : -5),
    ArrowRight: (event) => by(event.shiftKey ? 15 : 5),
    '[': () => faster(-1),
    ']': () => faster(1),
  }))
  onBeforeUnmount(() => player?.destroy())

  return {
    state,
    time,
    seconds,
    isPlaying,
    speed,
    skips,
    solo,
    muted,
    mount,
    toggle,
    seek,
    by,
    setSpeed,
  }
}

/** Without peaks there is still audio: an even line is drawn. */
async function loadPeaks(detail: RecordingDetail): Promise<Peaks> {
  try {
    const response = await fetch(api.recordings.peaksUrl(detail.recording_id))
    if (response.ok) return parsePeaks(await response.arrayBuffer())
  } catch {
    // Drawn as a line below.
  }
  const flat = new Float32Array(Math.max(2, Math.ceil(detail.duration_ms / 40))).fill(0.05)
  return { windowMs: 40, customer: flat, agent: flat }
}
