/** G.711 A-law, as the server sends running calls: one byte is one sample. */

/** What each of the 256 bytes means, from -1 to 1 (ITU-T G.711, table 1a). */
export const ALAW: Float32Array = Float32Array.from({ length: 256 }, (_, byte) => {
  const code = byte ^ 0x55
  const exponent = (code >> 4) & 7
  const mantissa = ((code & 0x0f) << 4) + 8
  const magnitude = exponent === 0 ? mantissa : (mantissa + 0x100) << (exponent - 1)
  return (code & 0x80 ? magnitude : -magnitude) / 32768
})

/** A stretch of both sides. */
export interface Stretch {
  /** When it was spoken, microseconds. */
  at: number
  customer: Float32Array<ArrayBuffer>
  agent: Float32Array<ArrayBuffer>
}

/** Reads a binary message: a 64-bit float, then left and right in turn. */
export function readStretch(message: ArrayBuffer): Stretch | null {
  const count = (message.byteLength - 8) >> 1
  if (count <= 0) return null
  const bytes = new Uint8Array(message, 8)
  const lane = (offset: number) =>
    Float32Array.from({ length: count }, (_, n) => ALAW[bytes[2 * n + offset] ?? 0] ?? 0)
  return { at: new DataView(message).getFloat64(0, true), customer: lane(0), agent: lane(1) }
}

/** How loud, 0 to 1 on a scale that an ear would draw: -50 dBFS is 0, full scale 1. */
export function loudness(lane: Float32Array): number {
  let sum = 0
  for (const sample of lane) sum += sample * sample
  const db = 10 * Math.log10(sum / Math.max(1, lane.length) + 1e-12)
  return Math.min(1, Math.max(0, 1 + db / 50))
}
