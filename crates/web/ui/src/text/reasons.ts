/**
 * What the recorder says of a recording's verdict, read back into phrases that both languages have.
 * The phrases are those of the server (`verdict.rs` of its store); one that is not known stays as it
 * is.
 */

export interface Phrase {
  /** Below `detail.` in the locales. */
  readonly key: string
  /** Whose lane, below `detail.lane.`. */
  readonly lane?: string
  /** Why, a phrase of its own. */
  readonly why?: string
  readonly seconds?: string
}

const PLAIN: Readonly<Record<string, string>> = {
  'no media from either side': 'no_media',
  'none of its ICE checks reached us': 'no_check',
  'its DTLS handshake was not finished': 'no_handshake',
  'its certificate was not the one announced': 'fingerprint',
  'no SRTP profile was agreed on': 'no_profile',
  'its DTLS handshake failed': 'handshake',
  'the disk refused all media': 'disk_refused_all',
  'the disk refused media for part of the call': 'disk_refused_part',
  'part of the journal is damaged': 'damaged',
  'the recorder stopped during the call': 'stopped',
  'the recorder stopped before anything of it was written': 'stopped_before',
  'the tap dropped all media': 'tap_dropped_all',
  'paused throughout': 'paused_throughout',
}

const SHAPED: readonly (readonly [RegExp, string])[] = [
  [/^(?<lane>\w+) lane silent: (?<why>.+)$/, 'lane_because'],
  [/^(?<lane>\w+) lane silent$/, 'lane_silent'],
  [/^(?<lane>\w+) lane: (?<why>.+)$/, 'lane_why'],
  [/^(?<lane>[\w ]+) lane kept raw: SRTP without its keys$/, 'lane_encrypted'],
  [/^(?<lane>[\w ]+) lane kept raw$/, 'lane_raw'],
  [/^paused once, (?<seconds>\d+) s in all$/, 'paused_once'],
  [/^paused more than once, (?<seconds>\d+) s in all$/, 'paused_often'],
]

/** One phrase; `undefined` if it is not known. */
export function phraseOf(said: string): Phrase | undefined {
  const key = PLAIN[said]
  if (key) return { key }
  for (const [shape, shapeKey] of SHAPED) {
    const groups = shape.exec(said)?.groups
    if (groups) return { key: shapeKey, ...groups }
  }
  return undefined
}
