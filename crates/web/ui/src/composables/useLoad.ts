/** Fetches one thing and holds it as a union, so that a half-loaded page cannot be drawn. */
import { shallowRef, watch, type ShallowRef, type WatchSource } from 'vue'
import { useText } from '@/text/useText'

export type Loadable<T> =
  { kind: 'loading' } | { kind: 'ready'; value: T } | { kind: 'failed'; message: string }

export interface Load<T> {
  state: ShallowRef<Loadable<T>>
  reload: () => Promise<void>
  set: (value: T) => void
}

/** Loads at once and again whenever `when` changes; an answer that is overtaken is dropped. */
export function useLoad<T>(fetch: () => Promise<T>, when?: WatchSource<unknown>): Load<T> {
  const { failure } = useText()
  const state = shallowRef<Loadable<T>>({ kind: 'loading' })
  let newest = 0

  /** Keeps what is shown while it fetches again. */
  async function reload(): Promise<void> {
    const mine = ++newest
    if (state.value.kind === 'failed') state.value = { kind: 'loading' }
    try {
      const value = await fetch()
      if (mine === newest) state.value = { kind: 'ready', value }
    } catch (error) {
      if (mine === newest) state.value = { kind: 'failed', message: failure(error) }
    }
  }

  if (when) {
    watch(when, () => {
      state.value = { kind: 'loading' }
      void reload()
    })
  }
  void reload()
  return { state, reload, set: (value) => (state.value = { kind: 'ready', value }) }
}
