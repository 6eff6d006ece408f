/** Ends a call from the page: one that talks, or one we dialled that still rings. */
import { computed, ref } from 'vue'
import { ElMessage } from 'element-plus'
import { api } from '@/api/api'
import { useText } from '@/text/useText'
import type { DeskCall } from './callState'

export function useHangUp(call: () => DeskCall | null) {
  const { t, failure } = useText()
  const isBusy = ref(false)
  const isDialled = computed(
    () => call()?.phase.kind === 'ringing' && call()?.offered.direction === 'outbound',
  )
  const isPossible = computed(
    () => isDialled.value || ['talking', 'held'].includes(call()?.phase.kind ?? ''),
  )
  const label = computed(() => (isDialled.value ? t('call.cancel') : t('call.hang_up')))

  async function act(): Promise<void> {
    const target = call()
    if (!target || isBusy.value) return
    isBusy.value = true
    try {
      await api.calls.hangUp(target.call_id)
    } catch (error) {
      ElMessage.error(failure(error))
    } finally {
      isBusy.value = false
    }
  }

  return { act, isBusy, isPossible, label }
}
