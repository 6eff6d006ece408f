/** A list by cursor: the first page at once, more on request, anew when the filter changes. */
import { shallowRef, watch, type WatchSource } from 'vue'
import type { Page } from '@/api/schema'
import { useText } from '@/text/useText'

export type Pages<T> =
  | { kind: 'loading' }
  | { kind: 'ready'; rows: T[]; next: string | null; more: 'idle' | 'loading' | 'failed' }
  | { kind: 'failed'; message: string }

export function usePages<T>(
  fetch: (cursor: string | null) => Promise<Page<T>>,
  filter: WatchSource<unknown>,
) {
  const { failure } = useText()
  const state = shallowRef<Pages<T>>({ kind: 'loading' })
  let newest = 0
  let isFirstPage = true

  async function reload(): Promise<void> {
    const mine = ++newest
    if (state.value.kind === 'failed') state.value = { kind: 'loading' }
    try {
      const page = await fetch(null)
      if (mine !== newest) return
      isFirstPage = true
      state.value = { kind: 'ready', rows: page.items, next: page.next_cursor, more: 'idle' }
    } catch (error) {
      if (mine === newest) state.value = { kind: 'failed', message: failure(error) }
    }
  }

  async function more(): Promise<void> {
    const shown = state.value
    if (shown.kind !== 'ready' || !shown.next || shown.more === 'loading') return
    const mine = newest
    state.value = { ...shown, more: 'loading' }
    try {
      const page = await fetch(shown.next)
      if (mine !== newest) return
      const rows = [...shown.rows, ...page.items]
      isFirstPage = false
      state.value = { kind: 'ready', rows, next: page.next_cursor, more: 'idle' }
    } catch {
      if (mine === newest) state.value = { ...shown, more: 'failed' }
    }
  }

  /** Something new came: shown at once, unless the person has read on to further pages. */
  async function refresh(): Promise<void> {
    if (isFirstPage && state.value.kind === 'ready') await reload()
  }

  watch(filter, () => {
    state.value = { kind: 'loading' }
    void reload()
  })
  void reload()
  return { state, reload, refresh, more }
}
