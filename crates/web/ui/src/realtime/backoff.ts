/** Full-jitter exponential back-off, in milliseconds. The first retry is quick, so that a restart
 * of the server is hardly seen. */
export function backoff(
  attempt: number,
  random: () => number = Math.random,
  baseMs = 400,
  capMs = 15_000,
): number {
  return Math.round(150 + random() * Math.min(capMs, baseMs * 2 ** attempt))
}
