import { expect, it } from 'vitest'
import { Hub, type ToTab } from './hub'

it('names exactly one tab to present an event, the visible one first', () => {
  let say: (value: object) => void = () => undefined
  const hub = new Hub(() => {
    const socket = { readyState: 1, close: () => undefined } as unknown as WebSocket
    say = (value) => socket.onmessage?.({ data: JSON.stringify(value) } as MessageEvent)
    return socket
  })
  const heard: ToTab[][] = [[], []]
  const tabs = heard.map((list) => (message: ToTab) => void list.push(message))
  const [first, second] = tabs as [(m: ToTab) => void, (m: ToTab) => void]
  hub.receive(first, { kind: 'hello', visible: true })
  hub.receive(second, { kind: 'hello', visible: false })
  hub.receive(first, { kind: 'start', url: 'ws://x/?since=0', since: 0 })
  const presented = () =>
    heard.map((list) => list.flatMap((m) => (m.kind === 'event' ? [m.present] : [])).pop())

  say({ seq: 1, at: 0, type: 'task.changed', follow_up_id: 'f' })
  expect(presented()).toEqual(['page', 'none'])
  hub.receive(first, { kind: 'visibility', visible: false })
  say({ seq: 2, at: 0, type: 'task.changed', follow_up_id: 'f' })
  expect(presented().sort()).toEqual(['none', 'notify'])
  hub.receive(first, { kind: 'bye' })
  hub.receive(second, { kind: 'bye' })
})
