import { expect, it } from 'vitest'
import {
  addDays,
  clock,
  daysBetween,
  isGreenPlate,
  phone,
  plateParts,
  soundOf,
  thousands,
  when,
} from './format'

it('writes phone numbers as people read them', () => {
  for (const [number, want] of [
    ['13800004409', '138 0000 4409'],
    ['+86 138-0000-4409', '138 0000 4409'],
    ['013800004409', '138 0000 4409'],
    ['02158998000', '021 5899 8000'],
    ['075512345678', '0755 1234 5678'],
    ['4008001234', '400 800 1234'],
    ['8021', '8021'],
    ['+85261234567', '+85261234567'],
    ['', ''],
  ] as const) {
    expect(phone(number), number).toBe(want)
  }
})

it('tells today from yesterday by the dealership clock, not the browser clock', () => {
  const now = Date.parse('2026-11-21T17:00:00Z') // 01:00 on the 22nd in Shanghai
  const at = (iso: string) => Date.parse(iso) * 1000
  expect(when(at('2026-11-21T16:30:00Z'), now)).toEqual({ kind: 'today', time: '00:30' })
  expect(when(at('2026-11-21T15:30:00Z'), now)).toEqual({ kind: 'yesterday', time: '23:30' })
  expect(when(at('2026-08-06T06:20:00Z'), now)).toEqual({ kind: 'date', text: '08-06 14:20' })
  expect(when(at('2025-08-06T06:20:00Z'), now)).toEqual({ kind: 'date', text: '2025-08-06 14:20' })
})

it('counts days across months', () => {
  expect(addDays('2026-11-30', 1)).toBe('2026-12-01')
  expect(daysBetween('2026-12-01', '2026-11-30')).toBe(-1)
})

it('knows new-energy plates by their eight characters', () => {
  expect(isGreenPlate('沪A·D3962')).toBe(false)
  expect(isGreenPlate('沪A·F61820')).toBe(true)
  expect(plateParts('沪A·D3962')).toEqual(['沪A', 'D3962'])
})

it('shows hours only when there are some', () => {
  expect(clock(226_000)).toBe('03:46')
  expect(clock(3_729_000)).toBe('1:02:09')
  expect(thousands(46210)).toBe('46\u2009210')
})

it('shows no word of a gateway as a number', () => {
  for (const number of ['', 'anonymous', 'Anonymous', 'unavailable']) expect(phone(number)).toBe('')
  expect(phone('8022')).toBe('8022')
})

it('says how a score sounds', () => {
  expect([4.4, 4.0, 3.9, 3.1, 3.0, 1].map(soundOf)).toEqual([
    'good',
    'good',
    'fair',
    'fair',
    'poor',
    'poor',
  ])
})
