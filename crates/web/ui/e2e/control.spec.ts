import { expect, signIn, steer, test } from './double/driver'

const orders = async () => (await steer('stat')).orders

test('a call is held, a third comes and goes, and it is handed on', async ({ page }) => {
  await signIn(page)
  await steer('offer')
  const controls = page.getByTestId('call-controls')
  await expect(controls).toHaveCount(0)
  await steer('answer')
  const button = (name: string) => controls.getByRole('button', { name, exact: true })
  await controls.getByRole('button', { name: '保持' }).click()
  await expect(page.locator('.bar.held')).toBeVisible()
  await expect(controls.getByRole('button', { name: '恢复' })).toBeEnabled()
  await page.keyboard.press('Alt+h')
  await expect(page.locator('.bar.talking')).toBeVisible()

  // Nothing is sent that is no number; who cannot be reached is told where it was typed.
  await button('三方').click()
  const number = controls.getByLabel('分机或电话号码')
  await expect(number).toBeFocused()
  // Who can take it now is offered first.
  const offered = controls.getByRole('list', { name: '同事' }).getByRole('button')
  await expect(offered.first()).toContainText('空闲')
  await expect(offered.last()).toContainText('不在线')
  await offered.filter({ hasText: '8022' }).click()
  await expect(number).toHaveValue('8022')
  await number.fill('周敏')
  await number.press('Enter')
  await expect(controls.getByRole('alert')).toHaveText('请输入分机或电话号码')
  await number.fill('8023')
  await number.press('Enter')
  await expect(controls.getByRole('alert')).toContainText('对方的话机没有注册')
  await number.fill('8022')
  await number.press('Enter')
  await expect(controls.getByText('周敏 · 正在呼叫')).toBeVisible()
  await expect(button('三方')).toBeFocused()
  await steer('come')
  await expect(controls.getByText('周敏 · 三方通话')).toBeVisible()
  await button('请 周敏 退出通话').click()
  await expect(controls.getByText('三方通话')).toHaveCount(0)

  await button('转接').click()
  await number.press('Escape')
  await expect(number).toHaveCount(0)
  await expect(button('转接')).toBeFocused()
  await page.keyboard.press('Enter')
  await number.fill('138 0000 4409')
  await button('确认转接').click()
  await expect(controls).toContainText('正在转接到 138 0000 4409')
  await expect(controls.getByRole('button', { name: '保持' })).toBeDisabled()
  await steer('end')
  await expect(controls).toHaveCount(0)
  const invites = ['invite 8023', 'invite 8022', 'dismiss 1']
  expect(await orders()).toEqual(['hold', 'resume', ...invites, 'transfer 13800004409'])
})

test('a third is consulted, given up, and given the call', async ({ page }) => {
  await signIn(page)
  await steer('offer')
  await steer('answer')
  const controls = page.getByTestId('call-controls')
  const button = (name: string) => controls.getByRole('button', { name, exact: true })
  const consult = async () => {
    await button('咨询').click()
    await controls.getByLabel('分机或电话号码').fill('8022')
    await button('呼叫并咨询').click()
    await expect(controls).toContainText('王建国 等待中，正在咨询 8022')
  }
  await consult()
  await expect(button('完成转接')).toBeDisabled()
  await button('取消咨询').click()
  await expect(button('咨询')).toBeVisible()

  await consult()
  await steer('answer')
  await button('完成转接').click()
  await expect(page.locator('.bar.wrap_up')).toBeVisible()
  await expect(controls).toHaveCount(0)
  expect(await orders()).toEqual(['consult 8022', 'cancel', 'consult 8022', 'complete'])
})

test('who is consulted is joined, put out, joined again, and left with the customer', async ({
  page,
}) => {
  await signIn(page)
  await steer('offer')
  await steer('answer')
  const controls = page.getByTestId('call-controls')
  const button = (name: string) => controls.getByRole('button', { name, exact: true })
  const join = controls.getByRole('button', { name: '三方合并' })
  const consult = async () => {
    await button('咨询').click()
    await controls.getByLabel('分机或电话号码').fill('8022')
    await button('呼叫并咨询').click()
    await expect(join).toBeDisabled()
    await page.keyboard.press('Alt+m')
    await steer('answer')
  }
  await consult()
  await join.click()
  await expect(controls.getByText('周敏 · 三方通话')).toBeVisible()
  await button('请 周敏 退出通话').click()
  await expect(button('退出通话')).toHaveCount(0)

  await consult()
  await expect(join).toBeEnabled()
  await page.keyboard.press('Alt+m')
  await expect(controls.getByText('周敏 · 三方通话')).toBeVisible()
  await button('退出通话').click()
  await expect(page.locator('.bar.wrap_up')).toBeVisible()
  const first = ['consult 8022', 'join', 'dismiss 1']
  expect(await orders()).toEqual([...first, 'consult 8022', 'join', 'leave'])
})
