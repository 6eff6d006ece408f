/**
 * Two lanes of one recording: our side above, the customer below; played by an audio element
 * that fetches by Range, drawn from the server's peaks. Nothing is decoded in the page.
 */
import WaveSurfer from 'wavesurfer.js'
import RegionsPlugin from 'wavesurfer.js/dist/plugins/regions.js'
import TimelinePlugin from 'wavesurfer.js/dist/plugins/timeline.js'
import { clock } from '@/text/format'
import { gainOf, type Peaks, type Span } from './peaks'

export const LANE_HEIGHT_PX = 84

export interface PlayerEvents {
  time: (seconds: number) => void
  playing: (isPlaying: boolean) => void
  failed: () => void
  ready: (seconds: number) => void
}

/** A stretch with a name. */
export interface Mark extends Span {
  text: string
}

export interface PlayerOptions {
  wave: HTMLElement
  ruler: HTMLElement
  src: string
  peaks: Peaks
  seconds: number
  silences: Span[]
  /** Silence that was made on purpose. */
  marks: Mark[]
  on: PlayerEvents
}

const token = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name)

export class TwoLanePlayer {
  private readonly surfer: WaveSurfer
  private readonly audio = new Audio()
  private gains: { customer: GainNode; agent: GainNode } | null = null
  private context: AudioContext | null = null

  constructor(private readonly options: PlayerOptions) {
    const { wave, ruler, src, peaks, seconds, on } = options
    this.audio.preload = 'metadata'
    this.audio.src = src
    const regions = RegionsPlugin.create()
    const lane = {
      height: LANE_HEIGHT_PX,
      barWidth: 2,
      barGap: 1,
      barRadius: 1,
      normalize: false,
      barHeight: gainOf(peaks),
    }
    this.surfer = WaveSurfer.create({
      container: wave,
      media: this.audio,
      peaks: [peaks.agent, peaks.customer],
      duration: seconds,
      cursorColor: token('--ink'),
      cursorWidth: 1,
      dragToSeek: true,
      minPxPerSec: 1,
      splitChannels: [
        { ...lane, waveColor: token('--lane-agent-soft'), progressColor: token('--lane-agent') },
        { ...lane, waveColor: token('--lane-cust-soft'), progressColor: token('--lane-cust') },
      ],
      plugins: [
        regions,
        TimelinePlugin.create({
          container: ruler,
          height: 18,
          ...rulerSteps(seconds),
          secondaryLabelInterval: 0,
          formatTimeCallback: (at) => (at > seconds * 0.97 ? '' : clock(at * 1000)),
          style: { color: token('--ink-3'), fontSize: '12px' },
        }),
      ],
    })
    this.surfer.on('timeupdate', on.time)
    this.surfer.on('play', () => on.playing(true))
    this.surfer.on('pause', () => on.playing(false))
    this.surfer.on('error', on.failed)
    this.surfer.once('ready', () => {
      const mark = ({ start, end }: Span, color: string, content: HTMLElement) =>
        regions.addRegion({ start, end, color, content, drag: false, resize: false })
      const isMarked = (span: Span) =>
        options.marks.some((known) => span.start < known.end && span.end > known.start)
      for (const span of options.silences.filter((span) => !isMarked(span))) {
        mark(span, 'rgba(97, 109, 132, 0.14)', tag(`${(span.end - span.start).toFixed(1)}″`))
      }
      for (const span of options.marks) {
        mark(span, 'rgba(147, 80, 10, 0.16)', tag(span.text))
      }
      on.ready(this.surfer.getDuration())
    })
  }

  /** The audio graph is built on the first use: browsers want a gesture before. */
  private graph(): { customer: GainNode; agent: GainNode } {
    if (this.gains) return this.gains
    const context = (this.context = new AudioContext())
    const split = context.createChannelSplitter(2)
    const gains = { customer: context.createGain(), agent: context.createGain() }
    context.createMediaElementSource(this.audio).connect(split)
    split.connect(gains.customer, 0)
    split.connect(gains.agent, 1)
    gains.customer.connect(context.destination)
    gains.agent.connect(context.destination)
    return (this.gains = gains)
  }

  /** Which lanes are heard; both in both ears. */
  hear(lanes: { customer: boolean; agent: boolean }): void {
    const gains = this.graph()
    gains.customer.gain.value = lanes.customer ? 1 : 0
    gains.agent.gain.value = lanes.agent ? 1 : 0
  }

  async toggle(): Promise<void> {
    this.graph()
    try {
      await this.context?.resume()
      await this.surfer.playPause()
    } catch {
      this.options.on.failed()
    }
  }

  seek(seconds: number): void {
    this.surfer.setTime(Math.min(Math.max(0, seconds), this.surfer.getDuration()))
  }
  setSpeed(speed: number): void {
    this.surfer.setPlaybackRate(speed, true)
  }
  destroy(): void {
    this.surfer.destroy()
    this.audio.removeAttribute('src')
    this.audio.load()
    void this.context?.close()
  }
}

/** About eight labels, whatever the length. */
function rulerSteps(seconds: number): { timeInterval: number; primaryLabelInterval: number } {
  const steps = [1, 5, 10, 20, 30, 60, 120, 300, 600, 1200]
  const label = steps.find((step) => seconds / step <= 9) ?? 1800
  return { timeInterval: label / 4, primaryLabelInterval: label }
}

function tag(text: string): HTMLElement {
  const tag = document.createElement('span')
  tag.textContent = text
  tag.style.cssText =
    'position:absolute;bottom:2px;left:0;right:0;text-align:center;font:11px/14px sans-serif;' +
    'color:#4a5568;white-space:nowrap;overflow:hidden'
  return tag
}
