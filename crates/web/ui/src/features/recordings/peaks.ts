/**
 * The outline of a recording, as the server computed it.
 *
 * Little endian: "CLPK", u8 version 1, u8 lanes 2, u16 window in ms, u32 windows; then for each
 * window one byte a lane, [customer, agent], 255 being full scale.
 */

export interface Peaks {
  windowMs: number
  /** 0 to 1 per window. */
  customer: Float32Array
  agent: Float32Array
}

const HEADER_BYTES = 12
const MAGIC = 'CLPK'

export class PeaksError extends Error {}

export function parsePeaks(buffer: ArrayBuffer): Peaks {
  const view = new DataView(buffer)
  const magic = String.fromCharCode(...new Uint8Array(buffer.slice(0, 4)))
  if (buffer.byteLength < HEADER_BYTES || magic !== MAGIC) throw new PeaksError('not a peaks file')
  const [version, lanes] = [view.getUint8(4), view.getUint8(5)]
  if (version !== 1 || lanes !== 2) throw new PeaksError(`version ${version}, ${lanes} lanes`)
  const windowMs = view.getUint16(6, true)
  const kept = Math.floor((buffer.byteLength - HEADER_BYTES) / 2)
  const windows = Math.min(view.getUint32(8, true), kept)
  const customer = new Float32Array(windows)
  const agent = new Float32Array(windows)
  for (let i = 0; i < windows; i++) {
    customer[i] = view.getUint8(HEADER_BYTES + 2 * i) / 255
    agent[i] = view.getUint8(HEADER_BYTES + 2 * i + 1) / 255
  }
  return { windowMs, customer, agent }
}

export interface Span {
  /** Seconds. */
  start: number
  end: number
}

/** Stretches in which neither lane is louder than `floor` for at least `leastSeconds`. */
export function silences(peaks: Peaks, leastSeconds = 3, floor = 0.02): Span[] {
  const found: Span[] = []
  const second = (index: number) => (index * peaks.windowMs) / 1000
  let from: number | null = null
  for (let i = 0; i <= peaks.customer.length; i++) {
    const isEnd = i === peaks.customer.length
    const isQuiet = !isEnd && (peaks.customer[i] ?? 0) <= floor && (peaks.agent[i] ?? 0) <= floor
    if (isQuiet) {
      from ??= i
    } else if (from !== null) {
      if (second(i) - second(from) >= leastSeconds)
        found.push({ start: second(from), end: second(i) })
      from = null
    }
  }
  return found
}

/** How much to draw a quiet recording larger: its loudest window fills the lane, up to 6 times. */
export function gainOf(peaks: Peaks): number {
  let loudest = 0
  for (const lane of [peaks.customer, peaks.agent]) {
    for (const value of lane) loudest = Math.max(loudest, value)
  }
  return loudest > 0 ? Math.min(6, 1 / loudest) : 1
}
