/** The only module that knows URLs. */
import { request, url, type Query } from './http'
import type {
  CallDetail,
  CallRow,
  ColleagueRow,
  Card,
  CustomerDetail,
  CustomerDraft,
  CustomerRow,
  Dial,
  Dialling,
  ExtensionDraft,
  ExtensionRow,
  FollowUpDraft,
  FollowUpPage,
  FollowUpRow,
  ImportReport,
  Lines,
  LiveCalls,
  Me,
  MonitorRole,
  Page,
  RecorderAlarm,
  RecordingDetail,
  RecordingFormat,
  RecordingRow,
  RunningCall,
  SignIn,
  TrunkRow,
  UserDraft,
  UserRow,
  Uuid,
  WrapUp,
} from './schema'

/** Sends a POST whose body is given, or none. */
const post = <T>(path: string, body?: unknown, query?: Query) =>
  request<T>('POST', path, { body, query })
const put = <T>(path: string, body?: unknown) => request<T>('PUT', path, { body })
const remove = (path: string, query?: Query) => request<undefined>('DELETE', path, { query })
const get = <T>(path: string, query?: Query, signal?: AbortSignal) =>
  request<T>('GET', path, { query, signal })

export const api = {
  session: {
    me: () => get<Me>('/session'),
    signIn: (body: SignIn) => post<Me>('/session', body),
    signOut: () => remove('/session'),
  },
  calls: {
    list: (query: Query) => get<Page<CallRow>>('/calls', query),
    live: () => get<LiveCalls>('/calls/live'),
    detail: (id: Uuid) => get<CallDetail>(`/calls/${id}`),
    /** The same key never dials twice. */
    dial: (body: Dial, idempotencyKey: string) =>
      request<Dialling>('POST', '/calls', {
        body,
        headers: { 'idempotency-key': idempotencyKey },
      }),
    hangUp: (id: Uuid) => remove(`/calls/${id}`),
    running: () => get<{ calls: RunningCall[] }>('/calls/running'),
    pause: (id: Uuid) => post<undefined>(`/calls/${id}/pause`),
    resume: (id: Uuid) => post<undefined>(`/calls/${id}/resume`),
    hold: (id: Uuid) => put<undefined>(`/calls/${id}/hold`),
    unhold: (id: Uuid) => remove(`/calls/${id}/hold`),
    transfer: (id: Uuid, number: string) => post<undefined>(`/calls/${id}/transfer`, { number }),
    /** A call of its own, while the other side waits. */
    consult: (id: Uuid, number: string) => post<Dialling>(`/calls/${id}/consult`, { number }),
    completeConsult: (id: Uuid) => put<undefined>(`/calls/${id}/consult`),
    /** All talk with all. */
    joinConsult: (id: Uuid) => put<undefined>(`/calls/${id}/consult/join`),
    cancelConsult: (id: Uuid) => remove(`/calls/${id}/consult`),
    invite: (id: Uuid, number: string) => post<undefined>(`/calls/${id}/guests`, { number }),
    /** The first third party takes the place. */
    depart: (id: Uuid) => post<undefined>(`/calls/${id}/leave`),
    dismiss: (id: Uuid, guest: number) => remove(`/calls/${id}/guests`, { guest }),
    /** Rings one's own phone, or changes what one does there. */
    monitor: (id: Uuid, role: MonitorRole) => put<undefined>(`/calls/${id}/monitor`, { role }),
    leave: (id: Uuid) => remove(`/calls/${id}/monitor`),
    wrapUp: (id: Uuid, body: WrapUp) => put<CallDetail>(`/calls/${id}/wrap-up`, body),
    linkCustomer: (id: Uuid, customer_id: Uuid) =>
      put<CallDetail>(`/calls/${id}/customer`, { customer_id }),
  },
  /** Whom a call can go to. */
  colleagues: () => get<Page<ColleagueRow>>('/colleagues'),
  recordings: {
    list: (query: Query) => get<Page<RecordingRow>>('/recordings', query),
    detail: (id: Uuid) => get<RecordingDetail>(`/recordings/${id}`),
    attach: (id: Uuid, follow_up_id: Uuid | null) =>
      put<RecordingDetail>(`/recordings/${id}/follow-up`, { follow_up_id }),
    audioUrl: (id: Uuid, query: Query = {}) => url(`/recordings/${id}/audio`, query),
    peaksUrl: (id: Uuid) => url(`/recordings/${id}/peaks`),
  },
  customers: {
    list: (query: Query, signal?: AbortSignal) =>
      get<Page<CustomerRow>>('/customers', query, signal),
    detail: (id: Uuid) => get<CustomerDetail>(`/customers/${id}`),
    create: (body: CustomerDraft) => post<CustomerDetail>('/customers', body),
    update: (id: Uuid, body: CustomerDraft) => put<CustomerDetail>(`/customers/${id}`, body),
    lookup: (number: string) => get<Card>('/lookup', { number }),
  },
  imports: {
    send: (file: File, apply: boolean) => {
      const form = new FormData()
      form.append('file', file)
      return post<ImportReport>('/imports', form, { apply })
    },
  },
  followUps: {
    list: (query: Query) => get<FollowUpPage>('/follow-ups', query),
    detail: (id: Uuid) => get<FollowUpRow>(`/follow-ups/${id}`),
    create: (body: FollowUpDraft) => post<FollowUpRow>('/follow-ups', body),
    update: (id: Uuid, body: FollowUpDraft) => put<FollowUpRow>(`/follow-ups/${id}`, body),
  },
  admin: {
    users: () => get<Page<UserRow>>('/users', { limit: 200 }),
    createUser: (body: UserDraft) => post<UserRow>('/users', body),
    updateUser: (id: Uuid, body: UserDraft) => put<UserRow>(`/users/${id}`, body),
    extensions: () => get<Page<ExtensionRow>>('/extensions', { limit: 200 }),
    trunks: () => get<Page<TrunkRow>>('/trunks'),
    createExtension: (body: ExtensionDraft) => post<ExtensionRow>('/extensions', body),
    updateExtension: (number: string, body: ExtensionDraft) =>
      put<ExtensionRow>(`/extensions/${number}`, body),
    deleteExtension: (number: string) => remove(`/extensions/${number}`),
    newExtensionPassword: (number: string) => post<ExtensionRow>(`/extensions/${number}/password`),
    lines: () => get<Lines>('/lines'),
    saveLines: (body: Lines) => put<Lines>('/lines', body),
    recordingFormat: () => get<RecordingFormat>('/recording-format'),
    saveRecordingFormat: (body: Pick<RecordingFormat, 'container'>) =>
      put<RecordingFormat>('/recording-format', body),
  },
  /** What is wrong with the recorder now. */
  alarms: () => get<{ alarms: RecorderAlarm[] }>('/alarms'),
}

/** Where a running call is heard. */
export function listenUrl(id: Uuid, at: Location = location): string {
  const scheme = at.protocol === 'https:' ? 'wss' : 'ws'
  return `${scheme}://${at.host}${url(`/calls/${id}/listen`)}`
}

/** Where the live connection is; `since` is the last number seen. */
export function socketUrl(since: number, at: Location = location): string {
  const scheme = at.protocol === 'https:' ? 'wss' : 'ws'
  return `${scheme}://${at.host}${url('/ws', { since })}`
}
