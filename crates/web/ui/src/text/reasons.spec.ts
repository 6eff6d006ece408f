import { expect, it } from 'vitest'
import en from '@/i18n/locales/en.json'
import zh from '@/i18n/locales/zh-CN.json'
import { phraseOf } from './reasons'

it('knows what the recorder says, in both languages', () => {
  for (const [said, want] of [
    ['agent lane silent', { key: 'lane_silent', lane: 'agent' }],
    [
      'customer lane silent: none of its ICE checks reached us',
      { key: 'lane_because', lane: 'customer', why: 'none of its ICE checks reached us' },
    ],
    [
      'agent lane: its DTLS handshake failed',
      {
        key: 'lane_why',
        lane: 'agent',
        why: 'its DTLS handshake failed',
      },
    ],
    [
      'customer and agent lane kept raw: SRTP without its keys',
      {
        key: 'lane_encrypted',
        lane: 'customer and agent',
      },
    ],
    ['agent lane kept raw', { key: 'lane_raw', lane: 'agent' }],
    ['paused more than once, 21 s in all', { key: 'paused_often', seconds: '21' }],
    ['no media from either side', { key: 'no_media' }],
    ['the recorder stopped during the call', { key: 'stopped' }],
    ['seen by a person', undefined],
  ] as const) {
    const phrase = phraseOf(said)
    expect(phrase, said).toEqual(want)
    if (!phrase) continue
    expect(zh.detail, said).toHaveProperty(phrase.key)
    expect(en.detail, said).toHaveProperty(phrase.key)
    if (phrase.lane) expect(zh.detail.lane, said).toHaveProperty([phrase.lane])
    if (phrase.why) expect(phraseOf(phrase.why), said).toBeDefined()
  }
})
