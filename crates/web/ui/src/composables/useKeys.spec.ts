import { expect, it } from 'vitest'
import { isComposing, keyName } from './useKeys'

const press = (init: KeyboardEventInit) => new KeyboardEvent('keydown', init)

it('names keys whatever the layout makes of Alt', () => {
  expect(keyName(press({ key: 'ñ', code: 'KeyN', altKey: true }))).toBe('Alt+N')
  expect(keyName(press({ key: 'k', code: 'KeyK', ctrlKey: true }))).toBe('Ctrl+K')
  expect(keyName(press({ key: '1', code: 'Digit1', altKey: true }))).toBe('Alt+1')
  expect(keyName(press({ key: ' ', code: 'Space' }))).toBe('Space')
  expect(keyName(press({ key: 'F2', code: 'F2' }))).toBe('F2')
})

it('leaves the keys of an input method alone', () => {
  expect(isComposing(press({ key: 'Enter', isComposing: true }))).toBe(true)
})
