import { expect, it } from 'vitest'
import { ALAW, loudness, readStretch } from './alaw'

it('reads the bytes of G.711', () => {
  const of = (byte: number) => Math.round((ALAW[byte] ?? 0) * 32768)
  expect([0xd5, 0x55, 0xaa, 0x2a].map(of)).toEqual([8, -8, 32256, -32256])
  expect(new Set(ALAW).size).toBe(256)
})

it('parts a message into its time and two lanes', () => {
  const message = new ArrayBuffer(8 + 4)
  new DataView(message).setFloat64(0, 1_795_312_800_000_000, true)
  new Uint8Array(message, 8).set([0xaa, 0xd5, 0x2a, 0x55])
  const stretch = readStretch(message)
  expect(stretch?.at).toBe(1_795_312_800_000_000)
  expect([...(stretch?.customer ?? [])].map((it) => Math.sign(it))).toEqual([1, -1])
  expect(stretch?.agent.every((it) => Math.abs(it) < 0.001)).toBe(true)
  expect(readStretch(new ArrayBuffer(8))).toBeNull()
  expect(readStretch(new ArrayBuffer(3))).toBeNull()
})

it('measures from silence to full scale', () => {
  expect(loudness(new Float32Array(160))).toBe(0)
  expect(loudness(new Float32Array(160).fill(1))).toBe(1)
  const speech = loudness(new Float32Array(160).fill(0.05))
  expect(speech).toBeGreaterThan(0.3)
  expect(speech).toBeLessThan(0.8)
})
