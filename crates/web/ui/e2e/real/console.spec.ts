/**
 * The console on a running `cheling`, with a call that comes when it is asked for.
 *
 * Environment: CHELING_URL, CHELING_USERNAME and CHELING_PASSWORD of an agent whose phone answers
 * by itself, CHELING_CUSTOMER (the caller's name), CHELING_CALL (a request to it starts the call).
 */
import { expect, test, type Page } from '@playwright/test'

function given(name: string): string {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}

async function signIn(page: Page): Promise<void> {
  await page.goto('/')
  await page.getByLabel('用户名').fill(given('CHELING_USERNAME'))
  await page.getByLabel('密码').fill(given('CHELING_PASSWORD'))
  await page.getByRole('button', { name: '登录' }).click()
  await expect(page.getByTestId('link')).toHaveText('实时连接')
}

test('a call pops, is wrapped up, and its recording plays and seeks', async ({ page, context }) => {
  test.setTimeout(120_000)
  const customer = given('CHELING_CUSTOMER')
  const errors: string[] = []
  page.on('pageerror', (error) => errors.push(error.message))
  await signIn(page)
  await expect(page.getByText('等待来电')).toBeVisible()

  await fetch(given('CHELING_CALL'))
  const bar = page.getByRole('region', { name: '当前通话' })
  await expect(bar).toHaveClass(/ringing/)
  await expect(page.getByTestId('call-party')).toContainText(customer)
  await expect(bar).toHaveClass(/talking/, { timeout: 20_000 })
  await page.getByLabel('备注').fill('空调异响，周六到店检测')

  // The card and the draft are there again after a reload in the middle of the call.
  await page.reload()
  await expect(bar).toHaveClass(/talking/)
  await expect(page.getByTestId('call-party')).toContainText(customer)
  await expect(page.getByLabel('备注')).toHaveValue('空调异响，周六到店检测')

  // A network that is cut hides nothing: the end of the call is shown when it is back.
  await context.setOffline(true)
  await context.setOffline(false)
  await expect(bar).toHaveClass(/wrap_up/, { timeout: 40_000 })
  const form = page.getByRole('region', { name: '通话登记' })
  await form.getByText('接通并完成', { exact: true }).click()
  await page.getByRole('button', { name: '保存并完成' }).click()
  await expect(page.getByText('等待来电')).toBeVisible()

  const newest = page.getByRole('region', { name: '最近通话' }).locator('li').first()
  await expect(newest).toContainText(customer)
  await expect(newest).toContainText('接通并完成')
  await expect(newest.getByRole('button', { name: /播放录音/ })).toBeVisible({ timeout: 30_000 })

  await page.goto('/recordings')
  await page.locator('tbody tr').first().getByRole('link').first().click()
  const wave = page.getByTestId('wave')
  await expect(wave).toHaveAttribute('aria-busy', 'false', { timeout: 20_000 })
  await expect(page.getByRole('heading', { name: customer })).toBeVisible()
  await expect(page.getByText('空调异响，周六到店检测')).toBeVisible()
  const position = async () => Number(await wave.getAttribute('aria-valuenow'))
  const length = Number(await wave.getAttribute('aria-valuemax'))
  expect(length).toBeGreaterThanOrEqual(5)

  await page.keyboard.press('Space')
  await expect.poll(position).toBeGreaterThanOrEqual(1)
  await page.keyboard.press('Space')
  await expect(page.getByRole('button', { name: '播放', exact: true })).toBeVisible()
  const box = await wave.boundingBox()
  if (!box) throw new Error('no waveform')
  await page.mouse.click(box.x + box.width * 0.75, box.y + 30)
  await expect.poll(position).toBeGreaterThanOrEqual(Math.floor(length * 0.7))
  await page.keyboard.press('Space')
  const sought = await position()
  await expect.poll(position).toBeGreaterThan(sought)
  expect(errors).toEqual([])
})
