/**
 * A phone in a page: JsSIP with the browser's own WebRTC. Bundled by the test and put into an empty
 * page, where it is `window.phone`.
 */
import * as JsSIP from 'jssip'
import type { RTCSession } from 'jssip/lib/RTCSession'

/** What the browser itself says of the audio of one call. */
export interface Heard {
  readonly packetsReceived: number
  readonly packetsSent: number
  /** The loudest that was heard since the call began, 0 to 1. */
  readonly loudest: number
  readonly dtls: string
  readonly ice: string
  readonly codec: string
}

export interface Account {
  readonly socket: string
  readonly domain: string
  readonly extension: string
  readonly password: string
}

type Session = RTCSession

interface Live {
  readonly session: Session
  loudest: number
  state: 'ringing' | 'talking' | 'ended'
  cause: string
}

let agent: JsSIP.UA | undefined
let live: Live | undefined
let sound: HTMLAudioElement | undefined

function follow(session: Session): Live {
  const call: Live = { session, loudest: 0, state: 'ringing', cause: '' }
  session.on('confirmed', () => (call.state = 'talking'))
  const end = (event: { cause: string }): void => {
    call.state = 'ended'
    call.cause = event.cause
  }
  session.on('ended', end)
  session.on('failed', end)
  const play = (connection: RTCPeerConnection): void => {
    connection.addEventListener('track', (event) => {
      sound = new Audio()
      sound.srcObject = event.streams[0] ?? new MediaStream([event.track])
      void sound.play()
    })
  }
  if (session.connection) play(session.connection)
  else
    session.on('peerconnection', (event: { peerconnection: RTCPeerConnection }) =>
      play(event.peerconnection),
    )
  live = call
  return call
}

/** An offer without any codec but Opus, and the telephone events beside it. */
function opusAlone(sdp: string): string {
  const lines = sdp.split('\r\n')
  const named = lines.flatMap((line) => {
    const found = /^a=rtpmap:(\d+) (opus|telephone-event)\//.exec(line)
    return found?.[1] ? [found[1]] : []
  })
  const kept = lines.filter((line) => {
    const of = /^a=(?:rtpmap|fmtp|rtcp-fb):(\d+) /.exec(line)?.[1]
    return !of || named.includes(of)
  })
  const media = /^(m=audio \d+ \S+) .*$/
  return kept.map((line) => line.replace(media, `$1 ${named.join(' ')}`)).join('\r\n')
}

const phone = {
  /** Registers; the promise is kept when the registrar has said yes. */
  register(account: Account): Promise<void> {
    const started = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(account.socket)],
      uri: `sip:${account.extension}@${account.domain}`,
      password: account.password,
      session_timers: false,
    })
    started.on('newRTCSession', (event: { originator: string; session: Session }) => {
      if (event.originator === 'remote') follow(event.session)
    })
    agent = started
    return new Promise((resolve, reject) => {
      started.on('registered', () => resolve())
      started.on('registrationFailed', (event) => reject(new Error(String(event.cause))))
      started.start()
    })
  },

  /** Calls; with `'opus'` nothing else is offered. */
  call(number: string, codecs: 'all' | 'opus' = 'all'): void {
    if (!agent) throw new Error('not registered')
    const session = agent.call(number, {
      mediaConstraints: { audio: true, video: false },
      eventHandlers: {
        sdp: (event: { originator: string; sdp: string }) => {
          if (event.originator === 'local' && codecs === 'opus') event.sdp = opusAlone(event.sdp)
        },
      },
    })
    follow(session)
  },

  /** Presses keys, sent as telephone events (RFC 4733). */
  press(keys: string): void {
    const transportType = JsSIP.C.DTMF_TRANSPORT.RFC2833 as never
    live?.session.sendDTMF(keys, { transportType, duration: 120, interToneGap: 120 })
  },

  answer(): void {
    live?.session.answer({ mediaConstraints: { audio: true, video: false } })
  },

  hold(): Promise<void> {
    return new Promise((resolve) => void live?.session.hold({}, () => resolve()))
  },

  resume(): Promise<void> {
    return new Promise((resolve) => void live?.session.unhold({}, () => resolve()))
  },

  hangUp(): void {
    live?.session.terminate()
  },

  state(): string {
    return live?.state ?? 'idle'
  },

  cause(): string {
    return live?.cause ?? ''
  },

  /** What the offer or answer of the other side was. */
  told(): string {
    return live?.session.connection?.remoteDescription?.sdp ?? ''
  },

  async heard(): Promise<Heard> {
    const connection = live?.session.connection
    const found = { packetsReceived: 0, packetsSent: 0, dtls: '', ice: '', codec: '' }
    if (!live || !connection) return { ...found, loudest: 0 }
    const report: RTCStatsReport = await connection.getStats()
    report.forEach((entry) => {
      if (entry.type === 'inbound-rtp') {
        found.packetsReceived += entry.packetsReceived ?? 0
        found.codec = report.get(entry.codecId)?.mimeType ?? ''
        if (live) live.loudest = Math.max(live.loudest, entry.audioLevel ?? 0)
      }
      if (entry.type === 'outbound-rtp') found.packetsSent += entry.packetsSent ?? 0
      if (entry.type === 'transport') found.dtls = entry.dtlsState ?? ''
    })
    return { ...found, loudest: live.loudest, ice: connection.iceConnectionState }
  },
}

export type Phone = typeof phone

declare global {
  interface Window {
    phone: Phone
  }
}

window.phone = phone
