/** Whom a call can be handed on to by a click; numbers can always be typed. */
import { shallowRef } from 'vue'
import { api } from '@/api/api'
import { useSession } from '@/app/session'
import { colleaguesIn, colleaguesOf, type Colleague } from './callControl'

const LATELY = 100

export function useColleagues() {
  const session = useSession()
  const colleagues = shallowRef<Colleague[]>([])

  async function load(): Promise<void> {
    if (colleagues.value.length) return
    const own = session.me?.extension ?? ''
    try {
      colleagues.value = session.is('admin', 'supervisor')
        ? colleaguesOf((await api.admin.users()).items, own)
        : colleaguesIn((await api.calls.list({ direction: 'internal', limit: LATELY })).items, own)
    } catch {
      // Without suggestions the number is typed.
    }
  }

  return { colleagues, load }
}
