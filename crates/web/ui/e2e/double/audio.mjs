// One made-up recording: two voices that take turns, as WAV and as the peaks of it.
const RATE = 8000
const WINDOW = (RATE * 40) / 1000
export const SECONDS = 96

/** [lane, from, to] in seconds; lane 0 is the customer. Between 58 and 66 nobody speaks. */
export const TURNS = [
  [1, 0.8, 7.2],
  [0, 8.1, 15.4],
  [1, 16.0, 27.3],
  [0, 28.2, 33.0],
  [1, 33.4, 45.1],
  [0, 44.6, 57.9],
  [1, 66.1, 75.0],
  [0, 75.8, 82.3],
  [1, 82.9, 91.5],
  [0, 92.0, 95.0],
]

function sample(lane, at) {
  const speaks = TURNS.some(([l, from, to]) => l === lane && at >= from && at < to)
  if (!speaks) return Math.round(60 * Math.sin(at * 9000))
  const pitch = lane === 0 ? 190 : 130
  const syllable = Math.max(0, Math.sin(at * 21)) * (0.55 + 0.45 * Math.sin(at * 1.7 + lane))
  const voice = Math.sin(2 * Math.PI * pitch * at) + 0.5 * Math.sin(2 * Math.PI * pitch * 3.01 * at)
  return Math.round(14_000 * syllable * voice * 0.66)
}

export function makeRecording() {
  const frames = SECONDS * RATE
  const wav = Buffer.alloc(44 + frames * 4)
  wav.write('RIFF', 0)
  wav.writeUInt32LE(36 + frames * 4, 4)
  wav.write('WAVEfmt ', 8)
  wav.writeUInt32LE(16, 16)
  wav.writeUInt16LE(1, 20)
  wav.writeUInt16LE(2, 22)
  wav.writeUInt32LE(RATE, 24)
  wav.writeUInt32LE(RATE * 4, 28)
  wav.writeUInt16LE(4, 32)
  wav.writeUInt16LE(16, 34)
  wav.write('data', 36)
  wav.writeUInt32LE(frames * 4, 40)
  const windows = Math.ceil(frames / WINDOW)
  const peaks = Buffer.alloc(12 + windows * 2)
  peaks.write('CLPK', 0)
  peaks[4] = 1
  peaks[5] = 2
  peaks.writeUInt16LE(40, 6)
  peaks.writeUInt32LE(windows, 8)
  for (let i = 0; i < frames; i++) {
    for (const lane of [0, 1]) {
      const value = sample(lane, i / RATE)
      wav.writeInt16LE(value, 44 + i * 4 + lane * 2)
      const at = 12 + Math.floor(i / WINDOW) * 2 + lane
      peaks[at] = Math.max(peaks[at], Math.min(255, Math.abs(value) >> 7))
    }
  }
  return { wav, peaks }
}
