/** Says who a call is with; the card of the desk follows. */
import { shallowRef } from 'vue'
import { api } from '@/api/api'
import type { CustomerCard, Uuid } from '@/api/schema'
import { useText } from '@/text/useText'
import type { DeskCall } from './callState'
import { useDesk } from './useDesk'

export type LinkState = { kind: 'idle' } | { kind: 'linking' } | { kind: 'failed'; message: string }

export function useLinkCustomer(call: () => DeskCall) {
  const { failure } = useText()
  const desk = useDesk()
  const state = shallowRef<LinkState>({ kind: 'idle' })

  function show(id: Uuid, customer: CustomerCard): void {
    const now = desk.calls.find((c) => c.call_id === id)?.offered.card
    if (now) desk.setCard(id, { ...now, kind: 'known', customer, candidates: [] })
  }

  async function link(customer_id: Uuid): Promise<void> {
    const id = call().call_id
    state.value = { kind: 'linking' }
    try {
      await api.calls.linkCustomer(id, customer_id)
      show(id, (await api.customers.detail(customer_id)).card)
      state.value = { kind: 'idle' }
    } catch (error) {
      state.value = { kind: 'failed', message: failure(error) }
    }
  }

  return { link, show, state }
}
