/** Holds the recording of the call in view back while a card number is read out. */
import { computed, ref } from 'vue'
import { ElMessage } from 'element-plus'
import { api } from '@/api/api'
import { clock } from '@/text/format'
import { useText } from '@/text/useText'
import type { DeskCall } from './callState'

export function useRecordingPause(call: () => DeskCall | null) {
  const { t, failure, now } = useText()
  const isBusy = ref(false)
  const isPossible = computed(() => ['talking', 'held'].includes(call()?.phase.kind ?? ''))
  const pause = computed(() => {
    const recording = call()?.recording
    return isPossible.value && recording?.state === 'paused' ? recording : null
  })
  /** 录音已暂停 00:12. */
  const state = computed(() =>
    pause.value ? t('pause.state', { time: clock(now.value - pause.value.since / 1000) }) : '',
  )
  const label = computed(() => (pause.value ? t('pause.resume') : t('pause.pause')))

  async function act(): Promise<void> {
    const target = call()
    if (!target || isBusy.value) return
    isBusy.value = true
    try {
      // The state on the page changes when the server says so, to all who see the call.
      await (pause.value ? api.calls.resume(target.call_id) : api.calls.pause(target.call_id))
    } catch (error) {
      ElMessage.error(failure(error))
    } finally {
      isBusy.value = false
    }
  }

  return { act, isBusy, isPossible, pause, state, label }
}
