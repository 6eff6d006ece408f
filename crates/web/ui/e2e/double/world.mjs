// What happens while the double runs: live calls, numbered events, browsers that listen.
import { cardFor, Refusal } from './routes.mjs'
import { makeDealership, nowUs } from './dealership.mjs'

export class World {
  constructor() {
    this.d = makeDealership()
    this.seq = 100
    this.ring = []
    this.live = []
    this.sockets = new Set()
    this.dialled = new Map()
    this.stat = {
      connections: 0,
      since: [],
      ranges: [],
      dials: 0,
      wrapUps: [],
      listens: [],
      listensEnded: 0,
      orders: [],
    }
    this.failures = 0
    this.count = 0
    this.alarms = []
    this.format = { container: null, usual: 'wav', opus_kbit: 24, opus_after_days: 90 }
  }

  /** Something is wrong with the recorder; without a kind all is well again. */
  alarm(kind, disk) {
    const free_bytes = 812 * 1024 ** 2
    if (kind) this.alarms.push({ kind, disk, free_bytes, lost: 1250, since: nowUs() })
    else this.alarms = []
  }

  emit(event) {
    const numbered = { seq: ++this.seq, at: nowUs(), ...event }
    this.ring.push(numbered)
    for (const socket of this.sockets) socket.send(JSON.stringify(numbered))
  }

  /** An inbound call begins to ring. */
  offer({ number = '13800004409', direction = 'inbound', call_id, follow_up_id = null } = {}) {
    const offered = {
      call_id: call_id ?? this.d.id('11fe', ++this.count),
      direction,
      extension: '8021',
      line_name: direction === 'inbound' ? '售后热线' : '',
      called: direction === 'inbound' ? '58998000' : number,
      offered_at: nowUs(),
      follow_up_id,
      card: cardFor(this.d, number),
    }
    this.live.push({
      offered,
      state: 'ringing',
      answered_at: null,
      ended_at: null,
      recording: { state: 'on' },
      audio: { heard: 'both' },
      guests: [],
      consulting: false,
      transferring: '',
    })
    this.emit({ type: 'call.offered', ...offered })
    return offered.call_id
  }

  at(id) {
    const live = id
      ? this.live.find((l) => l.offered.call_id === id)
      : this.live[this.live.length - 1]
    if (!live) throw new Refusal(404, 'not_found')
    return live
  }

  answer(id) {
    const live = this.at(id)
    Object.assign(live, { state: 'talking', answered_at: nowUs() })
    const { call_id, extension } = live.offered
    this.emit({ type: 'call.answered', call_id, extension, answered_at: live.answered_at })
  }

  hold(id, held) {
    const live = this.order(id, held ? 'hold' : 'resume')
    live.state = held ? 'held' : 'talking'
    this.emit({ type: 'call.updated', call_id: live.offered.call_id, held })
  }

  /** The call that talks, noting what is asked of it. */
  order(id, order, ...what) {
    const live = this.at(id)
    if (!live.answered_at || live.state === 'wrap_up') throw new Refusal(409, 'not_now')
    this.stat.orders.push([order, ...what].join(' '))
    return live
  }

  /** A colleague's phone that is registered, or any number outside. */
  reach(number) {
    const phone = this.d.extensions.find((e) => e.number === number)
    if (phone && !phone.registered) throw new Refusal(409, 'extension_not_registered')
    return phone?.user_name ?? ''
  }

  update(live, change) {
    Object.assign(live, change)
    this.emit({ type: 'call.updated', call_id: live.offered.call_id, ...change })
  }

  transfer(id, number) {
    const live = this.order(id, 'transfer', number)
    this.reach(number)
    this.update(live, { transferring: number })
  }

  /** The third rings until /answer; the call that waits stays. */
  consult(id, number) {
    const live = this.order(id, 'consult', number)
    this.reach(number)
    this.update(live, { consulting: true })
    return { call_id: this.offer({ number, direction: 'internal' }) }
  }

  /** Of either call: the consultation is over, and with it the other call if it is handed on. */
  endConsult(id, isCompleted) {
    this.order(id, isCompleted ? 'complete' : 'cancel')
    const waiting = this.live.find((l) => l.consulting)
    const consulted = this.live.find((l) => l !== waiting && l.state !== 'wrap_up')
    this.update(waiting, { consulting: false })
    this.end(consulted.offered.call_id, 'agent')
    if (isCompleted) this.end(waiting.offered.call_id, 'agent')
  }

  /** Of either call: who is consulted is in the call that waits, and nothing rings. */
  joinConsult(id) {
    this.order(id, 'join')
    const waiting = this.live.find((l) => l.consulting)
    const consulted = this.live.find((l) => l !== waiting && l.state !== 'wrap_up')
    const number = consulted.offered.called
    const guest = { guest: waiting.guests.length + 1, role: 'conference', number }
    const name = this.reach(number)
    this.end(consulted.offered.call_id, 'agent')
    this.update(waiting, { consulting: false, guests: [...waiting.guests, { ...guest, name }] })
  }

  /** The agent's part is over; the others talk on. */
  depart(id) {
    this.order(id, 'leave')
    this.end(id, 'agent')
  }

  invite(id, number) {
    const live = this.order(id, 'invite', number)
    const name = this.reach(number)
    const guest = { guest: live.guests.length + 1, role: 'conference', number, name }
    this.update(live, { guests: [...live.guests, { ...guest, ringing: true }] })
  }

  /** Whoever is called to join has answered. */
  come(live) {
    this.update(live, { guests: live.guests.map((g) => ({ ...g, ringing: false })) })
  }

  dismiss(id, guest) {
    const live = this.order(id, 'dismiss', guest)
    this.update(live, { guests: live.guests.filter((g) => g.guest !== guest) })
  }

  /** The supervisor's phone rings until it is answered with /join. */
  monitor(id, role) {
    if (this.failures > 0) {
      this.failures--
      throw new Refusal(409, 'extension_not_registered')
    }
    const live = this.order(id, 'monitor', role)
    live.monitor = { joined_at: null, ...live.monitor, role }
  }

  leave(id) {
    delete this.order(id, 'leave').monitor
  }

  /** Who monitors, as the call's details tell it. */
  monitors(id) {
    const monitor = this.live.find((l) => l.offered.call_id === id)?.monitor
    if (!monitor?.joined_at) return []
    return [{ guest: 7, number: '8022', user_name: '周敏', left_at: null, ...monitor }]
  }

  pause(id, isPaused) {
    const live = this.at(id)
    const since = nowUs()
    live.recording = isPaused
      ? { state: 'paused', since, until: since + 300_000_000 }
      : { state: 'on' }
    const { call_id } = live.offered
    this.emit({ type: 'call.updated', call_id, recording: live.recording })
  }

  running() {
    const talks = this.live.filter((l) => l.answered_at && l.state !== 'wrap_up')
    return talks.map(({ offered, state, answered_at, recording, audio }) => ({
      call_id: offered.call_id,
      direction: offered.direction,
      extension: offered.extension,
      user_name: '陈静',
      line_name: offered.line_name,
      number: offered.card.number,
      customer_name: offered.card.customer?.name ?? '',
      answered_at,
      held: state === 'held',
      recording,
      audio,
    }))
  }

  /** One side, or both, is no longer heard. */
  silence(id, heard, missing) {
    const live = this.at(id)
    live.audio = missing ? { heard, missing } : { heard }
    const { call_id, extension } = live.offered
    this.emit({ type: 'call.updated', call_id, audio: live.audio })
    this.emit({ type: 'call.alarm', call_id, extension, user_name: '陈静', audio: live.audio })
  }

  withdraw(id) {
    const live = this.at(id)
    this.live = this.live.filter((l) => l !== live)
    this.emit({
      type: 'call.withdrawn',
      call_id: live.offered.call_id,
      reason: 'answered_elsewhere',
      extension: '8022',
      answered_by: '周敏',
    })
  }

  end(id, by = 'customer') {
    const live = this.at(id)
    Object.assign(live, { guests: [], consulting: false, transferring: '' })
    const { call_id } = live.offered
    const ended_at = nowUs()
    const talk_ms = live.answered_at ? Math.round((ended_at - live.answered_at) / 1000) : 0
    if (live.answered_at) Object.assign(live, { state: 'wrap_up', ended_at })
    else this.live = this.live.filter((l) => l !== live)
    this.emit({
      type: 'call.ended',
      call_id,
      cause: talk_ms ? 'hung_up' : 'cancelled',
      by,
      ended_at,
      talk_ms,
    })
    const { card } = live.offered
    this.d.calls.unshift({
      ...this.d.calls[0],
      call_id,
      direction: live.offered.direction,
      offered_at: live.offered.offered_at,
      answered_at: live.answered_at,
      ended_at,
      talk_ms,
      number: card.number,
      customer_id: card.customer?.customer_id ?? null,
      customer_name: card.customer?.name ?? '',
      plate: card.customer?.vehicles[0]?.plate ?? '',
      outcome: '',
      recording_id: live.answered_at ? this.d.id('00ec', 700 + this.count) : null,
      verdict: live.answered_at ? 'ok' : '',
    })
    if (live.answered_at) {
      this.emit({
        type: 'recording.ready',
        call_id,
        recording_id: this.d.calls[0].recording_id,
        duration_ms: talk_ms,
        verdict: 'ok',
        follow_up_id: null,
      })
    }
  }

  dial(body, key) {
    if (this.failures > 0) {
      this.failures--
      throw new Refusal(409, 'extension_not_registered')
    }
    if (!key) throw new Refusal(400, 'malformed')
    if (!this.dialled.has(key)) {
      this.stat.dials++
      const call_id = this.d.id('22fe', ++this.count)
      this.dialled.set(key, call_id)
      setTimeout(() => this.offer({ ...body, direction: 'outbound', call_id }), 400)
    }
    return { call_id: this.dialled.get(key) }
  }

  wrapUp(id, body) {
    this.stat.wrapUps.push(body)
    this.live = this.live.filter((l) => !(l.offered.call_id === id && l.state === 'wrap_up'))
    const task = this.d.followUps.find((f) => f.follow_up_id === body.follow_up_id)
    if (task && body.outcome === 'completed')
      Object.assign(task, { state: 'done', closed_at: nowUs() })
    if (task) this.emit({ type: 'task.changed', follow_up_id: task.follow_up_id })
    const call = this.d.calls.find((c) => c.call_id === id)
    if (call) call.outcome = body.outcome
    return {
      ...this.d.calls[0],
      ...call,
      legs: [],
      route: [],
      guests: [],
      note: body.note,
      hangup_by: '',
      match_method: '',
    }
  }

  link(id, customer_id) {
    const live = this.at(id)
    const customer = this.d.customers.find((c) => c.customer_id === customer_id)
    live.offered.card = { ...live.offered.card, kind: 'known', customer, candidates: [] }
    this.emit({ type: 'call.updated', call_id: id, card: live.offered.card })
    return {
      ...this.d.calls[0],
      call_id: id,
      legs: [],
      route: [],
      guests: [],
      note: '',
      hangup_by: '',
      match_method: 'chosen',
    }
  }
}
