/** The console's words: Chinese at once, English when it is asked for. */
import { createI18n } from 'vue-i18n'
import zhCN from './locales/zh-CN.json'

export const LOCALES = ['zh-CN', 'en'] as const
export type Locale = (typeof LOCALES)[number]
export type Messages = typeof zhCN

const STORED = 'cheling.locale'

export const i18n = createI18n<[Messages], Locale, false>({
  legacy: false,
  locale: 'zh-CN',
  fallbackLocale: 'zh-CN',
  messages: { 'zh-CN': zhCN } as Record<Locale, Messages>,
})

export async function setLocale(locale: Locale): Promise<void> {
  if (!i18n.global.availableLocales.includes(locale)) {
    const messages = (await import('./locales/en.json')).default
    i18n.global.setLocaleMessage(locale, messages)
  }
  i18n.global.locale.value = locale
  document.documentElement.lang = locale
  localStorage.setItem(STORED, locale)
}

/** The language chosen last on this computer. */
export async function restoreLocale(): Promise<void> {
  const stored = localStorage.getItem(STORED)
  if (stored === 'en') await setLocale('en')
}
