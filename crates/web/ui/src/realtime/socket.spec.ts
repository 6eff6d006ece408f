import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { ConsoleEvent } from '@/api/schema'
import { ResumingSocket, type LinkStatus } from './socket'

class FakeSocket {
  static all: FakeSocket[] = []
  readyState = 0
  onopen?: () => void
  onclose?: () => void
  onmessage?: (message: { data: string }) => void
  constructor(readonly url: string) {
    FakeSocket.all.push(this)
  }
  say(value: object) {
    this.onmessage?.({ data: JSON.stringify(value) })
  }
  close() {
    this.readyState = 3
  }
}

const seen: ConsoleEvent[] = []
let status: LinkStatus[] = []
const newest = () => FakeSocket.all[FakeSocket.all.length - 1] as FakeSocket
const start = () =>
  new ResumingSocket({
    url: (since) => `ws://x/?since=${since}`,
    since: 40,
    onEvent: (event) => seen.push(event),
    onStatus: (s) => status.push(s),
    open: (url) => new FakeSocket(url) as unknown as WebSocket,
  })
const task = (seq: number) => ({ seq, at: 0, type: 'task.changed', follow_up_id: 'f' })

beforeEach(() => {
  vi.useFakeTimers()
  FakeSocket.all = []
  seen.length = 0
  status = []
})
afterEach(() => vi.useRealTimers())

it('resumes after the last event it has seen and drops what comes twice', () => {
  const socket = start()
  expect(newest().url).toBe('ws://x/?since=40')
  newest().say(task(41))
  newest().say(task(41))
  newest().onclose?.()
  vi.advanceTimersByTime(600)
  expect(newest().url).toBe('ws://x/?since=41')
  newest().say(task(41))
  newest().say(task(42))
  expect(seen.map((event) => event.seq)).toEqual([41, 42])
  socket.stop()
})

it('takes the number of a reset even if it is lower', () => {
  const socket = start()
  newest().say({ seq: 3, at: 0, type: 'reset' })
  newest().say(task(4))
  expect(seen.map((event) => event.type)).toEqual(['reset', 'task.changed'])
  socket.stop()
})

it('shows silence after 10 s and reconnects after 16 s', () => {
  const socket = start()
  newest().onopen?.()
  vi.advanceTimersByTime(10_001)
  expect(status[status.length - 1]).toEqual({ kind: 'silent' })
  newest().say({ type: 'heartbeat' })
  expect(status[status.length - 1]).toEqual({ kind: 'open' })
  vi.advanceTimersByTime(17_000)
  expect(FakeSocket.all).toHaveLength(2)
  socket.stop()
})

it('does not advance by a heartbeat', () => {
  const socket = start()
  newest().say({ type: 'heartbeat', seq: 99 })
  newest().say(task(41))
  expect(seen).toHaveLength(1)
  socket.stop()
})
