import AxeBuilder from '@axe-core/playwright'
import type { Page } from '@playwright/test'
import { expect, signIn, steer, test } from './double/driver'

const CUSTOMER = '/customers/019000c0-0000-7000-8000-000000000000'
const ROUTES = [
  '/desk',
  '/calls',
  '/calls/019000ca-0000-7000-8000-000000000000',
  '/recordings',
  '/recordings/019000ec-0000-7000-8000-000000000000',
  '/customers',
  CUSTOMER,
  `${CUSTOMER}/edit`,
  '/customers/new',
  '/import',
  '/follow-ups',
  '/admin',
  '/admin?tab=extensions',
  '/admin?tab=lines',
  '/admin?tab=recording',
]
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']

async function faults(page: Page): Promise<string[]> {
  const { violations } = await new AxeBuilder({ page }).withTags(TAGS).analyze()
  return violations.map((v) => `${v.id}: ${v.nodes[0]?.html.slice(0, 140)}`)
}
const settled = async (page: Page) => {
  await expect(page.locator('h1, h2, .title').first()).toBeVisible()
  await expect(page.locator('.pane.loading')).toHaveCount(0)
}

for (const locale of ['zh-CN', 'en']) {
  test(`no WCAG A or AA fault on any page, ${locale}`, async ({ page }) => {
    test.setTimeout(150_000)
    await page.goto('/sign-in')
    await settled(page)
    expect(await faults(page), 'sign in').toEqual([])
    await signIn(page, 'admin')
    await page.evaluate((to) => localStorage.setItem('cheling.locale', to), locale)
    for (const route of ROUTES) {
      await page.goto(route)
      await settled(page)
      expect(await faults(page), route).toEqual([])
    }
  })
}

test('no WCAG A or AA fault on the desk during calls', async ({ page }) => {
  await signIn(page)
  for (const number of ['13800004409', '13512340987', '13700001111']) {
    await steer(`offer?number=${number}`)
    await page.locator('.strip .open').last().or(page.locator('.bar.ringing')).first().click()
    expect(await faults(page), number).toEqual([])
  }
  await steer('answer')
  await steer('end')
  expect(await faults(page), 'wrap-up').toEqual([])
})

test('lists are usable on a phone', async ({ page }) => {
  await page.setViewportSize({ width: 390, height: 844 })
  await signIn(page, 'admin')
  for (const route of ROUTES) {
    await page.goto(route)
    await settled(page)
    const [scroll, client] = await page
      .locator('.view')
      .evaluate((view) => [view.scrollWidth, view.clientWidth])
    expect(scroll, route).toBeLessThanOrEqual((client ?? 0) + 1)
  }
})

test('the first view is at most 220 KiB compressed', async ({ page }) => {
  const { gzipSync } = await import('node:zlib')
  const bodies: Promise<Buffer>[] = []
  page.on('response', (response) => {
    const isFile = /\.(js|css|svg)$|\/desk$/.test(new URL(response.url()).pathname)
    if (isFile && response.ok()) bodies.push(response.body())
  })
  await signIn(page)
  bodies.length = 0
  await page.goto('/desk')
  await settled(page)
  const sizes = (await Promise.all(bodies)).map((body) => gzipSync(body, { level: 9 }).length)
  const total = sizes.reduce((sum, size) => sum + size, 0) / 1024
  console.log(`first view: ${total.toFixed(0)} KiB gzip in ${sizes.length} files`)
  expect(total).toBeLessThanOrEqual(220)
})

test('an import is tried first, then applied', async ({ page }) => {
  await signIn(page, 'zhoumin', '/import')
  await page.locator('input[type=file]').setInputFiles({
    name: '客户名单.csv',
    mimeType: 'text/csv',
    buffer: Buffer.from('姓名,手机号\n王建国,13800004409\n'),
  })
  await expect(page.getByText('试算结果（尚未写入）')).toBeVisible()
  await expect(page.getByText('VIN 不是 17 位')).toBeVisible()
  await page.getByRole('button', { name: '导入 117 位客户' }).click()
  await expect(page.getByText('导入完成')).toBeVisible()
})

test('a new extension shows its password once', async ({ page }) => {
  await signIn(page, 'admin', '/admin?tab=extensions')
  await page.getByRole('button', { name: '新建分机' }).click()
  await page.getByLabel('分机号').fill('8024')
  await page.getByRole('button', { name: '保存' }).click()
  const dialog = page.getByRole('dialog', { name: '分机 8024 的话机设置' })
  await expect(dialog).toContainText('k7Qm-2vXe-Tn4R')
  await dialog.getByRole('button', { name: '已填好' }).click()
  await expect(page.getByRole('cell', { name: '8024', exact: true })).toBeVisible()
  await expect(page.getByText('k7Qm-2vXe-Tn4R')).toHaveCount(0)
})

test('a group gets its order and its overflow, and a line its hours', async ({ page }) => {
  await signIn(page, 'admin', '/admin?tab=lines')
  const group = page.locator('.group').first()
  await group.getByLabel('振铃方式').selectOption('按顺序响')
  await group.getByRole('button', { name: '8022 上移' }).click()
  await expect(group.locator('li').first()).toContainText('8022')
  await group.locator('li').first().focus()
  await page.keyboard.press('Alt+ArrowDown')
  await expect(group.locator('li').nth(1)).toContainText('8022')
  await group.getByLabel('没人接时', { exact: true }).selectOption('转振铃组')
  await expect(group.getByLabel('没人接时：转到哪里')).toHaveValue('销售组')
  const line = page.locator('section', { hasText: '加线路' }).locator('.row').nth(1)
  await line.getByLabel('营业时间').selectOption('营业时间')
  await line.getByLabel('非营业时间', { exact: true }).selectOption('转外线号码')
  await line.getByLabel('非营业时间：转到哪里').fill('13900001111')
  const monday = page.getByLabel('周一').last()
  await monday.fill('17:00-9:00')
  await page.getByRole('button', { name: '保存' }).click()
  await expect(page.getByText('已保存')).toHaveCount(0)
  await monday.fill('9:00-12:00 13:00-17:00')
  await page.getByRole('button', { name: '保存' }).click()
  await expect(page.getByText('已保存')).toBeVisible()
  await page.reload()
  await expect(page.getByLabel('周一').last()).toHaveValue('09:00-12:00 13:00-17:00')
  await expect(group.getByLabel('振铃方式')).toHaveValue('in_order')
})

test('how far a phone may dial is chosen in its row', async ({ page }) => {
  await signIn(page, 'admin', '/admin?tab=extensions')
  const row = page.getByRole('row', { name: /8023/ })
  await row.getByLabel('可拨范围').selectOption('国内')
  await page.reload()
  await expect(row.getByLabel('可拨范围')).toHaveValue('national')
})

test('a task is made from the list', async ({ page }) => {
  await signIn(page, 'chenjing', '/follow-ups?view=all')
  await page.getByRole('button', { name: '新建任务' }).click()
  const dialog = page.getByRole('dialog')
  await dialog.getByLabel('客户').fill('徐磊')
  await dialog.locator('li button').click()
  await dialog.getByLabel('事由').fill('询问提车满意度')
  await dialog.getByRole('button', { name: '保存' }).click()
  await expect(page.getByRole('cell', { name: '询问提车满意度' })).toBeVisible()
})

test('a filter is in the URL, and an empty list says so', async ({ page }) => {
  await signIn(page, 'chenjing', '/calls')
  await page.getByLabel('号码 / 车牌 / 姓名').last().fill('不存在的人')
  await expect(page).toHaveURL(/q=/)
  await expect(page.getByText('没有符合条件的记录')).toBeVisible()
  await page.getByRole('button', { name: '清除筛选' }).click()
  await expect(page.locator('tbody tr').first()).toBeVisible()
})

test.describe('in a browser of another language', () => {
  test.use({ locale: 'en-US' })

  test('days are written YYYY-MM-DD, and weeks begin on Monday', async ({ page }) => {
    await signIn(page, 'chenjing', '/calls')
    const from = page.getByLabel('开始日期')
    await expect(from).toHaveAttribute('placeholder', 'YYYY-MM-DD')
    await from.fill('2026-11-02')
    await from.press('Enter')
    await expect(page).toHaveURL(/=2026-11-02/)
    await expect(from).toHaveValue('2026-11-02')
    await page.getByLabel('结束日期').click()
    const heads = page.locator('.el-date-table:visible th')
    await expect(heads).toHaveText(['一', '二', '三', '四', '五', '六', '日'])
    await page.keyboard.press('Escape')
  })
})

test('who hides the number has none, instead of a word of the gateway', async ({ page }) => {
  await signIn(page, 'chenjing', '/calls')
  const row = page.locator('tbody tr', { hasText: '无号码' })
  await expect(row).toHaveCount(1)
  await expect(row).not.toContainText('陌生号码')
  await expect(row.getByRole('button', { name: /拨打/ })).toHaveCount(0)
  await expect(page.getByText('anonymous')).toHaveCount(0)
  await expect(page.locator('tbody tr', { hasText: '陌生号码' }).first()).toBeVisible()
})

test('a recording says how it sounds and is downloaded as WAV or Opus', async ({ page }) => {
  await signIn(page, 'chenjing', '/recordings/019000ec-0000-7000-8000-000000000000')
  await expect(page.getByText('3.6 一般')).toBeVisible()
  await expect(page.getByText('4.3 好')).toBeVisible()
  for (const [name, format] of [
    ['下载 WAV', 'wav'],
    ['下载 Opus', 'opus'],
  ] as const) {
    const link = page.getByRole('link', { name })
    await expect(link).toHaveAttribute('href', new RegExp(`format=${format}&download=1$`))
  }
})

test('a call that was not recorded says so and cannot be played', async ({ page }) => {
  await page.route(/\/api\/v1\/calls(\?|$)/, async (route) => {
    const response = await route.fetch()
    const answer = await response.json()
    for (const call of answer.items) call.verdict = 'not_recorded'
    await route.fulfill({ response, json: answer })
  })
  await signIn(page, 'chenjing', '/calls')
  await expect(page.getByText('未录音').first()).toBeVisible()
  await expect(page.getByRole('button', { name: '播放录音' })).toHaveCount(0)
})
