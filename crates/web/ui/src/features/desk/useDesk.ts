/** The agent's calls, which of them is looked at, and the task looked at between calls. */
import { defineStore } from 'pinia'
import { computed, ref, shallowRef } from 'vue'
import type { Card, ConsoleEvent, FollowUpRow, LiveCall, Uuid } from '@/api/schema'
import { useSession } from '@/app/session'
import { isTyping } from '@/composables/useKeys'
import { useDial } from '@/composables/useDial'
import type { Presentation } from '@/realtime/hub'
import { useLink } from '@/realtime/link'
import { applyEvent, applySnapshot, mostUrgent, withCard, type DeskCall } from './callState'
import { pruneDrafts } from './draft'
import { usePopNotice } from './usePopNotice'

const GONE_SHOWN_MS = 20_000

export const useDesk = defineStore('desk', () => {
  const calls = shallowRef<DeskCall[]>([])
  const chosen = ref<Uuid | null>(null)
  const task = shallowRef<FollowUpRow | null>(null)
  /** Counts up when the lists on the desk should be fetched again. */
  const tasksChanged = ref(0)
  const callsChanged = ref(0)
  const session = useSession()
  const dial = useDial()
  const link = useLink()
  const pop = usePopNotice()
  let stop: (() => void) | null = null

  const current = computed(
    () => calls.value.find((call) => call.call_id === chosen.value) ?? mostUrgent(calls.value),
  )
  const others = computed(() => calls.value.filter((call) => call !== current.value))

  function onSnapshot(live: LiveCall[]): void {
    calls.value = applySnapshot(calls.value, live)
    void session.refresh()
  }

  /** A conversation stays in view when another call rings; so does a form being typed into. */
  function holdOn(now: DeskCall, ringing: Uuid): void {
    const isTalk = now.phase.kind === 'talking' || now.phase.kind === 'held'
    const isKept = isTalk || now.phase.kind === 'ringing' || isTyping(document.activeElement)
    chosen.value = isKept && now.phase.kind !== 'gone' ? now.call_id : ringing
  }

  function onEvent(event: ConsoleEvent, present: Presentation): void {
    if (event.type === 'call.offered' && current.value) holdOn(current.value, event.call_id)
    // What is looked at stays in view when it ends, also on a page that was loaded in mid-call.
    if (event.type === 'call.ended' && current.value?.call_id === event.call_id) {
      chosen.value = event.call_id
    }
    calls.value = applyEvent(calls.value, event)
    if (event.type === 'call.offered') {
      dial.settle(event.call_id)
      task.value = null
      pop.ring(event, present)
    }
    if (event.type === 'call.answered') {
      // The answered call comes forward, but never away from under somebody who types.
      if (!isTyping(document.activeElement)) chosen.value = event.call_id
      dial.settle(event.call_id)
    }
    if (event.type === 'call.answered') pop.quiet(event.call_id)
    if (event.type === 'call.withdrawn' || event.type === 'call.ended') {
      pop.quiet(event.call_id)
      callsChanged.value++
      // What is over here makes room for what is not; alone it stays until it is dismissed.
      if (current.value?.phase.kind === 'gone') chosen.value = null
    }
    if (event.type === 'call.withdrawn' && event.reason === 'answered_elsewhere') {
      setTimeout(() => dismiss(event.call_id), GONE_SHOWN_MS)
    }
    if (event.type === 'recording.ready') callsChanged.value++
    if (event.type === 'task.changed') tasksChanged.value++
  }

  function attach(): void {
    pruneDrafts(Date.now())
    stop = link.listen({ snapshot: onSnapshot, event: onEvent })
  }
  function detach(): void {
    stop?.()
    stop = null
    calls.value = []
    chosen.value = null
    task.value = null
  }

  /** Takes a call off the desk: wrapped up, or only rang here. */
  function remove(id: Uuid): void {
    calls.value = calls.value.filter((call) => call.call_id !== id)
    if (chosen.value === id) chosen.value = null
  }
  function dismiss(id: Uuid): void {
    if (calls.value.find((call) => call.call_id === id)?.phase.kind === 'gone') remove(id)
  }
  const choose = (id: Uuid) => (chosen.value = id)
  const setCard = (id: Uuid, card: Card) => (calls.value = withCard(calls.value, id, card))
  function wrappedUp(id: Uuid): void {
    remove(id)
    tasksChanged.value++
    callsChanged.value++
  }

  return {
    calls,
    current,
    others,
    task,
    tasksChanged,
    callsChanged,
    attach,
    detach,
    choose,
    dismiss,
    setCard,
    wrappedUp,
  }
})
