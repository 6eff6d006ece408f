import { defineConfig } from '@playwright/test'

/**
 * Three projects: `double` drives the console on the test double of e2e/server.mjs; `real` drives
 * it on a running `cheling` whose address is in CHELING_URL; `phone` makes the browser a phone of
 * one, with a microphone that beeps. DOUBLE_PORT (and the port after it)
 * is where the double listens, so that two runs need not wait for each other.
 */
const double = `http://127.0.0.1:${process.env.DOUBLE_PORT ?? 4173}`
const url = process.env.CHELING_URL ?? double
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--autoplay-policy=no-user-gesture-required',
]

export default defineConfig({
  testDir: 'e2e',
  timeout: 45_000,
  workers: 1,
  retries: 0,
  reporter: 'list',
  use: {
    baseURL: url,
    locale: 'zh-CN',
    timezoneId: 'Asia/Shanghai',
    viewport: { width: 1366, height: 768 },
    launchOptions: { executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args },
  },
  projects: [
    { name: 'double', testMatch: /e2e\/[^/]+\.spec\.ts$/ },
    { name: 'real', testMatch: /e2e\/real\/.+\.spec\.ts$/ },
    {
      name: 'phone',
      testMatch: /e2e\/phone\/.+\.spec\.ts$/,
      use: {
        launchOptions: {
          executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
          args: [
            ...args,
            '--use-fake-device-for-media-stream',
            '--use-fake-ui-for-media-stream',
            '--allow-loopback-in-peer-connection',
            // wss shows a certificate that signs itself.
            '--ignore-certificate-errors',
          ],
        },
      },
    },
  ],
  webServer: process.env.CHELING_URL
    ? undefined
    : { command: 'node e2e/server.mjs', url: `${double}/`, reuseExistingServer: false },
})
