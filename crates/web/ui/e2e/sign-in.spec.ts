import { expect, signIn, test } from './double/driver'

test('tells a wrong password from too many', async ({ page }) => {
  await page.goto('/sign-in')
  await expect(page.getByLabel('用户名')).toBeFocused()
  for (let n = 0; n < 3; n++) {
    await page.getByLabel('用户名').fill('chenjing')
    await page.getByLabel('密码').fill('wrong')
    await page.keyboard.press('Enter')
    await expect(page.getByRole('alert')).toHaveText('用户名或密码不对')
  }
  await page.getByRole('button', { name: '登录' }).click()
  await expect(page.getByRole('alert')).toContainText('30 秒后再试')
})

test('comes back to the page asked for, and signs out', async ({ page }) => {
  await signIn(page, 'chenjing', '/recordings?verdict=one_way')
  await expect(page).toHaveURL(/\/recordings\?verdict=one_way/)
  await expect(page.getByLabel('质量')).toHaveValue('one_way')
  await page.getByRole('button', { name: '陈静 的菜单' }).click()
  await page.getByText('退出登录').click()
  await expect(page).toHaveURL(/sign-in/)
  await page.goto('/desk')
  await expect(page).toHaveURL(/sign-in/)
})

test('speaks English on request, and again after a reload', async ({ page }) => {
  await page.goto('/sign-in')
  await page.getByRole('button', { name: '中文 / English' }).click()
  await expect(page.getByRole('button', { name: 'Sign in' })).toBeVisible()
  await page.reload()
  await expect(page.getByRole('button', { name: 'Sign in' })).toBeVisible()
  expect(await page.evaluate(() => document.documentElement.lang)).toBe('en')
})

test('keeps agents out of the administration', async ({ page }) => {
  await signIn(page)
  await expect(page.getByRole('link', { name: '管理' })).toHaveCount(0)
  await page.goto('/admin')
  await expect(page).toHaveURL(/\/desk/)
})
