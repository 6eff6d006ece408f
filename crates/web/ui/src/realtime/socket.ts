/**
 * A WebSocket that reconnects, notices a dead peer and resumes after the last event it has seen.
 *
 * The server says something at least every 5 s; silence of 10 s is shown, of 16 s ends the socket.
 */
import type { ConsoleEvent } from '@/api/schema'
import { backoff } from './backoff'

export type LinkStatus =
  | { kind: 'connecting' }
  | { kind: 'open' }
  /** Open as far as we know, but nothing has come for longer than two heartbeats. */
  | { kind: 'silent' }
  | { kind: 'retrying'; attempt: number }
  /** The server says that the session is over. */
  | { kind: 'refused' }

/** The server's close code for a session that has ended. */
const SIGNED_OUT = 4401

export interface SocketOptions {
  url: (since: number) => string
  since: number
  onEvent: (event: ConsoleEvent) => void
  onStatus: (status: LinkStatus) => void
  silentMs?: number
  deadMs?: number
  open?: (url: string) => WebSocket
}

type Timer = ReturnType<typeof setTimeout> | undefined

export class ResumingSocket {
  private socket: WebSocket | null = null
  private attempt = 0
  private last: number
  private retryTimer: Timer
  private silentTimer: Timer
  private deadTimer: Timer
  private stopped = false

  constructor(private readonly options: SocketOptions) {
    this.last = options.since
    this.connect()
  }

  private connect(): void {
    clearTimeout(this.retryTimer)
    this.options.onStatus(
      this.attempt === 0 ? { kind: 'connecting' } : { kind: 'retrying', attempt: this.attempt },
    )
    const open = this.options.open ?? ((url: string) => new WebSocket(url))
    const socket = (this.socket = open(this.options.url(this.last)))
    this.feed()
    socket.onopen = () => {
      if (socket === this.socket) this.options.onStatus({ kind: 'open' })
    }
    socket.onmessage = (message: MessageEvent) => {
      if (socket === this.socket) this.receive(String(message.data))
    }
    socket.onclose = (closed?: CloseEvent) => {
      if (socket !== this.socket) return
      if (closed?.code === SIGNED_OUT) this.options.onStatus({ kind: 'refused' })
      this.retry()
    }
  }

  private receive(text: string): void {
    const wasSilent = this.feed()
    this.attempt = 0
    if (wasSilent) this.options.onStatus({ kind: 'open' })
    const event = parse(text)
    if (!event) return
    if (event.type === 'reset') {
      this.last = event.seq
      this.options.onEvent(event)
      return
    }
    if (event.seq <= this.last) return // replayed twice
    this.last = event.seq
    this.options.onEvent(event)
  }

  private retry(): void {
    clearTimeout(this.silentTimer)
    clearTimeout(this.deadTimer)
    this.socket = null
    if (this.stopped) return
    const waitMs = backoff(this.attempt++)
    this.options.onStatus({ kind: 'retrying', attempt: this.attempt })
    this.retryTimer = setTimeout(() => this.connect(), waitMs)
  }

  private wasSilent = false
  /** Winds the watches up again; says whether silence had been reported. */
  private feed(): boolean {
    const was = this.wasSilent
    this.wasSilent = false
    clearTimeout(this.silentTimer)
    clearTimeout(this.deadTimer)
    this.silentTimer = setTimeout(() => {
      this.wasSilent = true
      this.options.onStatus({ kind: 'silent' })
    }, this.options.silentMs ?? 10_000)
    this.deadTimer = setTimeout(() => {
      const socket = this.socket
      this.retry()
      socket?.close()
    }, this.options.deadMs ?? 16_000)
    return was
  }

  /** Called when the network is back or a tab becomes visible: no waiting for the back-off. */
  nudge(): void {
    if (this.stopped || (this.socket && this.socket.readyState <= WebSocket.OPEN)) return
    this.attempt = 0
    this.connect()
  }

  stop(): void {
    this.stopped = true
    clearTimeout(this.retryTimer)
    clearTimeout(this.silentTimer)
    clearTimeout(this.deadTimer)
    const socket = this.socket
    this.socket = null
    socket?.close()
  }
}

/** Heartbeats and what a newer server may say carry no event of ours. */
function parse(text: string): ConsoleEvent | null {
  try {
    const value = JSON.parse(text) as Partial<ConsoleEvent>
    const isEvent =
      typeof value.type === 'string' && /^(call|recording|task)\.|^reset$/.test(value.type)
    return isEvent && typeof value.seq === 'number' ? (value as ConsoleEvent) : null
  } catch {
    return null
  }
}
