/** Keyboard shortcuts of a page. Keys of a running Chinese input method are never ours. */
import { onBeforeUnmount, onMounted } from 'vue'

export type Keys = Record<string, (event: KeyboardEvent) => void>

/** `Ctrl+K`, `Alt+N`, `F2`, `Space`, `ArrowLeft`. */
export function keyName(event: KeyboardEvent): string {
  const isCtrl = event.ctrlKey || event.metaKey
  const base =
    event.code === 'Space'
      ? 'Space'
      : /^(Key|Digit)/.test(event.code) && (event.altKey || isCtrl)
        ? event.code.replace(/^(Key|Digit)/, '')
        : event.key
  const plain = base.length === 1 ? base.toUpperCase() : base
  return `${isCtrl ? 'Ctrl+' : ''}${event.altKey ? 'Alt+' : ''}${plain}`
}

export const isComposing = (event: KeyboardEvent): boolean =>
  event.isComposing || event.keyCode === 229

/** Whether keys go into a field; ticking a box is not typing. */
export function isTyping(target: EventTarget | null): boolean {
  if (target instanceof HTMLInputElement) return !/^(checkbox|radio|range)$/.test(target.type)
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || /^(TEXTAREA|SELECT)$/.test(target.tagName))
  )
}

/** Space presses what the keyboard has reached; after a click of the mouse it is ours. */
const pressesSomething = (event: KeyboardEvent) =>
  event.code === 'Space' &&
  event.target instanceof HTMLElement &&
  event.target.matches('button:focus-visible, input:focus-visible')

/** Keys without Ctrl, Alt or F are for the page only, not for a field being typed in. */
export function useKeys(keys: () => Keys): void {
  function onKey(event: KeyboardEvent): void {
    if (isComposing(event)) return
    const name = keyName(event)
    const act = keys()[name]
    if (!act) return
    const isPlain = !/^(Ctrl|Alt)\+|^F\d+$/.test(name)
    if (isPlain && (isTyping(event.target) || pressesSomething(event))) return
    event.preventDefault()
    act(event)
  }
  onMounted(() => window.addEventListener('keydown', onKey))
  onBeforeUnmount(() => window.removeEventListener('keydown', onKey))
}
