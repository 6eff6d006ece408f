/** Tells who oversees when a side of somebody's call is not heard, and when it is heard again. */
import { onBeforeUnmount, onMounted } from 'vue'
import { ElMessage } from 'element-plus'
import type { Audibility } from '@/api/schema'
import { useLink } from '@/realtime/link'
import { useText } from '@/text/useText'

export function useAlarms(): void {
  const { t } = useText()
  const link = useLink()
  let stop: (() => void) | undefined

  const what = (audio: Audibility) =>
    audio.heard === 'one_way' ? t(`alarm.no_${audio.missing}`) : t('alarm.nobody')

  onMounted(() => {
    stop = link.listen({
      event: (event, present) => {
        if (event.type !== 'call.alarm' || present === 'none') return
        const who = [event.user_name, event.extension].filter(Boolean).join(' ')
        if (event.audio.heard === 'both') ElMessage.success(t('alarm.cleared', { who }))
        else ElMessage.warning(t('alarm.raised', { who, what: what(event.audio) }))
      },
    })
  })
  onBeforeUnmount(() => stop?.())
}
