/** System notifications: only where the browser has them (HTTPS or localhost) and the user agreed. */

export type NotifyPermission = 'unavailable' | 'ask' | 'granted' | 'denied'

export function notifyPermission(): NotifyPermission {
  if (typeof Notification === 'undefined' || !window.isSecureContext) return 'unavailable'
  return Notification.permission === 'default' ? 'ask' : Notification.permission
}

export async function askToNotify(): Promise<NotifyPermission> {
  if (notifyPermission() === 'ask') await Notification.requestPermission()
  return notifyPermission()
}

export function notify(title: string, body: string): void {
  if (notifyPermission() !== 'granted') return
  const shown = new Notification(title, { body, tag: 'cheling-ringing', icon: '/icon.svg' })
  shown.onclick = () => {
    window.focus()
    shown.close()
  }
}
