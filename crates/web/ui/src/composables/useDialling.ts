/** Click-to-dial as a page uses it: asks once where a person would hesitate. */
import { ElMessageBox } from 'element-plus'
import type { Dial, Uuid } from '@/api/schema'
import { useText } from '@/text/useText'
import { useDial } from './useDial'

interface Whom {
  name?: string
  segments?: string[]
}

export function useDialling() {
  const store = useDial()
  const { t } = useText()

  async function confirm(text: string): Promise<boolean> {
    return ElMessageBox.confirm(text, t('dial.sure'), {
      confirmButtonText: t('dial.dial'),
      cancelButtonText: t('form.cancel'),
    }).then(
      () => true,
      () => false,
    )
  }

  async function dial(body: Dial, whom: Whom = {}): Promise<void> {
    const name = whom.name || body.number
    if (whom.segments?.includes('caution_list') && !(await confirm(t('dial.caution', { name })))) {
      return
    }
    if (store.isRepeat(body.number, Date.now()) && !(await confirm(t('dial.repeat', { name })))) {
      return
    }
    await store.dial(body)
  }

  function isDialling(number: string, follow_up_id: Uuid | null): boolean {
    const state = store.state
    return (
      (state.kind === 'asking' || state.kind === 'ringing_own') &&
      state.number === number &&
      state.follow_up_id === follow_up_id
    )
  }

  return { dial, isDialling }
}
