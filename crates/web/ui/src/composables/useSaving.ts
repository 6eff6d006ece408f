/** A form that is sent: idle, under way, done, or refused with the reason. */
import { computed, shallowRef, type ComputedRef, type ShallowRef } from 'vue'
import { useText } from '@/text/useText'

export type Saving =
  { kind: 'idle' } | { kind: 'saving' } | { kind: 'saved' } | { kind: 'failed'; message: string }

export interface SavingForm {
  saving: ShallowRef<Saving>
  isSaving: ComputedRef<boolean>
  /** Sends once at a time; `work` throws what the server refused. Whether it went through. */
  send: (work: () => Promise<unknown>) => Promise<boolean>
  /** Refuses before anything is sent. */
  refuse: (message: string) => void
}

export function useSaving(): SavingForm {
  const { failure } = useText()
  const saving = shallowRef<Saving>({ kind: 'idle' })
  const refuse = (message: string) => void (saving.value = { kind: 'failed', message })

  async function send(work: () => Promise<unknown>): Promise<boolean> {
    if (saving.value.kind === 'saving') return false
    saving.value = { kind: 'saving' }
    try {
      await work()
      saving.value = { kind: 'saved' }
      return true
    } catch (error) {
      refuse(failure(error))
      return false
    }
  }

  return { saving, isSaving: computed(() => saving.value.kind === 'saving'), send, refuse }
}
