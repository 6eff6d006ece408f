// The JSON of /api/v1 on the made-up dealership. Each route: method, path pattern, answer.
import { SECONDS } from './audio.mjs'
import { dayIn, nowUs } from './dealership.mjs'

class Refusal extends Error {
  constructor(status, code, message = code, field = null, headers = {}) {
    super(message)
    Object.assign(this, { status, code, field, headers })
  }
}
export { Refusal }

const page = (items) => ({ items, next_cursor: null })
const digits = (text) => text.replace(/\D/g, '')
const bare = (text) => text.replace(/[·\s]/g, '').toUpperCase()

export function cardFor(d, number) {
  const empty = {
    number,
    number_key: number,
    place: '上海',
    customer: null,
    candidates: [],
    past_calls: [],
  }
  if (!number) return { ...empty, kind: 'withheld', place: '' }
  if (/^\d{4}$/.test(number)) return { ...empty, kind: 'internal', place: '' }
  const found = d.customers.filter((c) => c.phones.some((p) => p.number === number))
  if (found.length === 1) return { ...empty, kind: 'known', customer: found[0] }
  if (number === '13700001111') {
    const candidates = d.customers.slice(0, 3).map((c, n) => ({
      customer_id: c.customer_id,
      name: c.name,
      salutation: c.salutation,
      plate: c.vehicles[0].plate,
      phone_label: ['送修人', '公司', '本人'][n],
      open_items: c.open_items.length,
      last_contact_at: c.last_contacts[0]?.at ?? null,
    }))
    return { ...empty, kind: 'candidates', candidates }
  }
  return { ...empty, kind: 'unknown', past_calls: d.customers[0].last_contacts.slice(0, 2) }
}

function recordingRow(d, call) {
  const task = d.followUps.find((f) => f.follow_up_id === call.follow_up_id)
  return {
    recording_id: call.recording_id,
    started_at: call.answered_at,
    duration_ms: SECONDS * 1000,
    verdict: call.verdict,
    verdict_detail: call.verdict === 'one_way' ? 'customer lane silent' : '',
    container: 'wav',
    bytes: 44 + SECONDS * 32_000,
    call,
    attach_method: task ? 'click_to_dial' : '',
    follow_up_type: task?.type ?? '',
  }
}

function recordingDetail(d, call) {
  const quality = (lost) => ({
    received_packets: 4800 - lost,
    lost_packets: lost,
    reordered_packets: 2,
    duplicate_packets: 0,
    tap_dropped_packets: 0,
    jitter_us: 3400,
    concealed_ms: lost * 20,
    mos: lost ? 3.62 : 4.31,
    round_trip_us: lost ? null : 18_400,
  })
  return {
    ...recordingRow(d, call),
    sha256: '9f2c1b7ad0e4458c9a6f0b1d3e5c7a9881f2d4b6a8c0e2f4061728394a5b6c7d',
    sample_rate_hz: 8000,
    encodings: ['PCMA', 'PCMA'],
    quality: [quality(3), quality(0)],
    speech: {
      talk_ratio: [0.36, 0.5],
      silence_ratio: 0.14,
      longest_silence_ms: 8200,
      overlaps: 1,
      first_response_ms: 800,
    },
    note: '帕萨特空调异响，已预约明天 09:30 到店检测；客户在意等待时间，备注优先接待。',
    pauses: call.verdict === 'paused' ? [{ from_ms: 12_000, until_ms: 31_500 }] : [],
    digits: call.verdict === 'paused' ? [{ from_ms: 40_000, until_ms: 43_200 }] : [],
    listeners: [{ user_name: '周敏', at: nowUs() - 600_000_000, action: 'play' }],
  }
}

/** `world` holds the dealership, the live calls and `emit`. */
export function routes(world) {
  const { d } = world
  const need = (thing) => {
    if (!thing) throw new Refusal(404, 'not_found')
    return thing
  }
  const matches = (q, ...fields) =>
    !q ||
    fields.some((f) => bare(f).includes(bare(q)) || (digits(q) && digits(f).includes(digits(q))))
  // A call that runs is as one of the past, as far as these specs look at it.
  const isLive = (id) => world.live.some((l) => l.offered.call_id === id)
  const call = (id) =>
    need(d.calls.find((c) => c.call_id === id) ?? (isLive(id) && { ...d.calls[0], call_id: id }))
  const byRecording = (id) => need(d.calls.find((c) => c.recording_id === id))
  const customer = (id) => need(d.customers.find((c) => c.customer_id === id))
  const detail = (card) => ({ card, created_at: nowUs() - 9e13, address: '浦东新区示例路 18 弄' })
  const callDetail = (c) => ({
    ...c,
    hangup_by: c.answered_at ? 'customer' : '',
    match_method: c.customer_id ? 'number' : '',
    note: '',
    guests: world.monitors(c.call_id),
    route: [{ at: c.offered_at, kind: 'group', name: '售后一组', why: 'called' }],
    legs: ['8021', '8022'].map((extension, n) => ({
      extension,
      user_name: ['陈静', '周敏'][n],
      ringing_at: c.offered_at,
      answered_at: n === 0 ? c.answered_at : null,
      withdrawn_reason: n === 1 ? 'answered_elsewhere' : '',
    })),
  })
  const fromDraft = (body, old) => ({
    ...(old ?? {
      customer_id: d.id('00c0', 100 + d.customers.length),
      customer_no: `C00219${d.customers.length}`,
      segments: [],
      lead_grade: '',
      owner_name: '陈静',
      open_items: [],
      last_contacts: [],
    }),
    name: body.name,
    salutation: body.salutation,
    lifecycle: body.lifecycle,
    source: body.source,
    note: body.note,
    phones: body.phones.map((p) => ({ ...p, number_key: p.number })),
    vehicles: body.vehicles.map((v, n) => ({
      vehicle_id: d.id('00e0', 500 + n),
      mileage_km: null,
      last_visit_on: null,
      next_service_on: null,
      insurance_due_on: null,
      ...v,
    })),
  })

  return [
    ['GET', '/calls/live', () => ({ seq: world.seq, calls: world.live })],
    [
      'GET',
      '/calls',
      ({ q }) =>
        page(
          d.calls.filter(
            (c) =>
              matches(q.q, c.number, c.customer_name, c.plate) &&
              (!q.direction || c.direction === q.direction) &&
              (!q.answered || String(c.answered_at !== null) === q.answered) &&
              (!q.customer_id || c.customer_id === q.customer_id),
          ),
        ),
    ],
    ['POST', '/calls', ({ body, headers }) => world.dial(body, headers['idempotency-key']), 202],
    ['GET', '/calls/running', () => ({ calls: world.running() })],
    ['GET', '/calls/:id', ({ id }) => callDetail(call(id))],
    ['PUT', '/calls/:id/hold', ({ id }) => world.hold(id, true), 202],
    ['DELETE', '/calls/:id/hold', ({ id }) => world.hold(id, false), 202],
    ['POST', '/calls/:id/transfer', ({ id, body }) => world.transfer(id, body.number), 202],
    ['POST', '/calls/:id/consult', ({ id, body }) => world.consult(id, body.number), 202],
    ['PUT', '/calls/:id/consult', ({ id }) => world.endConsult(id, true), 202],
    ['PUT', '/calls/:id/consult/join', ({ id }) => world.joinConsult(id), 202],
    ['POST', '/calls/:id/leave', ({ id }) => world.depart(id), 202],
    ['DELETE', '/calls/:id/consult', ({ id }) => world.endConsult(id, false), 202],
    ['POST', '/calls/:id/guests', ({ id, body }) => world.invite(id, body.number), 202],
    ['DELETE', '/calls/:id/guests', ({ id, q }) => world.dismiss(id, Number(q.guest)), 202],
    ['PUT', '/calls/:id/monitor', ({ id, body }) => world.monitor(id, body.role), 202],
    ['DELETE', '/calls/:id/monitor', ({ id }) => world.leave(id), 202],
    ['POST', '/calls/:id/pause', ({ id }) => world.pause(id, true), 204],
    ['POST', '/calls/:id/resume', ({ id }) => world.pause(id, false), 204],
    ['DELETE', '/calls/:id', ({ id }) => world.end(id, 'agent'), 202],
    ['PUT', '/calls/:id/wrap-up', ({ id, body }) => world.wrapUp(id, body)],
    ['PUT', '/calls/:id/customer', ({ id, body }) => world.link(id, body.customer_id)],
    [
      'GET',
      '/recordings',
      ({ q }) =>
        page(
          d.calls
            .filter((c) => c.recording_id)
            .filter(
              (c) =>
                matches(q.q, c.number, c.customer_name, c.plate) &&
                (!q.verdict || c.verdict === q.verdict) &&
                (!q.attached || String(c.follow_up_id !== null) === q.attached),
            )
            .map((c) => recordingRow(d, c)),
        ),
    ],
    ['GET', '/recordings/:id', ({ id }) => recordingDetail(d, byRecording(id))],
    [
      'PUT',
      '/recordings/:id/follow-up',
      ({ id, body }) => {
        byRecording(id).follow_up_id = body.follow_up_id
        return recordingDetail(d, byRecording(id))
      },
    ],
    [
      'GET',
      '/customers',
      ({ q }) =>
        page(
          d.customers
            .filter(
              (c) =>
                matches(
                  q.q,
                  c.name,
                  ...c.phones.map((p) => p.number),
                  ...c.vehicles.map((v) => v.plate),
                ) &&
                (!q.lifecycle || c.lifecycle === q.lifecycle) &&
                (!q.segment || c.segments.includes(q.segment)),
            )
            .map(d.row),
        ),
    ],
    [
      'POST',
      '/customers',
      ({ body }) => {
        const made = fromDraft(body)
        d.customers.unshift(made)
        return detail(made)
      },
      201,
    ],
    ['GET', '/customers/:id', ({ id }) => detail(customer(id))],
    [
      'PUT',
      '/customers/:id',
      ({ id, body }) => detail(Object.assign(customer(id), fromDraft(body, customer(id)))),
    ],
    [
      'POST',
      '/imports',
      ({ q }) => ({
        applied: q.apply === 'true',
        rows: 128,
        created: 96,
        updated: 21,
        unchanged: 8,
        bad_rows: [
          {
            row: 14,
            column: '手机号',
            cell: '1381234',
            reason: '不是有效的电话号码',
            reason_code: 'phone_invalid',
          },
          { row: 57, column: '姓名', cell: '', reason: '没有姓名', reason_code: 'name_missing' },
          {
            row: 103,
            column: 'VIN',
            cell: 'LSVCC6F4XM2A4883',
            reason: 'VIN 不是 17 位',
            reason_code: 'vin_invalid',
          },
        ],
        bad_row_count: 3,
      }),
    ],
    [
      'GET',
      '/follow-ups',
      ({ q }) => {
        const today = dayIn(0)
        const open = (f) => f.closed_at === null
        const views = {
          today: (f) => open(f) && f.due_on === today,
          overdue: (f) => open(f) && f.due_on < today,
          done: (f) => !open(f),
          all: () => true,
        }
        const rows = d.followUps.filter(
          (f) =>
            (!q.type || f.type === q.type) && (!q.customer_id || f.customer_id === q.customer_id),
        )
        return {
          ...page(rows.filter(views[q.view ?? 'all'])),
          counts: {
            today: d.followUps.filter(views.today).length,
            overdue: d.followUps.filter(views.overdue).length,
            done_today: d.followUps.filter(views.done).length,
          },
        }
      },
    ],
    [
      'POST',
      '/follow-ups',
      ({ body }) => {
        const c = customer(body.customer_id)
        const made = {
          ...d.followUps[1],
          ...body,
          follow_up_id: d.id('00f0', 300 + d.followUps.length),
          customer_name: c.name,
          salutation: c.salutation,
          segments: c.segments,
          number: c.phones[0].number,
          plate: c.vehicles[0]?.plate ?? '',
          model: c.vehicles[0]?.model ?? '',
          state: 'open',
        }
        d.followUps.push(made)
        return made
      },
      201,
    ],
    ['GET', '/follow-ups/:id', ({ id }) => need(d.followUps.find((f) => f.follow_up_id === id))],
    [
      'PUT',
      '/follow-ups/:id',
      ({ id, body }) => Object.assign(need(d.followUps.find((f) => f.follow_up_id === id)), body),
    ],
    ['GET', '/users', () => page(d.users)],
    [
      'POST',
      '/users',
      ({ body }) => {
        if (d.users.some((u) => u.username === body.username))
          throw new Refusal(409, 'already_taken')
        const made = { ...body, user_id: d.id('00aa', 50 + d.users.length), password: undefined }
        d.users.push(made)
        return made
      },
      201,
    ],
    [
      'PUT',
      '/users/:id',
      ({ id, body }) => Object.assign(need(d.users.find((u) => u.user_id === id)), body),
    ],
    [
      'GET',
      '/colleagues',
      () =>
        page(
          d.extensions
            .filter((e) => e.number !== '8021')
            .map((e) => ({
              extension: e.number,
              name: e.user_name || e.display_name,
              state: e.registered ? 'free' : 'offline',
            })),
        ),
    ],
    ['GET', '/extensions', () => page(d.extensions)],
    [
      'POST',
      '/extensions',
      ({ body }) => {
        const made = { ...d.extensions[3], ...body, user_name: '', registered: false }
        d.extensions.push(made)
        return { ...made, password: 'k7Qm-2vXe-Tn4R' }
      },
      201,
    ],
    [
      'PUT',
      '/extensions/:id',
      ({ id, body }) => Object.assign(need(d.extensions.find((e) => e.number === id)), body),
    ],
    [
      'POST',
      '/extensions/:id/password',
      ({ id }) => ({
        ...need(d.extensions.find((e) => e.number === id)),
        password: 'p3Wd-9sLa-Hx6B',
      }),
    ],
    [
      'DELETE',
      '/extensions/:id',
      ({ id }) => {
        d.extensions.splice(
          d.extensions.findIndex((e) => e.number === id),
          1,
        )
      },
      204,
    ],
    ['GET', '/alarms', () => ({ alarms: world.alarms })],
    ['GET', '/recording-format', () => world.format],
    ['PUT', '/recording-format', ({ body }) => Object.assign(world.format, body)],
    ['GET', '/lines', () => d.lines],
    ['PUT', '/lines', ({ body }) => (d.lines = body)],
  ]
}
