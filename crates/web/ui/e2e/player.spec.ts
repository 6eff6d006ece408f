import { expect, signIn, steer, test } from './double/driver'

const RECORDING = '/recordings/019000ec-0000-7000-8000-000000000000'
const clock = '[data-testid=player-clock] b'

test('draws two lanes, plays, seeks by Range, skips silence, keeps the speed', async ({ page }) => {
  await signIn(page, 'chenjing', RECORDING)
  const wave = page.getByTestId('wave')
  await expect(wave).toHaveAttribute('aria-busy', 'false')
  const painted = await wave.locator('> div').evaluate((host) =>
    [...(host.shadowRoot?.querySelectorAll('canvas') ?? [])].map((canvas) => {
      const pixels = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data
      return pixels ? pixels.filter((value, i) => i % 4 === 3 && value > 0).length : 0
    }),
  )
  expect(painted.length).toBeGreaterThanOrEqual(4) // two lanes, each unplayed and played
  expect(painted.every((count) => count > 200)).toBe(true)

  const box = await wave.boundingBox()
  if (!box) throw new Error('no waveform')
  await page.mouse.click(box.x + box.width * 0.25, box.y + 30)
  await expect(page.locator(clock)).toHaveText('00:24')
  await page.keyboard.press('ArrowRight')
  await expect(page.locator(clock)).toHaveText('00:29')
  await page.keyboard.press('ArrowLeft')
  await page.keyboard.press(']')
  await page.keyboard.press(']')
  await page.keyboard.press(']')
  await expect(page.getByRole('button', { name: '2×' })).toHaveAttribute('aria-pressed', 'true')

  await page.getByText('跳过静默').click()
  await page.mouse.click(box.x + box.width * (57 / 96), box.y + 30)
  await page.keyboard.press('Space')
  await expect(page.getByRole('button', { name: '暂停' })).toBeVisible()
  // 57 s to 66 s at double speed would take 4.5 s; the silence between is jumped over.
  await expect
    .poll(async () => Number(await wave.getAttribute('aria-valuenow')), { timeout: 3500 })
    .toBeGreaterThanOrEqual(66)
  await page.keyboard.press('Space')
  await expect(page.getByRole('button', { name: '播放', exact: true })).toBeVisible()
  expect((await steer('stat')).ranges.length).toBeGreaterThan(1)

  await page.reload()
  await expect(page.getByRole('button', { name: '2×' })).toHaveAttribute('aria-pressed', 'true')
})

test('solo silences the other lane', async ({ page }) => {
  await page.addInitScript(() => {
    const heard: GainNode[] = []
    Object.assign(window, { heard })
    const make = AudioContext.prototype.createGain
    AudioContext.prototype.createGain = function () {
      const gain = make.call(this)
      heard.push(gain)
      return gain
    }
  })
  await signIn(page, 'chenjing', RECORDING)
  await expect(page.getByTestId('wave')).toHaveAttribute('aria-busy', 'false')
  const gains = () =>
    page.evaluate(() =>
      (window as unknown as { heard: GainNode[] }).heard.map((gain) => gain.gain.value),
    )
  await page.getByRole('button', { name: '独听' }).nth(1).click()
  expect(await gains()).toEqual([1, 0])
  await page.getByRole('button', { name: '独听' }).nth(0).click()
  expect(await gains()).toEqual([0, 1])
})

test('an unattached recording is attached from the list', async ({ page }) => {
  await signIn(page, 'chenjing', '/recordings?attached=false')
  const rows = page.locator('tbody tr')
  await expect(rows.first()).toBeVisible()
  const before = await rows.count()
  await page.getByRole('button', { name: '关联任务' }).first().click()
  await page.getByRole('dialog').locator('li button').first().click()
  await expect(rows).toHaveCount(before - 1)
})

test('stretches paused by request and digits that were silenced are named', async ({ page }) => {
  // One call of the double was paused for a while.
  await signIn(page, 'chenjing', '/recordings/019000ec-0000-7000-8000-000000000008')
  await expect(page.getByTestId('wave')).toHaveAttribute('aria-busy', 'false')
  await expect(page.getByTestId('pauses')).toHaveText('00:12 至 00:31 按要求暂停录音')
  await expect(page.getByTestId('digits')).toHaveText('00:40 至 00:43 按键音已静音')
})
