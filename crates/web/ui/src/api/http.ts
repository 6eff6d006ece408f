/** One request to the server: JSON in, JSON out, every failure an `ApiError`. */
import type { ErrorBody } from './schema'

export const BASE = '/api/v1'

/** Why a request came to nothing. `code` is the server's word, or one of ours: `network`. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly field: string | null = null,
    /** What `Retry-After` said, if it did. */
    readonly retryAfterSeconds: number | null = null,
    /** Of one thing among many, what is wrong with it. */
    readonly reason: { code: string; about: string; value: string } | null = null,
  ) {
    super(message)
  }
}

export type Query = Record<string, string | number | boolean | null | undefined>

export function url(path: string, query: Query = {}): string {
  const pairs = Object.entries(query).filter(([, v]) => v !== undefined && v !== null && v !== '')
  const text = new URLSearchParams(pairs.map(([k, v]) => [k, String(v)])).toString()
  return `${BASE}${path}${text ? `?${text}` : ''}`
}

interface Options {
  query?: Query
  body?: unknown
  headers?: Record<string, string>
  signal?: AbortSignal
}

let onSignedOut: () => void = () => undefined
/** What to do when the session has ended on the server. */
export function whenSignedOut(then: () => void): void {
  onSignedOut = then
}

export async function request<T>(method: string, path: string, options: Options = {}): Promise<T> {
  const isForm = options.body instanceof FormData
  const headers = { accept: 'application/json', ...options.headers }
  let response: Response
  try {
    response = await fetch(url(path, options.query), {
      method,
      credentials: 'same-origin',
      signal: options.signal,
      headers:
        options.body === undefined || isForm
          ? headers
          : { ...headers, 'content-type': 'application/json' },
      body:
        options.body === undefined
          ? undefined
          : options.body instanceof FormData
            ? options.body
            : JSON.stringify(options.body),
    })
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause
    throw new ApiError(0, 'network', String(cause))
  }
  if (!response.ok) throw await failure(response, path)
  if (response.status === 204) return undefined as T
  const text = await response.text()
  return (text ? JSON.parse(text) : undefined) as T
}

async function failure(response: Response, path: string): Promise<ApiError> {
  const retryAfter = Number(response.headers.get('retry-after'))
  let error: ErrorBody['error'] = {
    code: `http_${response.status}`,
    message: response.statusText,
    field: null,
  }
  try {
    const body = (await response.json()) as Partial<ErrorBody>
    if (body.error) error = body.error
  } catch {
    // Not our JSON (a proxy's page): the status says enough.
  }
  if (response.status === 401 && path !== '/session') onSignedOut()
  return new ApiError(
    response.status,
    error.code,
    error.message,
    error.field,
    retryAfter > 0 ? retryAfter : null,
    error.reason
      ? { code: error.reason, about: error.about ?? '', value: error.value ?? '' }
      : null,
  )
}
