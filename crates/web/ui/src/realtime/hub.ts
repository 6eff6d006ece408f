/**
 * One live connection for all tabs of this browser, and who of them shows an event.
 *
 * Lives in a SharedWorker, or in the page itself where there is none; it knows nothing of either.
 */
import type { ConsoleEvent } from '@/api/schema'
import { ResumingSocket, type LinkStatus, type SocketOptions } from './socket'

/** `page`: this tab is looked at. `notify`: no tab is, this one tells the system. */
export type Presentation = 'page' | 'notify' | 'none'

export type ToTab =
  | { kind: 'status'; status: LinkStatus }
  | { kind: 'event'; event: ConsoleEvent; present: Presentation }

export type FromTab =
  | { kind: 'hello'; visible: boolean }
  /** The tab has its snapshot: connect, if nobody has yet. */
  | { kind: 'start'; url: string; since: number }
  | { kind: 'visibility'; visible: boolean }
  | { kind: 'online' }
  | { kind: 'bye' }
  | { kind: 'sign_out' }

type Send = (message: ToTab) => void

interface Tab {
  send: Send
  visible: boolean
  seenAt: number
}

export class Hub {
  private readonly tabs = new Map<Send, Tab>()
  private socket: ResumingSocket | null = null
  private status: LinkStatus = { kind: 'connecting' }
  private turn = 0

  constructor(private readonly open?: SocketOptions['open']) {}

  receive(send: Send, message: FromTab): void {
    const tab = this.tabs.get(send)
    switch (message.kind) {
      case 'hello':
        this.tabs.set(send, { send, visible: message.visible, seenAt: ++this.turn })
        send({ kind: 'status', status: this.status })
        return
      case 'start':
        this.socket ??= this.connect(message.url, message.since)
        return
      case 'visibility':
        if (!tab) return
        tab.visible = message.visible
        if (message.visible) {
          tab.seenAt = ++this.turn
          this.socket?.nudge()
        }
        return
      case 'online':
        this.socket?.nudge()
        return
      case 'bye':
        this.tabs.delete(send)
        if (this.tabs.size === 0) this.disconnect()
        return
      case 'sign_out':
        this.disconnect()
    }
  }

  private connect(url: string, since: number): ResumingSocket {
    return new ResumingSocket({
      url: (last) => url.replace(/since=\d*/, `since=${last}`),
      since,
      open: this.open,
      onStatus: (status) => {
        this.status = status
        for (const tab of this.tabs.values()) tab.send({ kind: 'status', status })
      },
      onEvent: (event) => {
        const leader = this.leader()
        for (const tab of this.tabs.values()) {
          const present = tab !== leader ? 'none' : tab.visible ? 'page' : 'notify'
          tab.send({ kind: 'event', event, present })
        }
      },
    })
  }

  /** The visible tab looked at last, else any. */
  private leader(): Tab | undefined {
    const newestFirst = [...this.tabs.values()].sort((a, b) => b.seenAt - a.seenAt)
    return newestFirst.find((tab) => tab.visible) ?? newestFirst[0]
  }

  private disconnect(): void {
    this.socket?.stop()
    this.socket = null
    this.status = { kind: 'connecting' }
  }
}
