/** Tells of a ringing call outside the page: the tab's title flashes; the system, if no tab is
 * looked at. Never takes the focus and never makes a sound: the desk phone rings. */
import { i18n } from '@/i18n'
import type { CallOffered, Uuid } from '@/api/schema'
import type { Presentation } from '@/realtime/hub'
import { notify } from '@/realtime/notify'
import { phone } from '@/text/format'

const ringing = new Map<Uuid, string>()
let plainTitle = ''
let timer: ReturnType<typeof setInterval> | undefined

function flash(): void {
  const [title] = ringing.values()
  document.title = title && document.title === plainTitle ? title : plainTitle
}

export function usePopNotice() {
  function ring(call: CallOffered, present: Presentation): void {
    if (call.direction === 'outbound') return
    const { t } = i18n.global
    const { card } = call
    const who = card.customer ? `${card.customer.name}${card.customer.salutation}` : ''
    const number = phone(card.number) || t('call.withheld')
    const vehicle = card.customer?.vehicles[0]
    if (present === 'notify') {
      notify(
        t('call.notice', { number }),
        [who, vehicle?.plate, call.line_name].filter(Boolean).join(' '),
      )
    }
    if (ringing.size === 0) {
      plainTitle = document.title
      timer = setInterval(flash, 900)
    }
    ringing.set(call.call_id, `☎ ${who || number}`)
  }

  function quiet(id: Uuid): void {
    if (!ringing.delete(id) || ringing.size > 0) return
    clearInterval(timer)
    document.title = plainTitle
  }

  return { ring, quiet }
}
