import { expect, test } from '@playwright/test'

/*
 * The console on a real server with real calls. The addresses come from the environment; fetching
 * CHELING_CALL makes the customer call: rings 2 s, talks 15 s, hangs up.
 */
const env = (name: string): string => {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is not set; make test-e2e sets it`)
  return value
}

const party = '[data-testid=call-party]'

test('a call pops, is wrapped up, and is replayed with seeking', async ({ page }) => {
  test.setTimeout(90_000)
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(error.message))

  await page.goto('/sign-in')
  await page.getByLabel('用户名').fill(env('CHELING_USERNAME'))
  await page.getByLabel('密码').fill(env('CHELING_PASSWORD'))
  await page.getByRole('button', { name: '登录' }).click()
  await expect(page.getByTestId('link')).toHaveText('实时连接')

  await fetch(env('CHELING_CALL'))
  // The card is there while it still rings.
  await expect(page.locator('.bar.ringing')).toBeVisible()
  await expect(page.locator(party)).toContainText(env('CHELING_CUSTOMER'))
  await expect(page.locator('.bar.talking')).toBeVisible()
  await expect(page.locator('.bar.wrap_up')).toBeVisible({ timeout: 30_000 })

  await page.getByText('接通并完成', { exact: true }).last().click()
  await page.getByLabel('备注').fill('客户要求周六到店')
  await page.keyboard.press('Control+Enter')
  await expect(page.getByText('等待来电')).toBeVisible()

  await page.goto('/recordings')
  await page.locator('tbody tr a').first().click()
  const wave = page.getByTestId('wave')
  await expect(wave).toHaveAttribute('aria-busy', 'false')
  await expect(page.getByText('客户要求周六到店').first()).toBeVisible()

  // It plays: the clock runs by itself.
  const position = async () => Number(await wave.getAttribute('aria-valuenow'))
  await page.getByRole('button', { name: '播放', exact: true }).first().click()
  await expect.poll(position, { timeout: 10_000 }).toBeGreaterThanOrEqual(2)
  await page.keyboard.press('Space')

  // It seeks: a click three quarters along the wave goes there.
  const box = await wave.boundingBox()
  if (!box) throw new Error('no waveform')
  await page.mouse.click(box.x + box.width * 0.75, box.y + box.height / 4)
  const length = Number(await wave.getAttribute('aria-valuemax'))
  expect(length).toBeGreaterThan(12)
  await expect.poll(position).toBeGreaterThan(length * 0.7)
  await expect.poll(position).toBeLessThan(length * 0.8)
  expect(errors).toEqual([])
})
