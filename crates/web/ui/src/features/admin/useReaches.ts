/** How far phones may dial, in words. */
import { computed } from 'vue'
import type { Reach } from '@/api/schema'
import { useText } from '@/text/useText'

export const REACHES: readonly Reach[] = ['internal', 'local', 'national', 'international']

export function useReaches() {
  const { t } = useText()
  return computed(() => REACHES.map((value) => ({ value, label: t(`admin.reach_${value}`) })))
}
