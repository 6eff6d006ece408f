/** The tab's end of the hub: in the shared worker where there is one, else in this tab. */
import { Hub, type FromTab, type ToTab } from './hub'

export interface HubLink {
  start: (url: string, since: number) => void
  signOut: () => void
  close: () => void
}

/** `who` keeps two users of one browser apart. */
export function connectHub(who: string, on: (message: ToTab) => void): HubLink {
  const post = shared(who, on) ?? alone(on)
  const visible = () => document.visibilityState === 'visible'
  const onVisibility = () => post({ kind: 'visibility', visible: visible() })
  const onOnline = () => post({ kind: 'online' })
  const onPageHide = () => post({ kind: 'bye' })
  const onPageShow = (event: PageTransitionEvent) => {
    if (event.persisted) location.reload()
  }
  document.addEventListener('visibilitychange', onVisibility)
  window.addEventListener('online', onOnline)
  window.addEventListener('pagehide', onPageHide)
  window.addEventListener('pageshow', onPageShow)
  post({ kind: 'hello', visible: visible() })
  const close = () => {
    document.removeEventListener('visibilitychange', onVisibility)
    window.removeEventListener('online', onOnline)
    window.removeEventListener('pagehide', onPageHide)
    window.removeEventListener('pageshow', onPageShow)
    post({ kind: 'bye' })
  }
  return {
    start: (url, since) => post({ kind: 'start', url, since }),
    signOut: () => {
      post({ kind: 'sign_out' })
      close()
    },
    close,
  }
}

type Post = (message: FromTab) => void

function shared(who: string, on: (message: ToTab) => void): Post | null {
  if (typeof SharedWorker === 'undefined') return null
  try {
    const { port } = new SharedWorker(new URL('./hub.worker.ts', import.meta.url), {
      type: 'module',
      name: `cheling-${who}`,
    })
    port.onmessage = (message: MessageEvent<ToTab>) => on(message.data)
    return (message) => port.postMessage(message)
  } catch {
    return null // A policy may forbid shared workers.
  }
}

function alone(on: (message: ToTab) => void): Post {
  const hub = new Hub()
  return (message) => hub.receive(on, message)
}
