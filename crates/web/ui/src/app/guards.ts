/** Who may open which page. */
import type { NavigationGuardReturn, RouteLocationNormalized } from 'vue-router'
import { useSession } from './session'

export async function guard(to: RouteLocationNormalized): Promise<NavigationGuardReturn> {
  const session = useSession()
  const state = session.state.kind === 'unknown' ? await session.refresh() : session.state
  if (state.kind === 'unreachable') return true
  if (state.kind === 'signed_in') {
    if (to.path === '/sign-in') return '/desk'
    if (to.meta.roles && !session.is(...to.meta.roles)) return '/desk'
    return true
  }
  if (to.meta.isPublic) return true
  return { path: '/sign-in', query: to.fullPath === '/desk' ? {} : { to: to.fullPath } }
}
