/**
 * A browser as a phone, on a running `cheling`: it registers by WebSocket, is called, holds and
 * resumes, and calls. What is on the recordings the test that started this one looks at.
 *
 * Environment: PHONE_SOCKET (ws://…), PHONE_SECURE_SOCKET (wss://…), PHONE_DOMAIN, PHONE_EXTENSION,
 * PHONE_PASSWORD, PHONE_COLLEAGUE and PHONE_COLLEAGUE_PASSWORD (another extension), PHONE_CALL (a
 * request to it has the customer call), PHONE_NUMBER (the customer's, who answers and has no Opus).
 */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { expect, test, type Page } from '@playwright/test'
import { build, type Rolldown } from 'vite'
import type { Heard } from './in-page.ts'

function given(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}

async function bundle(): Promise<string> {
  const entry = fileURLToPath(new URL('in-page.ts', import.meta.url))
  const built = await build({
    configFile: false,
    logLevel: 'error',
    define: { 'process.env.NODE_ENV': '"production"', global: 'globalThis' },
    build: { write: false, minify: false, lib: { entry, formats: ['iife'], name: 'inPage' } },
  })
  const outputs = (Array.isArray(built) ? built : [built]) as Rolldown.RolldownOutput[]
  const chunk = outputs.flatMap((it) => it.output).find((it) => it.type === 'chunk')
  if (!chunk) throw new Error('nothing was bundled')
  return chunk.code
}

/**
 * Opens the phone in an empty page of this machine: pages from elsewhere get no microphone without
 * https, and may not open sockets to here.
 */
async function openPhone(page: Page): Promise<Server> {
  const server = createServer((_, response) => {
    response.setHeader('content-type', 'text/html')
    response.end('<!doctype html><title>phone</title>')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()))
  const { port } = server.address() as AddressInfo
  await page.goto(`http://127.0.0.1:${port}/`)
  await page.addScriptTag({ content: await bundle() })
  return server
}

async function state(page: Page): Promise<string> {
  return page.evaluate(() => window.phone.state())
}

async function register(page: Page, socket: string, colleague = false): Promise<void> {
  await page.evaluate((account) => window.phone.register(account), {
    socket: given(socket),
    domain: given('PHONE_DOMAIN'),
    extension: given(colleague ? 'PHONE_COLLEAGUE' : 'PHONE_EXTENSION'),
    password: given(colleague ? 'PHONE_COLLEAGUE_PASSWORD' : 'PHONE_PASSWORD'),
  })
}

/** Waits until the browser has heard something loud, and has gone on sending. */
async function talks(page: Page): Promise<Heard> {
  await expect.poll(() => state(page), { timeout: 20_000 }).toBe('talking')
  const before = await page.evaluate(() => window.phone.heard())
  let last = before
  await expect
    .poll(
      async () => {
        last = await page.evaluate(() => window.phone.heard())
        return (
          last.dtls === 'connected' &&
          last.loudest > 0.05 &&
          last.packetsReceived > before.packetsReceived + 200 &&
          last.packetsSent > before.packetsSent + 200
        )
      },
      { timeout: 30_000, message: 'audio both ways' },
    )
    .toBe(true)
  return last
}

test('a browser is called, holds and resumes, and calls', async ({ page }) => {
  test.setTimeout(120_000)
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(error.message))
  const server = await openPhone(page)
  await register(page, 'PHONE_SOCKET')

  await fetch(given('PHONE_CALL'))
  await expect.poll(() => state(page), { timeout: 20_000 }).toBe('ringing')
  await page.evaluate(() => window.phone.answer())
  await talks(page)
  const told = await page.evaluate(() => window.phone.told())
  expect(told).toContain('UDP/TLS/RTP/SAVPF')
  expect(told).toContain('a=ice-lite')
  // Another offer over the same association: nothing is lost by it.
  await page.evaluate(() => window.phone.hold())
  await page.evaluate(() => window.phone.resume())
  await talks(page)
  await page.evaluate(() => window.phone.hangUp())
  await expect.poll(() => state(page)).toBe('ended')

  await page.evaluate((number) => window.phone.call(number), given('PHONE_NUMBER'))
  const heard = await talks(page)
  console.log('the browser heard', JSON.stringify(heard))
  await page.evaluate(() => window.phone.hangUp())
  await expect.poll(() => state(page)).toBe('ended')
  server.close()
  expect(errors).toEqual([])
})

test('over wss and with Opus alone it talks with who has none, and its keys pause', async ({
  page,
}) => {
  test.setTimeout(120_000)
  const server = await openPhone(page)
  await register(page, 'PHONE_SECURE_SOCKET')
  await page.evaluate((number) => window.phone.call(number, 'opus'), given('PHONE_NUMBER'))
  const heard = await talks(page)
  expect(heard.codec).toBe('audio/opus')
  // The recording pauses, which nobody hears, and goes on.
  for (const keys of ['*1', '*1']) {
    await page.evaluate((pressed) => window.phone.press(pressed), keys)
    await talks(page)
  }
  await page.evaluate(() => window.phone.hangUp())
  await expect.poll(() => state(page)).toBe('ended')
  server.close()
})

test('two browsers talk with each other', async ({ page, context }) => {
  test.setTimeout(120_000)
  const colleague = await context.newPage()
  const servers = [await openPhone(page), await openPhone(colleague)]
  await register(page, 'PHONE_SOCKET')
  await register(colleague, 'PHONE_SECURE_SOCKET', true)
  await page.evaluate((number) => window.phone.call(number), given('PHONE_COLLEAGUE'))
  await expect.poll(() => state(colleague), { timeout: 20_000 }).toBe('ringing')
  await colleague.evaluate(() => window.phone.answer())
  for (const one of [page, colleague]) expect((await talks(one)).codec).toBe('audio/opus')
  await colleague.evaluate(() => window.phone.hangUp())
  await expect.poll(() => state(page)).toBe('ended')
  for (const server of servers) server.close()
})
