/** What is wrong with the recorder, for those who can do something about it. */
import { onBeforeUnmount, onMounted, shallowRef, watch } from 'vue'
import { api } from '@/api/api'
import type { RecorderAlarm } from '@/api/schema'
import { useSession } from '@/app/session'

/** No event tells of it: a disk fills while nobody calls, too. */
const ASK_EVERY_MS = 15_000

export function useRecorderAlarms() {
  const session = useSession()
  const alarms = shallowRef<RecorderAlarm[]>([])
  let timer: ReturnType<typeof setInterval> | undefined

  async function ask(): Promise<void> {
    if (!session.is('admin', 'supervisor')) {
      alarms.value = []
      return
    }
    // Whether the server answers at all is told by another banner.
    alarms.value = await api.alarms().then(
      (list) => list.alarms,
      () => alarms.value,
    )
  }

  watch(
    () => session.me?.user_id,
    () => void ask(),
  )
  onMounted(() => {
    void ask()
    timer = setInterval(() => {
      if (document.visibilityState === 'visible') void ask()
    }, ASK_EVERY_MS)
  })
  onBeforeUnmount(() => clearInterval(timer))
  return { alarms }
}
