import { expect, it } from 'vitest'
import {
  DIRECTIONS,
  FOLLOW_UP_STATES,
  FOLLOW_UP_TYPES,
  FOLLOW_UP_VIEWS,
  OUTCOMES,
  ROLES,
  VERDICTS,
} from '@/api/schema'
import en from './locales/en.json'
import zh from './locales/zh-CN.json'

type Tree = { [key: string]: string | Tree }
const leaves = (tree: Tree, path = ''): [string, string][] =>
  Object.entries(tree).flatMap(([key, value]) =>
    typeof value === 'string' ? [[path + key, value]] : leaves(value, `${path}${key}.`),
  )
const placeholders = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(String).sort()

it('has the same keys and placeholders in both languages', () => {
  const english = new Map(leaves(en))
  const chinese = new Map(leaves(zh))
  expect([...english.keys()].sort()).toEqual([...chinese.keys()].sort())
  for (const [key, text] of chinese) {
    expect(placeholders(english.get(key) ?? ''), key).toEqual(placeholders(text))
  }
})

it('has a word for every word of the server', () => {
  const sets = {
    outcome: OUTCOMES,
    followUpType: FOLLOW_UP_TYPES,
    followUpState: FOLLOW_UP_STATES,
    view: FOLLOW_UP_VIEWS,
    verdict: VERDICTS,
    role: ROLES,
    direction: DIRECTIONS,
  }
  for (const [name, words] of Object.entries(sets)) {
    const have = Object.keys((zh as Tree)[name] as Tree)
    expect(have, name).toEqual(expect.arrayContaining([...words]))
  }
})
