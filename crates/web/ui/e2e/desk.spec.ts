import { expect, signIn, steer, test } from './double/driver'

const party = '[data-testid=call-party]'

test('pops while it rings, turns with the call, and is wrapped up', async ({ page }) => {
  await signIn(page)
  await expect(page.getByText('等待来电')).toBeVisible()
  await steer('offer?number=13800004409')
  await expect(page.locator(party)).toContainText('王建国')
  await expect(page.locator('.bar.ringing')).toContainText('请用话机接听')
  await expect(page.getByText('8 月 6 日交车等待 2 小时 10 分').first()).toBeVisible()
  await steer('answer')
  await expect(page.locator('.bar.talking')).toBeVisible()
  await steer('hold')
  await expect(page.locator('.bar.held')).toBeVisible()
  await steer('hold?held=false')
  await steer('end')
  await expect(page.locator('.bar.wrap_up')).toBeVisible()

  await page.getByRole('button', { name: '保存并完成' }).click()
  await expect(page.getByText('请选择通话结果', { exact: true })).toBeVisible()
  await page.getByText('接通并完成', { exact: true }).last().click()
  await page.getByRole('button', { name: '已预约到店' }).click()
  await page.getByRole('button', { name: '明天' }).click()
  await page.keyboard.press('Control+Enter')
  await expect(page.getByText('等待来电')).toBeVisible()
  const { wrapUps } = await steer('stat')
  expect(wrapUps).toHaveLength(1)
  expect(wrapUps[0]).toMatchObject({ outcome: 'completed', note: '已预约到店' })
  expect(wrapUps[0]?.next_on).toMatch(/^\d{4}-\d\d-\d\d$/)
})

test('is withdrawn with the name of who answered', async ({ page }) => {
  await signIn(page)
  await steer('offer')
  await expect(page.locator(party)).toContainText('王建国')
  await steer('withdraw')
  await expect(page.locator('.bar.gone')).toContainText('已由 周敏 接听')
  await page.getByRole('button', { name: '知道了' }).click()
  await expect(page.getByText('等待来电')).toBeVisible()
})

test('a new call comes forward during a wrap-up, and gives the place back', async ({ page }) => {
  await signIn(page)
  await steer('offer')
  await steer('answer')
  await steer('end')
  await expect(page.locator('.bar.wrap_up')).toBeVisible()
  await steer('offer?number=13900007745')
  await expect(page.locator('.bar.ringing')).toBeVisible()
  await expect(page.locator(party)).toContainText('李秀英')
  await expect(page.locator('.strip.wrap_up')).toContainText('王建国')
  await steer('withdraw')
  await expect(page.locator('.bar.wrap_up')).toBeVisible()
  await expect(page.locator('.strip.gone')).toContainText('已由 周敏 接听')
})

test('never takes the focus, and keeps a second call beside the first', async ({ page }) => {
  await signIn(page)
  await steer('offer')
  await steer('answer')
  const note = page.getByLabel('备注')
  await note.click()
  await page.keyboard.type('客户要求')
  await steer('offer?number=13512340987')
  await expect(page.locator('.strip.ringing')).toContainText('135 1234 0987')
  await expect(note).toBeFocused()
  await page.keyboard.type('回电')
  await expect(note).toHaveValue('客户要求回电')
  await expect(page.locator(party)).toContainText('王建国')
  await page.locator('.strip .open').click()
  await expect(page.locator(party)).toContainText('135 1234 0987')
  await page.locator('.strip .open').click()
  await expect(note).toHaveValue('客户要求回电')
})

test('the draft of a wrap-up survives a reload', async ({ page }) => {
  await signIn(page)
  await steer('offer')
  await steer('answer')
  await page.getByLabel('备注').fill('空调异响，周六到店')
  await page.getByText('预约回拨', { exact: true }).click()
  await steer('end')
  await page.reload()
  await expect(page.locator('.bar.wrap_up')).toBeVisible()
  await expect(page.getByLabel('备注')).toHaveValue('空调异响，周六到店')
  await expect(page.getByLabel('预约回拨')).toBeChecked()
})

test('a page loaded in mid-call keeps that call in view when it ends', async ({ page }) => {
  await signIn(page)
  await steer('offer')
  await steer('answer')
  await steer('end')
  await expect(page.locator('.bar.wrap_up')).toBeVisible()
  await steer('offer?number=13512340987')
  await steer('answer')
  await page.reload()
  await expect(page.locator('.bar.talking')).toBeVisible()
  await expect(page.locator(party)).toContainText('135 1234 0987')
  await steer('end')
  await expect(page.locator('.bar.wrap_up')).toBeVisible()
  await expect(page.locator(party)).toContainText('135 1234 0987')
})

test('an unknown caller becomes a customer, and the call is linked', async ({ page }) => {
  await signIn(page)
  await steer('offer?number=13512340987')
  await expect(page.getByLabel('电话 1')).toHaveValue('13512340987')
  await page.getByLabel('姓名 *', { exact: true }).fill('钱进')
  await page.getByRole('button', { name: '保存并关联此通话' }).click()
  await expect(page.locator(party)).toContainText('钱进')
})

test('one of several is chosen by key', async ({ page }) => {
  await signIn(page)
  await steer('offer?number=13700001111')
  await expect(page.getByText('3 位客户用此号码')).toBeVisible()
  await page.keyboard.press('Alt+2')
  await expect(page.locator(party)).toContainText('李秀英')
})

test('a withheld number and a colleague get their own card', async ({ page }) => {
  await signIn(page)
  await steer('offer?number=')
  await expect(page.locator(party)).toContainText('无号码')
  await steer('withdraw')
  await steer('offer?number=8022')
  await expect(page.getByText('不弹客户资料')).toBeVisible()
})

test('F2 dials the next task once, and says why not', async ({ page }) => {
  await signIn(page)
  await expect(page.getByText('首保 7DC')).toBeVisible()
  await steer('refuse_dials')
  await page.keyboard.press('F2')
  await expect(page.getByText('您的话机没有注册')).toBeVisible()
  await page.getByRole('button', { name: '拨打 刘洋' }).click()
  await expect(page.getByText('请拿起话机').first()).toBeVisible()
  await expect(page.locator('.bar.ringing')).toContainText('呼出中')
  await steer('answer')
  await expect(page.locator(party)).toContainText('刘洋')
  await page.keyboard.press('F9')
  await expect(page.locator('.bar.wrap_up')).toBeVisible()
  expect((await steer('stat')).dials).toBe(1)
})

test('keys of an input method are not shortcuts', async ({ page }) => {
  await signIn(page)
  await page.evaluate(() =>
    window.dispatchEvent(
      new KeyboardEvent('keydown', { key: 'F2', code: 'F2', isComposing: true }),
    ),
  )
  expect((await steer('stat')).dials).toBe(0)
})

test('finds a customer from anywhere', async ({ page }) => {
  await signIn(page)
  await page.keyboard.press('Control+k')
  await page.keyboard.type('D3962')
  await expect(page.getByRole('option')).toHaveCount(1)
  await page.keyboard.press('Enter')
  await expect(page).toHaveURL(/\/customers\/019000c0/)
  await expect(page.getByRole('heading', { name: '王建国' })).toBeVisible()
})

test('the desk fits 1366 × 768 without scrolling the page', async ({ page }) => {
  await signIn(page)
  await steer('offer')
  await steer('offer?number=13512340987')
  await expect(page.locator('.strip')).toBeVisible()
  const [scroll, client] = await page
    .locator('.view')
    .evaluate((view) => [view.scrollHeight, view.clientHeight])
  expect(scroll).toBe(client)
})
