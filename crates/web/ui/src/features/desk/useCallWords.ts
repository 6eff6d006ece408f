/** A call's state in the user's language. */
import { phone } from '@/text/format'
import { useText } from '@/text/useText'
import type { DeskCall } from './callState'

export function useCallWords() {
  const { t, word } = useText()

  function party({ offered: { card, direction, called } }: DeskCall): string {
    if (card.customer) return card.customer.name
    if (card.kind === 'withheld') return t('call.withheld')
    const number = card.number || (direction === 'inbound' ? '' : called)
    return phone(number) || t('call.withheld')
  }

  function phase({ phase: now, offered }: DeskCall): string {
    const isOut = offered.direction === 'outbound'
    switch (now.kind) {
      case 'ringing':
        if (!isOut) return t('phase.ringing')
        return now.farEndRings ? t('phase.far_end_rings') : t('phase.dialling')
      case 'talking':
        return t('phase.talking')
      case 'held':
        return t('phase.held')
      case 'wrap_up':
        return now.talkMs > 0 ? t('phase.wrap_up') : t('phase.not_reached')
      case 'gone':
        return t('phase.gone')
    }
  }

  function hint({ phase: now, offered, recording }: DeskCall): string {
    const isOut = offered.direction === 'outbound'
    switch (now.kind) {
      case 'ringing':
        if (isOut) return now.farEndRings ? t('hint.far_end') : t('hint.own_phone')
        return t('hint.answer')
      case 'talking':
        return recording.state === 'paused' ? t('hint.paused') : t('hint.talking')
      case 'held':
        return t('hint.held')
      case 'wrap_up':
        return now.talkMs > 0 ? t('hint.wrap_up') : word('cause', now.cause)
      case 'gone':
        if (now.why === 'answered_elsewhere' && now.answeredBy) {
          return t('hint.answered_by', { name: now.answeredBy })
        }
        return word('cause', now.why)
    }
  }

  const announce = (call: DeskCall) =>
    t('call.announce', { phase: phase(call), party: party(call) })

  return { party, phase, hint, announce }
}
