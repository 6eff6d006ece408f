import { describe, expect, it } from 'vitest'
import { readSpans, writeSpans } from './spans'

describe('time spans', () => {
  it('are read as people type them and written in one way', () => {
    for (const [typed, written] of [
      ['', ''],
      ['8:30-12:00 13:00-17:30', '08:30-12:00 13:00-17:30'],
      ['8：30 至 12：00，13:00—24:00', '08:30-12:00 13:00-24:00'],
    ] as const) {
      expect(writeSpans(readSpans(typed) ?? [])).toBe(written)
    }
  })
  it('that make no sense are refused', () => {
    for (const typed of [
      '9',
      '17:00-9:00',
      '08:00-12:00 11:00-13:00',
      '25:00-26:00',
      '8-12',
      '1:00-2:00-3:00',
    ]) {
      expect(readSpans(typed), typed).toBeNull()
    }
  })
})
