// Test double of the server: serves dist, the same JSON, Range, and a WebSocket that resumes.
// A second port steers it: /offer?number=, /answer, /hold, /join, /come, /alarm, /silence, /withdraw, /end, /down, /up, /mute, /stat.
import fs from 'node:fs'
import http from 'node:http'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { WebSocketServer } from 'ws'
import { makeRecording } from './double/audio.mjs'
import { Refusal, routes } from './double/routes.mjs'
import { World } from './double/world.mjs'

const PORT = Number(process.env.DOUBLE_PORT ?? 4173)
const BASE = '/api/v1'
const PASSWORD = 'correct horse'
const dist = fileURLToPath(new URL('../dist/', import.meta.url))
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.webmanifest': 'application/manifest+json',
}
const CSP =
  "default-src 'self'; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
const audio = makeRecording()
let world = new World()
let server
let sockets
let isMute = false
let wrongPasswords = 0

const json = (response, status, body, headers = {}) => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers })
  response.end(body === undefined ? '' : JSON.stringify(body))
}

async function bodyOf(request) {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString()
  return /json/.test(request.headers['content-type'] ?? '') && text ? JSON.parse(text) : text
}

const userOf = (request) => {
  const username = /cheling_session=(\w+)/.exec(request.headers.cookie ?? '')?.[1]
  return world.d.users.find((u) => u.username === username)
}
const me = (user) => ({
  user_id: user.user_id,
  username: user.username,
  name: user.name,
  role: user.role,
  extension: user.extension,
  extension_registered: user.extension !== null,
  dealership_id: world.d.id('0dea', 1),
  dealership_name: '远航汽车浦东店',
})

function session(request, body) {
  if (request.method === 'DELETE')
    return [204, undefined, { 'set-cookie': 'cheling_session=; Path=/; Max-Age=0' }]
  if (request.method === 'GET') {
    const user = userOf(request)
    if (!user) throw new Refusal(401, 'not_signed_in')
    return [200, me(user)]
  }
  if (wrongPasswords >= 3)
    throw new Refusal(429, 'too_many_attempts', '', null, { 'retry-after': '30' })
  const user = world.d.users.find((u) => u.username === body.username)
  if (!user || body.password !== PASSWORD) {
    wrongPasswords++
    throw new Refusal(401, 'bad_credentials')
  }
  wrongPasswords = 0
  return [
    200,
    me(user),
    { 'set-cookie': `cheling_session=${user.username}; Path=/; HttpOnly; SameSite=Lax` },
  ]
}

function sendBytes(request, response, bytes, type) {
  const headers = { 'content-type': type, 'accept-ranges': 'bytes', etag: '"double"' }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  if (!range) {
    response.writeHead(200, { ...headers, 'content-length': bytes.length })
    return response.end(bytes)
  }
  world.stat.ranges.push(request.headers.range)
  const from = Number(range[1])
  const to = range[2] ? Number(range[2]) : bytes.length - 1
  response.writeHead(206, {
    ...headers,
    'content-range': `bytes ${from}-${to}/${bytes.length}`,
    'content-length': to - from + 1,
  })
  return response.end(bytes.subarray(from, to + 1))
}

async function api(request, response, url) {
  const route = url.pathname.slice(BASE.length)
  const body = await bodyOf(request)
  if (route === '/session') {
    const [status, answer, headers] = session(request, body)
    return json(response, status, answer, headers)
  }
  if (!userOf(request)) throw new Refusal(401, 'not_signed_in')
  const file = /^\/recordings\/[\w-]+\/(audio|peaks)$/.exec(route)
  if (file) {
    const isAudio = file[1] === 'audio'
    return sendBytes(
      request,
      response,
      isAudio ? audio.wav : audio.peaks,
      isAudio ? 'audio/wav' : 'application/octet-stream',
    )
  }
  for (const [method, pattern, answer, status = 200] of routes(world)) {
    const match = new RegExp(`^${pattern.replace(':id', '([\\w-]+)')}$`).exec(route)
    if (method !== request.method || !match) continue
    const q = Object.fromEntries(url.searchParams)
    return json(response, status, answer({ id: match[1], q, body, headers: request.headers }))
  }
  throw new Refusal(404, 'not_found')
}

function page(response, url) {
  const wanted = path.join(dist, decodeURIComponent(url.pathname))
  const isFile = wanted.startsWith(dist) && fs.existsSync(wanted) && fs.statSync(wanted).isFile()
  if (!isFile && url.pathname.startsWith('/assets/')) return json(response, 404, {})
  const file = isFile ? wanted : path.join(dist, 'index.html')
  response.writeHead(200, {
    'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream',
    'content-security-policy': CSP,
  })
  return response.end(fs.readFileSync(file))
}

/** Sends a running call: a tone on the left, silence on the right, nothing while paused. */
function listen(socket, id) {
  world.stat.listens.push(id)
  const isOver = () => !world.live.some((l) => l.offered.call_id === id && l.state !== 'wrap_up')
  let wasPaused = false
  let at = Date.now() * 1000
  const timer = setInterval(() => {
    if (isOver()) return socket.close(1000)
    const isPaused = world.at(id).recording.state === 'paused'
    if (isPaused !== wasPaused)
      socket.send(JSON.stringify({ recording: isPaused ? 'paused' : 'on' }))
    wasPaused = isPaused
    at += 100_000
    if (isPaused) return undefined
    const message = Buffer.alloc(8 + 1600)
    message.writeDoubleLE(at, 0)
    for (let n = 0; n < 800; n++) message.set([n % 16 < 8 ? 0xb5 : 0x35, 0xd5], 8 + 2 * n)
    return socket.send(message)
  }, 100)
  socket.on('close', () => {
    clearInterval(timer)
    world.stat.listensEnded++
  })
}

function up() {
  server = http.createServer((request, response) => {
    const url = new URL(request.url, 'http://double')
    if (!url.pathname.startsWith(`${BASE}/`)) return page(response, url)
    return api(request, response, url).catch((error) => {
      const { status = 500, code = 'internal', field = null, headers } = error
      if (status === 500) console.error(error)
      json(response, status, { error: { code, message: error.message, field } }, headers)
    })
  })
  sockets = new WebSocketServer({ noServer: true })
  const listeners = new WebSocketServer({ noServer: true })
  server.on('upgrade', (request, socket, head) => {
    const { pathname } = new URL(request.url, 'http://double')
    const id = /\/calls\/([\w-]+)\/listen$/.exec(pathname)?.[1]
    if (id) {
      listeners.handleUpgrade(request, socket, head, (listener) => listen(listener, id))
    } else {
      sockets.handleUpgrade(request, socket, head, (it) => sockets.emit('connection', it, request))
    }
  })
  sockets.on('connection', (socket, request) => {
    if (!userOf(request)) return socket.close(4401)
    const since = Number(new URL(request.url, 'http://double').searchParams.get('since'))
    world.stat.connections++
    world.stat.since.push(since)
    if (since > world.seq) socket.send(JSON.stringify({ seq: world.seq, at: 0, type: 'reset' }))
    for (const event of world.ring) if (event.seq > since) socket.send(JSON.stringify(event))
    const beat = () => isMute || socket.send(JSON.stringify({ type: 'heartbeat', seq: world.seq }))
    beat()
    const timer = setInterval(beat, 2000)
    world.sockets.add(socket)
    socket.on('close', () => {
      clearInterval(timer)
      world.sockets.delete(socket)
    })
    return undefined
  })
  return new Promise((done) => server.listen(PORT, '127.0.0.1', done))
}

function down() {
  for (const socket of sockets.clients) socket.terminate()
  server.closeAllConnections()
  return new Promise((done) => server.close(done))
}

const steer = {
  reset: () => {
    for (const socket of world.sockets) socket.terminate()
    world = new World()
    isMute = false
    wrongPasswords = 0
  },
  offer: (q) => world.offer({ number: q.get('number') ?? undefined }),
  answer: (q) => world.answer(q.get('id')),
  hold: (q) => world.hold(q.get('id'), q.get('held') !== 'false'),
  pause: (q) => world.pause(q.get('id'), q.get('paused') !== 'false'),
  come: (q) => void world.come(world.at(q.get('id'))),
  join: (q) => void (world.at(q.get('id')).monitor.joined_at = Date.now() * 1000),
  alarm: (q) => world.alarm(q.get('kind'), q.get('disk') ?? '/srv/journal'),
  silence: (q) => world.silence(q.get('id'), q.get('heard') ?? 'both', q.get('missing')),
  withdraw: (q) => world.withdraw(q.get('id')),
  end: (q) => world.end(q.get('id')),
  refuse_dials: (q) => void (world.failures = Number(q.get('n') ?? 1)),
  mute: (q) => void (isMute = q.get('on') !== 'false'),
  down,
  up,
}
http
  .createServer(async (request, response) => {
    const url = new URL(request.url, 'http://double')
    const result = await steer[url.pathname.slice(1)]?.(url.searchParams)
    json(response, 200, { result: result ?? null, ...world.stat, seq: world.seq })
  })
  .listen(PORT + 1, '127.0.0.1')
await up()
console.log(`double on http://127.0.0.1:${PORT}/ (chenjing, zhoumin, admin, qiuyu; ${PASSWORD})`)
