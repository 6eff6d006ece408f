import { expect, it } from 'vitest'
import type { CallGuest, ColleagueRow, Direction } from '@/api/schema'
import { canComplete, canLeave, colleaguesOf, dialled, matching, subjectOf } from './callControl'
import type { DeskCall, Phase } from './callState'

const phase = (kind: 'ringing' | 'talking' | 'held' | 'gone'): Phase =>
  ({ kind, since: 1, farEndRings: false, heldAt: 1, why: 'failed', answeredBy: '' }) as Phase
const call = (
  call_id: string,
  kind: Parameters<typeof phase>[0],
  direction: Direction = 'inbound',
  consulting = false,
) => ({ call_id, phase: phase(kind), offered: { direction }, consulting }) as DeskCall

it('controls a conversation, and nothing that only rings or is over', () => {
  const talk = call('a', 'talking')
  expect(subjectOf([talk], talk)).toEqual({ kind: 'call', call: talk })
  for (const kind of ['ringing', 'gone'] as const) {
    expect(subjectOf([call('a', kind)], call('a', kind)).kind).toBe('none')
  }
  expect(subjectOf([talk], null).kind).toBe('none')
})

it('has the same buttons on both calls of a consultation, and not on a third', () => {
  const waiting = call('a', 'held', 'inbound', true)
  const third = call('b', 'ringing', 'internal')
  const other = call('c', 'ringing')
  const want = { kind: 'consult', waiting, consulted: third }
  expect(subjectOf([waiting, third, other], waiting)).toEqual(want)
  expect(subjectOf([waiting, third, other], third)).toEqual(want)
  expect(subjectOf([waiting, third, other], other).kind).toBe('none')
  expect(subjectOf([waiting], waiting)).toEqual({ kind: 'consult', waiting, consulted: null })
})

it('hands over to whom has answered only', () => {
  const waiting = call('a', 'talking', 'inbound', true)
  const of = (kind: 'ringing' | 'talking') => [waiting, call('b', kind, 'outbound')]
  expect(canComplete(subjectOf(of('ringing'), waiting))).toBe(false)
  expect(canComplete(subjectOf(of('talking'), waiting))).toBe(true)
  expect(canComplete(subjectOf([waiting], waiting))).toBe(false)
})

it('lets the agent leave only where a third party talks on', () => {
  const with_ = (...guests: Partial<CallGuest>[]) => {
    const talk = { ...call('a', 'talking'), guests: guests as CallGuest[] }
    return subjectOf([talk], talk)
  }
  expect(canLeave(with_())).toBe(false)
  expect(canLeave(with_({ role: 'conference', ringing: true }))).toBe(false)
  expect(canLeave(with_({ role: 'barge' }))).toBe(false)
  expect(canLeave(with_({ role: 'barge' }, { role: 'conference' }))).toBe(true)
})

it.each([
  ['8022', '8022'],
  ['138 0000-4409', '13800004409'],
  ['(021) 5899.8000', '02158998000'],
  ['+86 138 0000 4409', '+8613800004409'],
  ['', ''],
  ['8', ''],
  ['周敏', ''],
  ['80;22', ''],
])('reads %j as %j', (typed, number) => expect(dialled(typed)).toBe(number))

it('offers who is free first, and who has no phone now last', () => {
  const row = (extension: string, state: ColleagueRow['state']) => ({ extension, name: '', state })
  const rows = [row('8020', 'offline'), row('8022', 'busy'), row('8023', 'free')]
  expect(colleaguesOf(rows).map((one) => `${one.number} ${one.state}`)).toEqual([
    '8023 free',
    '8022 busy',
    '8020 offline',
  ])
})

it('finds a colleague by number or name', () => {
  const all = [
    { number: '8022', name: '周敏', state: 'free' as const },
    { number: '8020', name: 'Xu', state: 'busy' as const },
  ]
  expect(matching(all, '802')).toEqual(all)
  expect(matching(all, ' 8022 ')).toEqual([all[0]])
  expect(matching(all, 'xu')).toEqual([all[1]])
  expect(matching(all, '13')).toEqual([])
})
