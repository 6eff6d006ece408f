/** Filters of a list, kept in the URL: a link or a reload shows the same rows. */
import { computed } from 'vue'
import { useRoute, useRouter } from 'vue-router'

export function useFilters<K extends string>(keys: readonly K[]) {
  const route = useRoute()
  const router = useRouter()

  const values = computed(() => {
    const read = (key: K) => {
      const value = route.query[key]
      return typeof value === 'string' ? value : ''
    }
    return Object.fromEntries(keys.map((key) => [key, read(key)])) as Record<K, string>
  })
  const isFiltered = computed(() => keys.some((key) => values.value[key] !== ''))

  function set(changes: Partial<Record<K, string>>): void {
    const merged: Record<string, string> = { ...values.value, ...changes }
    const query = Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== ''))
    void router.replace({ path: route.path, query })
  }
  const clear = () => void router.replace({ path: route.path })

  return { values, isFiltered, set, clear }
}
