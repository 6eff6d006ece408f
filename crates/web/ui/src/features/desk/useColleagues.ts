/** Whom a call can be handed on to by a click; numbers can always be typed. */
import { shallowRef } from 'vue'
import { api } from '@/api/api'
import { colleaguesOf, type Colleague } from './callControl'

export function useColleagues() {
  const colleagues = shallowRef<Colleague[]>([])

  /** Each time anew: who is free changes from call to call. */
  async function load(): Promise<void> {
    try {
      colleagues.value = colleaguesOf((await api.colleagues()).items)
    } catch {
      // Without suggestions the number is typed.
    }
  }

  return { colleagues, load }
}
