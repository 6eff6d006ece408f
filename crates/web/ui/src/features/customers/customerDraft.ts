/** A customer as the form edits it. */
import type { CustomerDetail, CustomerDraft, PhoneDraft, VehicleDraft } from '@/api/schema'

export const SOURCES = [
  'phone_enquiry',
  'walk_in',
  'bought_here',
  'transferred_in',
  'referral',
  'online',
  'auto_show',
  'other',
] as const
export const PHONE_LABELS = ['本人', '配偶', '送修人', '司机', '公司'] as const

export const emptyPhone = (number = '', is_primary = false): PhoneDraft => ({
  number,
  label: '本人',
  is_primary,
})
export const emptyVehicle = (): VehicleDraft => ({
  plate: '',
  vin: '',
  model: '',
  displacement: '',
  transmission: '',
})

export function emptyCustomer(number = ''): CustomerDraft {
  return {
    name: '',
    salutation: '',
    lifecycle: 'prospect',
    source: 'phone_enquiry',
    address: '',
    note: '',
    phones: [emptyPhone(number, true)],
    vehicles: [],
  }
}

export function draftOf({ card, address }: CustomerDetail): CustomerDraft {
  return {
    name: card.name,
    salutation: card.salutation,
    lifecycle: card.lifecycle,
    source: card.source || 'other',
    address,
    note: card.note,
    phones: card.phones.map(({ number, label, is_primary }) => ({ number, label, is_primary })),
    vehicles: card.vehicles.map(({ plate, vin, model, displacement, transmission }) => ({
      plate,
      vin,
      model,
      displacement,
      transmission,
    })),
  }
}

export type DraftFault = 'name' | 'phone' | 'primary' | 'model' | 'vin'

/** What the server would refuse, said before it is asked. */
export function faultsOf(draft: CustomerDraft): DraftFault[] {
  const faults: DraftFault[] = []
  if (!draft.name.trim()) faults.push('name')
  if (!draft.phones.some((p) => p.number.trim())) faults.push('phone')
  if (draft.vehicles.some((v) => !v.model.trim())) faults.push('model')
  if (draft.vehicles.some((v) => v.vin && !/^[A-HJ-NPR-Z0-9]{17}$/i.test(v.vin.trim()))) {
    faults.push('vin')
  }
  return faults
}

/** Without empty rows, with exactly one primary number. */
export function tidy(draft: CustomerDraft): CustomerDraft {
  const phones = draft.phones.filter((p) => p.number.trim())
  const primary = Math.max(
    0,
    phones.findIndex((p) => p.is_primary),
  )
  return {
    ...draft,
    name: draft.name.trim(),
    phones: phones.map((p, i) => ({ ...p, number: p.number.trim(), is_primary: i === primary })),
    vehicles: draft.vehicles.map((v) => ({
      ...v,
      plate: v.plate.trim().toUpperCase(),
      vin: v.vin.trim().toUpperCase(),
      model: v.model.trim(),
    })),
  }
}
