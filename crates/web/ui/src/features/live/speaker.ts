/**
 * Plays a running call as it comes: each stretch is scheduled behind the last, a moment ahead.
 *
 * Works on plain http, where browsers have neither AudioWorklet nor decoders.
 */
import type { Stretch } from './alaw'

const RATE_HZ = 8000
/** What is kept ahead when sound begins, or begins again after a gap. */
const LEAD_S = 0.15
/** What is further ahead than this is left out: now matters. */
const MOST_AHEAD_S = 0.6

export class Speaker {
  private readonly context = new AudioContext()
  private next = 0

  /** Must be called from a gesture: browsers want one before they play. */
  start(): void {
    void this.context.resume()
  }

  /** Customer in the left ear, our side in the right; false if it was left out. */
  play({ customer, agent }: Stretch): boolean {
    const now = this.context.currentTime
    if (this.next - now > MOST_AHEAD_S) return false
    if (this.next < now + 0.01) this.next = now + LEAD_S
    const buffer = this.context.createBuffer(2, customer.length, RATE_HZ)
    buffer.copyToChannel(customer, 0)
    buffer.copyToChannel(agent, 1)
    const source = this.context.createBufferSource()
    source.buffer = buffer
    source.connect(this.context.destination)
    source.start(this.next)
    this.next += buffer.duration
    return true
  }

  stop(): void {
    void this.context.close()
  }
}
