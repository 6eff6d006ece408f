/** What the specs do over and over: sign in, and steer the double. */
import { expect, test as base, type Page } from '@playwright/test'

const CONTROL = `http://127.0.0.1:${Number(process.env.DOUBLE_PORT ?? 4173) + 1}`

export interface Stat {
  connections: number
  since: number[]
  ranges: string[]
  dials: number
  wrapUps: { outcome: string; note: string; next_on: string | null; follow_up_id: string | null }[]
  listens: string[]
  listensEnded: number
  /** What was asked of running calls: `transfer 8022`. */
  orders: string[]
  seq: number
}

export async function steer(command: string): Promise<Stat & { result: unknown }> {
  const response = await fetch(`${CONTROL}/${command}`)
  return (await response.json()) as Stat & { result: unknown }
}

export async function signIn(page: Page, username = 'chenjing', to = '/desk'): Promise<void> {
  await page.goto(to === '/desk' ? '/sign-in' : to)
  await page.getByLabel('用户名').fill(username)
  await page.getByLabel('密码').fill('correct horse')
  await page.getByRole('button', { name: '登录' }).click()
  await expect(page.getByTestId('link')).toHaveText('实时连接')
}

/** Every test begins with a fresh dealership and ends without an error in the page. */
export const test = base.extend<{ errors: string[] }>({
  errors: [
    async ({ page }, use) => {
      await steer('reset')
      const errors: string[] = []
      page.on('pageerror', (error) => errors.push(error.message))
      page.on('console', (message) => {
        const isOurs = !/Failed to load resource|WebSocket connection/.test(message.text())
        if (message.type() === 'error' && isOurs) errors.push(message.text())
      })
      await use(errors)
      expect(errors).toEqual([])
    },
    { auto: true },
  ],
})
export { expect }
