import { expect, it } from 'vitest'
import { backoff } from './backoff'

it('grows with every attempt up to the cap', () => {
  const longest = (attempt: number) => backoff(attempt, () => 1)
  expect([0, 3, 20].map(longest)).toEqual([550, 3350, 15_150])
})

it('never waits less than 150 ms', () => {
  expect(backoff(9, () => 0)).toBe(150)
})
