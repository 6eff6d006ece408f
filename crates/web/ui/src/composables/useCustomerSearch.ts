/** Customers as one types: waits for a pause, drops answers that are overtaken. */
import { onScopeDispose, ref, shallowRef, watch } from 'vue'
import { api } from '@/api/api'
import type { CustomerRow } from '@/api/schema'
import { useText } from '@/text/useText'

export type Found =
  | { kind: 'idle' }
  | { kind: 'loading' }
  | { kind: 'ready'; rows: CustomerRow[] }
  | { kind: 'failed'; message: string }

const PAUSE_MS = 200

export function useCustomerSearch(limit: number, initial = '') {
  const { failure } = useText()
  const query = ref(initial)
  const found = shallowRef<Found>({ kind: 'idle' })
  let timer: ReturnType<typeof setTimeout> | undefined
  let abort: AbortController | undefined

  async function search(q: string): Promise<void> {
    const mine = (abort = new AbortController())
    try {
      const { items } = await api.customers.list({ q, limit }, mine.signal)
      if (!mine.signal.aborted) found.value = { kind: 'ready', rows: items }
    } catch (error) {
      if (!mine.signal.aborted) found.value = { kind: 'failed', message: failure(error) }
    }
  }

  watch(
    query,
    (text) => {
      clearTimeout(timer)
      abort?.abort()
      const q = text.trim()
      if (!q) {
        found.value = { kind: 'idle' }
        return
      }
      if (found.value.kind !== 'ready') found.value = { kind: 'loading' }
      timer = setTimeout(() => void search(q), PAUSE_MS)
    },
    { immediate: initial !== '' },
  )
  onScopeDispose(() => {
    clearTimeout(timer)
    abort?.abort()
  })
  return { query, found }
}
