import { expect, signIn, steer, test } from './double/driver'

const party = '[data-testid=call-party]'

test('one connection for three tabs; all of them pop', async ({ context, page }) => {
  await signIn(page)
  const others = [await context.newPage(), await context.newPage()]
  for (const other of others) {
    await other.goto('/desk')
    await expect(other.getByTestId('link')).toHaveText('实时连接')
  }
  expect((await steer('stat')).connections).toBe(1)
  await steer('offer')
  for (const tab of [page, ...others]) await expect(tab.locator(party)).toContainText('王建国')
})

test('what happens while the server is away is shown once it is back', async ({ page }) => {
  await signIn(page)
  await steer('offer')
  await expect(page.locator(party)).toContainText('王建国')
  await steer('down')
  await expect(page.getByTestId('link')).toHaveText('正在重连')
  await steer('answer')
  await steer('offer?number=13512340987')
  await steer('up')
  await expect(page.locator('.bar.talking')).toBeVisible({ timeout: 15_000 })
  await expect(page.locator('.strip.ringing')).toHaveCount(1)
  await expect(page.getByTestId('link')).toHaveText('实时连接')
})

test('a server that has forgotten says reset, and the page reloads its calls', async ({ page }) => {
  await signIn(page)
  await steer('offer')
  await expect(page.locator(party)).toContainText('王建国')
  await steer('reset')
  await expect(page.getByText('等待来电')).toBeVisible({ timeout: 15_000 })
  await steer('offer?number=13900007745')
  await expect(page.locator(party)).toContainText('李秀英')
})

test('ten seconds of silence are loud', async ({ page }) => {
  await signIn(page)
  await steer('mute')
  await expect(page.getByText('与服务器的实时连接已断开')).toBeVisible({ timeout: 16_000 })
  await steer('mute?on=false')
  await expect(page.getByText('与服务器的实时连接已断开')).toBeHidden({ timeout: 16_000 })
})

test('without shared workers every tab has its own connection', async ({ page }) => {
  await page.addInitScript(() => {
    Reflect.deleteProperty(window, 'SharedWorker')
  })
  await signIn(page)
  await steer('offer')
  await expect(page.locator(party)).toContainText('王建国')
})

test('works on plain http under another name, where much of the browser is missing', async ({
  page,
}) => {
  await page.addInitScript(() => {
    for (const name of ['Notification', 'caches']) Reflect.deleteProperty(window, name)
    Reflect.deleteProperty(Crypto.prototype, 'randomUUID')
    Reflect.deleteProperty(Crypto.prototype, 'subtle')
    Reflect.deleteProperty(Navigator.prototype, 'locks')
    Reflect.deleteProperty(Navigator.prototype, 'clipboard')
    Reflect.deleteProperty(Navigator.prototype, 'serviceWorker')
  })
  await signIn(page)
  await page.getByRole('button', { name: '拨打 张伟' }).click()
  await expect(page.locator('.bar.ringing')).toContainText('呼出中')
})
