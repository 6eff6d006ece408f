import { expect, it } from 'vitest'
import type { CallGuestRow, GuestRole } from '@/api/schema'
import { confirmed, type Monitoring } from './monitoring'

const asked: Monitoring = { call_id: 'a', role: 'listen', hasJoined: false, askedAt: 1000 }
const guest = (number: string, role: GuestRole, left_at: number | null = null): CallGuestRow => ({
  guest: 1,
  role,
  number,
  user_name: '',
  joined_at: 1,
  left_at,
})

it('rings until it is answered, and not for ever', () => {
  expect(confirmed(asked, [], '8022', 2000)).toEqual(asked)
  expect(confirmed(asked, [], '8022', 62_000)).toBeNull()
})

it('is in the call as long as the call says so, in the role it says', () => {
  const joined = { ...asked, role: 'whisper', hasJoined: true } as const
  expect(confirmed(asked, [guest('8022', 'whisper')], '8022', 2000)).toEqual(joined)
  expect(confirmed(joined, [guest('8022', 'whisper')], '8022', 900_000)).toEqual(joined)
  expect(confirmed(joined, [guest('8022', 'whisper', 5)], '8022', 2000)).toBeNull()
  expect(confirmed(joined, [guest('8020', 'barge')], '8022', 2000)).toBeNull()
})
