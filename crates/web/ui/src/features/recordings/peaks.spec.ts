import { expect, it } from 'vitest'
import { gainOf, parsePeaks, PeaksError, silences } from './peaks'

function file(pairs: [number, number][], windows = pairs.length): ArrayBuffer {
  const bytes = new Uint8Array(12 + 2 * pairs.length)
  bytes.set([0x43, 0x4c, 0x50, 0x4b, 1, 2, 40, 0])
  new DataView(bytes.buffer).setUint32(8, windows, true)
  bytes.set(pairs.flat(), 12)
  return bytes.buffer
}

it('reads the customer from the first byte of a window and the agent from the second', () => {
  const peaks = parsePeaks(
    file([
      [255, 0],
      [0, 51],
    ]),
  )
  expect(peaks.windowMs).toBe(40)
  expect([...peaks.customer]).toEqual([1, 0])
  expect(peaks.agent[1]).toBeCloseTo(0.2)
})

it('takes what is there of a file that ends early, and refuses another format', () => {
  expect(parsePeaks(file([[1, 1]], 900)).customer).toHaveLength(1)
  expect(() => parsePeaks(new ArrayBuffer(3))).toThrow(PeaksError)
  expect(() => parsePeaks(new ArrayBuffer(40))).toThrow(PeaksError)
})

it('finds stretches in which neither speaks', () => {
  const loud: [number, number] = [200, 0]
  const quiet: [number, number] = [2, 3]
  const pairs = [loud, ...Array<[number, number]>(100).fill(quiet), loud, quiet]
  expect(silences(parsePeaks(file(pairs)))).toEqual([{ start: 0.04, end: 4.04 }])
})

it('draws a quiet recording larger, but not noise as speech', () => {
  expect(gainOf(parsePeaks(file([[85, 0]])))).toBeCloseTo(3)
  expect(gainOf(parsePeaks(file([[1, 0]])))).toBe(6)
  expect(gainOf(parsePeaks(file([[0, 0]])))).toBe(1)
})
