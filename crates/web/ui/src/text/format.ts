/** Numbers, times and plates as people in a dealership write them. The clock is Shanghai's. */
import type { Day, Micros } from '@/api/schema'

export const TIME_ZONE = 'Asia/Shanghai'
const DAY_MS = 86_400_000

const parts = new Intl.DateTimeFormat('en-CA', {
  timeZone: TIME_ZONE,
  year: 'numeric',
  month: '2-digit',
  day: '2-digit',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
})

interface Wall {
  day: Day
  time: string
  seconds: string
}

function wall(ms: number): Wall {
  const found = Object.fromEntries(parts.formatToParts(ms).map((p) => [p.type, p.value]))
  return {
    day: `${found.year}-${found.month}-${found.day}`,
    time: `${found.hour}:${found.minute}`,
    seconds: found.second ?? '00',
  }
}

export const dayOf = (ms: number): Day => wall(ms).day
export const addDays = (day: Day, days: number): Day =>
  new Date(Date.parse(`${day}T00:00:00Z`) + days * DAY_MS).toISOString().slice(0, 10)
/** Days from `a` to `b`; negative if `b` is earlier. */
export const daysBetween = (a: Day, b: Day): number =>
  Math.round((Date.parse(`${b}T00:00:00Z`) - Date.parse(`${a}T00:00:00Z`)) / DAY_MS)

export type When =
  { kind: 'today' | 'yesterday' | 'tomorrow'; time: string } | { kind: 'date'; text: string }

/** 今天 09:34, 昨天 16:00, 08-06 14:20, 2025-10-18. */
export function when(at: Micros, nowMs: number): When {
  const { day, time } = wall(at / 1000)
  const away = daysBetween(dayOf(nowMs), day)
  if (away === 0) return { kind: 'today', time }
  if (away === -1) return { kind: 'yesterday', time }
  if (away === 1) return { kind: 'tomorrow', time }
  const sameYear = day.slice(0, 4) === dayOf(nowMs).slice(0, 4)
  return { kind: 'date', text: sameYear ? `${day.slice(5)} ${time}` : `${day} ${time}` }
}

/** 2026-11-22 09:34:02. */
export function fullTime(at: Micros): string {
  const { day, time, seconds } = wall(at / 1000)
  return `${day} ${time}:${seconds}`
}

/** 03:46, or 1:02:09. */
export function clock(ms: number): string {
  const total = Math.max(0, Math.floor(ms / 1000))
  const two = (n: number) => String(n).padStart(2, '0')
  const [h, m, s] = [Math.floor(total / 3600), Math.floor(total / 60) % 60, total % 60]
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${two(m)}:${two(s)}`
}

/** What some gateways send where a number would be, if the caller hides it. */
const WITHHELD = /^(anonymous|unavailable|unknown|private|restricted|withheld)$/i

/** Mobiles 3-4-4, landlines by area code; nothing for a withheld one; anything else as it is. */
export function phone(number: string): string {
  if (WITHHELD.test(number.trim())) return ''
  const digits = number.replace(/[\s()-]/g, '').replace(/^(\+86|0086)(?=\d)/, '')
  const mobile = /^0?(1[3-9]\d)(\d{4})(\d{4})$/.exec(digits)
  if (mobile) return mobile.slice(1).join(' ')
  const landline = /^0?(10|2\d|[3-9]\d\d)(\d{3,4})(\d{4})$/.exec(/^0/.test(digits) ? digits : '')
  if (landline) return `0${landline[1]} ${landline[2]} ${landline[3]}`
  const service = /^([48]00)(\d{3})(\d{4})$/.exec(digits)
  if (service) return service.slice(1).join(' ')
  return number
}

/** 46 210. */
export const thousands = (n: number): string =>
  String(Math.round(n)).replace(/\B(?=(\d{3})+(?!\d))/g, '\u2009')

export function fileSize(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  if (bytes < 1024 ** 2) return `${Math.round(bytes / 1024)} KB`
  return `${(bytes / 1024 ** 2).toFixed(1)} MB`
}

export const percent = (share: number): string => `${Math.round(share * 100)}%`

/** How a mean opinion score (ITU-T G.107, Annex B) sounds to a listener. */
export function soundOf(mos: number): 'good' | 'fair' | 'poor' {
  if (mos >= 4) return 'good'
  return mos >= 3.1 ? 'fair' : 'poor'
}

/** New-energy plates have eight characters. */
export const isGreenPlate = (plate: string): boolean =>
  plate.replace(/[^\p{L}\p{N}]/gu, '').length >= 8

/** 沪A and D3962 of 沪A·D3962. */
export function plateParts(plate: string): [string, string] {
  const bare = plate.replace(/[^\p{L}\p{N}]/gu, '')
  return [bare.slice(0, 2), bare.slice(2)]
}
