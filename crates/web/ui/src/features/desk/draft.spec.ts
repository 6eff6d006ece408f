import { beforeEach, expect, it } from 'vitest'
import { dropDraft, emptyDraft, loadDraft, pruneDrafts, storeDraft } from './draft'

beforeEach(() => localStorage.clear())
const draft = { ...emptyDraft(), note: '要求回电', outcome: 'call_back' as const }

it('keeps a draft per user and call', () => {
  storeDraft('u1', 'c1', draft)
  expect(loadDraft('u1', 'c1')).toEqual(draft)
  expect(loadDraft('u2', 'c1')).toBeNull()
  expect(loadDraft('u1', 'c2')).toBeNull()
  dropDraft('u1', 'c1')
  expect(loadDraft('u1', 'c1')).toBeNull()
})

it('forgets drafts after a week and survives a broken one', () => {
  storeDraft('u1', 'c1', draft)
  localStorage.setItem('cheling.draft.u1.c2', '{')
  pruneDrafts(Date.now() + 8 * 86_400_000)
  expect(localStorage.length).toBe(0)
})
