import { expect, signIn, steer, test } from './double/driver'

const bar = '[data-testid=listening]'

test('who oversees listens to a running call until it is over', async ({ page }) => {
  await page.addInitScript(() => {
    const played: number[] = []
    Object.assign(window, { played })
    const start = AudioBufferSourceNode.prototype.start
    AudioBufferSourceNode.prototype.start = function (...when) {
      played.push(this.buffer?.numberOfChannels ?? 0)
      return start.apply(this, when)
    }
  })
  await steer('offer')
  await steer('answer')
  await signIn(page, 'zhoumin', '/calls')
  const running = page.getByTestId('running')
  await expect(running).toContainText('王建国')
  await page.getByRole('button', { name: '监听分机 8021 的通话' }).click()
  await expect(page.locator(bar)).toContainText(/正在监听 00:0\d，已记入审计日志/)
  const meter = (name: string) => page.locator(bar).getByRole('meter', { name })
  const level = async (name: string) => Number(await meter(name).getAttribute('aria-valuenow'))
  await expect.poll(() => level('客户')).toBeGreaterThan(20)
  expect(await level('坐席')).toBe(0)
  const played = () => page.evaluate(() => (window as unknown as { played: number[] }).played)
  await expect.poll(async () => (await played()).length).toBeGreaterThan(3)
  expect(new Set(await played())).toEqual(new Set([2]))

  // On another page it goes on; while the recording is paused there is nothing to hear.
  await page.getByRole('link', { name: '工作台' }).click()
  await expect(page.locator(bar)).toBeVisible()
  await steer('pause')
  await expect(page.locator(bar)).toContainText('暂停期间不能监听')
  await expect(meter('客户')).toHaveAttribute('aria-valuenow', '0')
  await steer('pause?paused=false')
  await expect.poll(() => level('客户')).toBeGreaterThan(20)
  await steer('end')
  await expect(page.locator(bar)).toContainText('通话已结束')
  const { listens, listensEnded } = await steer('stat')
  expect([listens.length, listensEnded]).toEqual([1, 1])
})

test('listening stops by its button', async ({ page }) => {
  await steer('offer')
  await steer('answer')
  await signIn(page, 'zhoumin', '/calls')
  await page.getByRole('button', { name: '监听分机 8021 的通话' }).click()
  await expect(page.locator(bar)).toContainText('正在监听')
  await page.locator(bar).getByRole('button', { name: '停止监听' }).click()
  await expect(page.locator(bar)).toHaveCount(0)
  await expect.poll(async () => (await steer('stat')).listensEnded).toBe(1)
})

test('who oversees is told of one-way audio, an agent sees no running calls', async ({ page }) => {
  await steer('offer')
  await steer('answer')
  await signIn(page, 'zhoumin', '/calls')
  await expect(page.getByTestId('running')).toBeVisible()
  await steer('silence?heard=one_way&missing=agent')
  await expect(page.getByText('陈静 8021：听不到我方的声音')).toBeVisible()
  await expect(page.getByTestId('running').getByTestId('audio-alarm')).toBeVisible()
  await steer('silence?heard=both')
  await expect(page.getByText('陈静 8021：声音已恢复')).toBeVisible()

  await page.context().clearCookies()
  await signIn(page, 'chenjing', '/calls')
  await expect(page.getByTestId('running')).toHaveCount(0)
})

test('who oversees joins a call by phone, changes what he does there, and leaves', async ({
  page,
}) => {
  await steer('offer')
  await steer('answer')
  await signIn(page, 'zhoumin', '/calls')
  const monitor = page.getByRole('group', { name: '用话机监听分机 8021' })
  const button = (name: string) => monitor.getByRole('button', { name, exact: true })
  await steer('refuse_dials')
  await button('话机监听').click()
  await expect(page.getByText('您的话机没有注册')).toBeVisible()
  await expect(button('话机监听')).toHaveAttribute('aria-pressed', 'false')

  await button('话机监听').click()
  await expect(monitor).toContainText('请接听您的话机')
  await steer('join')
  await expect(button('退出')).toBeVisible({ timeout: 10_000 })
  await button('插话').focus()
  await page.keyboard.press('Enter')
  await expect(button('插话')).toHaveAttribute('aria-pressed', 'true')
  await expect(button('话机监听')).toHaveAttribute('aria-pressed', 'false')
  await page.reload()
  await expect(button('插话')).toHaveAttribute('aria-pressed', 'true')
  await button('退出').click()
  await expect(button('退出')).toHaveCount(0)
  await expect(button('插话')).toHaveAttribute('aria-pressed', 'false')
  expect((await steer('stat')).orders).toEqual(['monitor listen', 'monitor barge', 'leave'])
})
