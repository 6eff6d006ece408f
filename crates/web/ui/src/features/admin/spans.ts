/** Time spans as people type them: `08:30-12:00 13:00-17:30`. */
import type { SpanRow } from '@/api/schema'

const TIME = /^([01]?\d|2[0-3]):([0-5]\d)$/

/** Reads spans in order of time; null if one cannot be read or two overlap. */
export function readSpans(text: string): SpanRow[] | null {
  const parts = text
    .replaceAll(/[：]/g, ':')
    .replaceAll(/\s*[-–—~至]\s*/g, '-')
    .split(/[\s,，;；、]+/)
    .filter(Boolean)
  const spans: SpanRow[] = []
  for (const part of parts) {
    const [from, to, more] = part.split('-')
    const span = { from: time(from), to: to === '24:00' ? to : time(to) }
    if (!span.from || !span.to || more !== undefined || span.from >= span.to) return null
    const before = spans.at(-1)
    if (before && before.to > span.from) return null
    spans.push({ from: span.from, to: span.to })
  }
  return spans
}

export const writeSpans = (spans: SpanRow[]) => spans.map((s) => `${s.from}-${s.to}`).join(' ')

function time(text: string | undefined): string | null {
  return text && TIME.test(text) ? text.padStart(5, '0') : null
}
