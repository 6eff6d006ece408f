/** The wrap-up of one call: its draft, kept on this computer, and saving it. */
import { reactive, ref, shallowRef, watch } from 'vue'
import { api } from '@/api/api'
import { useSession } from '@/app/session'
import { useText } from '@/text/useText'
import type { DeskCall } from './callState'
import { dropDraft, emptyDraft, loadDraft, storeDraft, type WrapUpDraft } from './draft'
import { useDesk } from './useDesk'

export type WrapUpState =
  | { kind: 'idle' }
  /** The result is missing. */
  | { kind: 'lacking' }
  | { kind: 'saving' }
  | { kind: 'failed'; message: string }

export function useWrapUp(call: () => DeskCall) {
  const { failure } = useText()
  const desk = useDesk()
  const userId = useSession().me?.user_id ?? ''
  const id = call().call_id
  const stored = loadDraft(userId, id)
  const draft = reactive<WrapUpDraft>(stored ?? emptyDraft())
  const saved = ref(stored !== null)
  const state = shallowRef<WrapUpState>({ kind: 'idle' })

  watch(draft, () => {
    saved.value = storeDraft(userId, id, { ...draft })
    if (state.value.kind !== 'saving') state.value = { kind: 'idle' }
  })

  // A call that we dialled and nobody took has an obvious result; the agent may change it.
  watch(
    () => call().phase,
    (phase) => {
      if (phase.kind !== 'wrap_up' || phase.talkMs > 0 || draft.outcome || !phase.isNew) return
      if (phase.cause === 'no_answer' || phase.cause === 'busy') draft.outcome = phase.cause
    },
    { immediate: true },
  )

  /** Says whether there was anything to save. While the call goes on, the form stays. */
  async function save(): Promise<boolean> {
    if (state.value.kind === 'saving') return true
    const { outcome, note, next_on } = draft
    if (!outcome) {
      state.value = { kind: 'lacking' }
      return false
    }
    state.value = { kind: 'saving' }
    const follow_up_id = draft.follow_up_id ?? call().offered.follow_up_id
    try {
      await api.calls.wrapUp(id, { outcome, note, next_on, follow_up_id })
      state.value = { kind: 'idle' }
      if (call().phase.kind === 'wrap_up') {
        dropDraft(userId, id)
        desk.wrappedUp(id)
      }
    } catch (error) {
      state.value = { kind: 'failed', message: failure(error) }
    }
    return true
  }

  return { draft, saved, state, save }
}
