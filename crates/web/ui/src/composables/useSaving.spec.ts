import { mount } from '@vue/test-utils'
import { describe, expect, it } from 'vitest'
import { createI18n } from 'vue-i18n'
import { ApiError } from '@/api/http'
import { useSaving, type SavingForm } from './useSaving'

function saving(): SavingForm {
  let form!: SavingForm
  const setup = () => {
    form = useSaving()
    return () => null
  }
  mount({ setup }, { global: { plugins: [createI18n({ legacy: false, locale: 'en' })] } })
  return form
}

describe('a form that is sent', () => {
  it('is sent once at a time', async () => {
    const form = saving()
    let sent = 0
    let finish = (): void => undefined
    const first = form.send(() => {
      sent += 1
      return new Promise<void>((resolve) => (finish = resolve))
    })
    expect(form.isSaving.value).toBe(true)
    expect(await form.send(() => Promise.resolve((sent += 1)))).toBe(false)
    finish()
    expect(await first).toBe(true)
    expect(sent).toBe(1)
    expect(form.saving.value.kind).toBe('saved')
  })

  it('says why it was refused, and can be sent again', async () => {
    const form = saving()
    expect(await form.send(() => Promise.reject(new ApiError(0, 'network', '')))).toBe(false)
    expect(form.saving.value.kind).toBe('failed')
    expect(await form.send(() => Promise.resolve())).toBe(true)
    form.refuse('a name is lacking')
    expect(form.saving.value).toEqual({ kind: 'failed', message: 'a name is lacking' })
  })
})
