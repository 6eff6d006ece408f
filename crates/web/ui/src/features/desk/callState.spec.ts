import { expect, it } from 'vitest'
import type { CallOffered, Card, ConsoleEvent } from '@/api/schema'
import { applyEvent, applySnapshot, mostUrgent, type DeskCall } from './callState'

const card: Card = {
  kind: 'unknown',
  number: '13800004409',
  number_key: '+8613800004409',
  place: '上海',
  customer: null,
  candidates: [],
  past_calls: [],
}
const offered = (call_id: string, over: Partial<CallOffered> = {}): CallOffered => ({
  call_id,
  direction: 'inbound',
  extension: '8021',
  line_name: '售后热线',
  called: '58998000',
  offered_at: 1_000_000,
  follow_up_id: null,
  card,
  ...over,
})
let seq = 0
type Body = ConsoleEvent extends infer E
  ? E extends ConsoleEvent
    ? Omit<E, 'seq' | 'at'>
    : never
  : never
const event = (body: Body): ConsoleEvent => ({ ...body, seq: ++seq, at: 5_000_000 }) as ConsoleEvent
const play = (...bodies: Body[]) =>
  bodies.reduce<DeskCall[]>((calls, body) => applyEvent(calls, event(body)), [])
const offer = (id: string, over?: Partial<CallOffered>) =>
  ({ type: 'call.offered', ...offered(id, over) }) as Body
const answer = (call_id: string) =>
  ({ type: 'call.answered', call_id, extension: '8021', answered_at: 2_000_000 }) as Body
const ended = (call_id: string, talk_ms: number) =>
  ({
    type: 'call.ended',
    call_id,
    cause: 'hung_up',
    by: null,
    ended_at: 9_000_000,
    talk_ms,
  }) as Body
const kinds = (calls: DeskCall[]) => calls.map((call) => call.phase.kind)

it('goes from ringing to talking to held and back to wrap-up', () => {
  const held = (value: boolean) => ({ type: 'call.updated', call_id: 'a', held: value }) as Body
  expect(kinds(play(offer('a'), answer('a')))).toEqual(['talking'])
  expect(kinds(play(offer('a'), answer('a'), held(true)))).toEqual(['held'])
  expect(kinds(play(offer('a'), answer('a'), held(true), held(false)))).toEqual(['talking'])
  expect(kinds(play(offer('a'), answer('a'), ended('a', 7000)))).toEqual(['wrap_up'])
})

it('paints an event that comes twice only once', () => {
  expect(play(offer('a'), offer('a'))).toHaveLength(1)
  expect(kinds(play(offer('a'), answer('a'), offer('a')))).toEqual(['talking'])
})

it('keeps a second call beside the first', () => {
  expect(kinds(play(offer('a'), answer('a'), offer('b')))).toEqual(['talking', 'ringing'])
})

it('tells who answered elsewhere, and a withdrawal never ends a talk', () => {
  const withdrawn = {
    type: 'call.withdrawn',
    call_id: 'a',
    reason: 'answered_elsewhere',
    extension: '8022',
    answered_by: '周敏',
  } as Body
  expect(play(offer('a'), withdrawn)[0]?.phase).toMatchObject({ kind: 'gone', answeredBy: '周敏' })
  expect(kinds(play(offer('a'), answer('a'), withdrawn))).toEqual(['talking'])
})

it('asks for a wrap-up after an unanswered call that we dialled, not after one that rang here', () => {
  expect(kinds(play(offer('a', { direction: 'outbound' }), ended('a', 0)))).toEqual(['wrap_up'])
  expect(kinds(play(offer('a'), ended('a', 0)))).toEqual(['gone'])
  expect(kinds(play(offer('a', { direction: 'internal' }), answer('a'), ended('a', 9)))).toEqual([
    'gone',
  ])
})

it('shows the talking call before the ringing one', () => {
  expect(mostUrgent(play(offer('b'), offer('a'), answer('a')))?.call_id).toBe('a')
})

it('keeps only the last of the calls that rang in vain', () => {
  const missed = (id: string, ended_at: number) =>
    [offer(id), { ...ended(id, 0), ended_at } as Body] as const
  const calls = play(
    ...missed('a', 1),
    ...missed('b', 2),
    ...missed('c', 3),
    ...missed('d', 4),
    offer('e'),
  )
  expect(calls.map((call) => call.call_id)).toEqual(['b', 'c', 'd', 'e'])
})

it('takes the calls of a snapshot but keeps the missed ones it had', () => {
  const before = play(offer('missed'), ended('missed', 0), offer('stale'))
  const after = applySnapshot(before, [
    {
      offered: offered('now'),
      state: 'talking',
      answered_at: 2_000_000,
      ended_at: null,
      recording: { state: 'on' },
      audio: { heard: 'both' },
      guests: [],
      consulting: false,
      transferring: '',
    },
  ])
  expect(after.map((call) => call.call_id)).toEqual(['missed', 'now'])
})

it('shows a pause and who is not heard until the call is over', () => {
  const update = (body: object) => ({ type: 'call.updated', call_id: 'a', ...body }) as Body
  const paused = update({ recording: { state: 'paused', since: 1, until: 9 } })
  const mute = update({ audio: { heard: 'one_way', missing: 'customer' } })
  const [call] = play(offer('a'), answer('a'), paused, mute, update({ held: true }))
  expect(call?.recording).toEqual({ state: 'paused', since: 1, until: 9 })
  expect(call?.audio).toEqual({ heard: 'one_way', missing: 'customer' })
  const [over] = play(offer('a'), answer('a'), paused, mute, ended('a', 5000))
  expect([over?.recording.state, over?.audio.heard]).toEqual(['on', 'both'])
})

it('knows who else is there, who waits and where it goes, until it is over', () => {
  const guests = [{ guest: 1, role: 'conference' as const, number: '8022', name: '周敏' }]
  const updated = (change: object) => ({ type: 'call.updated', call_id: 'a', ...change }) as Body
  const talk = [offer('a'), answer('a'), updated({ guests }), updated({ transferring: '8022' })]
  const [call] = play(...talk, updated({ consulting: true }))
  expect(call).toMatchObject({ guests, transferring: '8022', consulting: true })
  expect(play(...talk, offer('a'))[0]).toMatchObject({ guests, transferring: '8022' })
  expect(play(...talk, updated({ transferring: '' }))[0]?.transferring).toBe('')
  const [over] = play(...talk, updated({ consulting: true }), ended('a', 7000))
  expect(over).toMatchObject({ guests: [], transferring: '', consulting: false })
})
