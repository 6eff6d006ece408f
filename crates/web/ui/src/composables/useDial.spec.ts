import { createPinia, setActivePinia } from 'pinia'
import { beforeEach, expect, it, vi } from 'vitest'
import { ApiError } from '@/api/http'
import { useDial } from './useDial'

const dial = vi.hoisted(() => vi.fn())
vi.mock('@/api/api', () => ({ api: { calls: { dial } } }))

beforeEach(() => {
  dial.mockReset()
  setActivePinia(createPinia())
})
const keys = () => dial.mock.calls.map((call) => call[1] as string)

it('keeps its key when the answer was lost, so that a retry never dials twice', async () => {
  const store = useDial()
  dial.mockRejectedValueOnce(new ApiError(0, 'network', ''))
  dial.mockResolvedValueOnce({ call_id: 'c1' })
  await store.dial({ number: '13800004409', follow_up_id: 'f' })
  expect(store.state.kind).toBe('failed')
  await store.dial({ number: '13800004409', follow_up_id: 'f' })
  expect(store.state.kind).toBe('ringing_own')
  expect(new Set(keys()).size).toBe(1)
})

it('takes a new key after a refusal and for the next call', async () => {
  const store = useDial()
  dial.mockRejectedValueOnce(new ApiError(409, 'extension_not_registered', ''))
  dial.mockResolvedValue({ call_id: 'c1' })
  for (let n = 0; n < 3; n++) await store.dial({ number: '1', follow_up_id: 'f' })
  expect(new Set(keys()).size).toBe(3)
})

it('does not dial again while the first request is out', async () => {
  const store = useDial()
  dial.mockResolvedValue({ call_id: 'c1' })
  await Promise.all([store.dial({ number: '1' }), store.dial({ number: '1' })])
  expect(dial).toHaveBeenCalledTimes(1)
})
