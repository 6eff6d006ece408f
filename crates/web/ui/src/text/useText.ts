/** Words of the server in the user's language, and times beside now. */
import { useI18n } from 'vue-i18n'
import { ApiError } from '@/api/http'
import type { Day, Micros } from '@/api/schema'
import { useNow } from '@/composables/useNow'
import { dayOf, daysBetween, when } from './format'
import { phraseOf } from './reasons'

export function useText() {
  const { t, te } = useI18n()
  const now = useNow()

  /** A word of a closed set, e.g. `word('outcome', 'busy')`; unknown words as they are. */
  function word(set: string, value: string): string {
    if (!value) return ''
    return te(`${set}.${value}`) ? t(`${set}.${value}`) : value
  }

  /** What a call came to: the agent's outcome if there is one, else how it ended. */
  const result = (value: string) =>
    te(`outcome.${value}`) ? word('outcome', value) : word('cause', value)

  function reason(said: string): string {
    const phrase = phraseOf(said)
    if (!phrase) return said
    const { key, lane, why, ...rest } = phrase
    const whose = lane ? t(`detail.lane.${lane}`) : ''
    return t(`detail.${key}`, { ...rest, lane: whose, why: why ? reason(why) : '' })
  }

  /** What the recorder says of a verdict: `reasons(recording.verdict_detail)`. */
  const reasons = (said: string) => (said ? said.split('; ').map(reason).join(t('detail.and')) : '')

  function time(at: Micros): string {
    const moment = when(at, now.value)
    return moment.kind === 'date' ? moment.text : t(`time.${moment.kind}`, { time: moment.time })
  }

  const today = (): Day => dayOf(now.value)

  /** 今天, 明天, 逾期 3 天, 12-05. */
  function due(day: Day): string {
    const away = daysBetween(today(), day)
    if (away === 0) return t('due.today')
    if (away === 1) return t('due.tomorrow')
    if (away === -1) return t('due.yesterday')
    if (away < 0) return t('due.overdue', { n: -away })
    return day.slice(0, 4) === today().slice(0, 4) ? day.slice(5) : day
  }

  function failure(error: unknown): string {
    if (!(error instanceof ApiError)) return t('error.unknown')
    if (error.status === 429) {
      return error.retryAfterSeconds
        ? t('error.rate_limited_for', { n: error.retryAfterSeconds })
        : t('error.rate_limited')
    }
    const { reason } = error
    if (reason && te(`reason.${reason.code}`)) return t(`reason.${reason.code}`, { ...reason })
    if (te(`error.${error.code}`)) return t(`error.${error.code}`)
    if (te(`error.http_${error.status}`)) return t(`error.http_${error.status}`)
    return error.message || t('error.unknown')
  }

  return { t, te, word, reasons, result, time, due, today, failure, now }
}
