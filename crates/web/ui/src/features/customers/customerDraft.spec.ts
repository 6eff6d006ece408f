import { expect, it } from 'vitest'
import { emptyCustomer, emptyPhone, emptyVehicle, faultsOf, tidy } from './customerDraft'

it('wants a name, a number, and models of its vehicles', () => {
  const draft = { ...emptyCustomer(''), vehicles: [{ ...emptyVehicle(), vin: 'LSVNOTAVIN' }] }
  expect(faultsOf(draft)).toEqual(['name', 'phone', 'model', 'vin'])
  expect(faultsOf({ ...emptyCustomer('13800004409'), name: '王建国' })).toEqual([])
})

it('sends exactly one primary number and no empty rows', () => {
  const draft = {
    ...emptyCustomer(''),
    name: ' 王建国 ',
    phones: [emptyPhone(''), emptyPhone('13800004409'), emptyPhone('13900007745', true)],
  }
  const sent = tidy(draft)
  expect(sent.name).toBe('王建国')
  expect(sent.phones.map((p) => [p.number, p.is_primary])).toEqual([
    ['13800004409', false],
    ['13900007745', true],
  ])
})
