/** Sends one order about a call at a time. What came of it shows when the server's events say so. */
import { computed, ref } from 'vue'
import { ElMessage } from 'element-plus'
import { ApiError } from '@/api/http'
import { useText } from '@/text/useText'

export function useCallControl<Step extends string>() {
  const { t, te, failure } = useText()
  const running = ref<Step | null>(null)
  const isBusy = computed(() => running.value !== null)
  /** Why the target that was chosen cannot be had, or `''`. */
  const refusal = ref('')

  async function send(step: Step, order: () => Promise<unknown>): Promise<unknown> {
    if (isBusy.value) return undefined
    ;(running.value as Step | null) = step
    try {
      await order()
      return undefined
    } catch (error) {
      return error ?? new Error(step)
    } finally {
      running.value = null
    }
  }

  /** An order by a button: a refusal is told beside it all. */
  async function press(step: Step, order: () => Promise<unknown>): Promise<void> {
    const error = await send(step, order)
    if (error) ElMessage.error(failure(error))
  }

  /** An order with a number: a refusal is about whom it names, and is told where it was typed. */
  async function aim(step: Step, order: () => Promise<unknown>): Promise<boolean> {
    refusal.value = ''
    const error = await send(step, order)
    if (!error) return true
    const key = error instanceof ApiError ? `target.${error.code}` : ''
    refusal.value = te(key) ? t(key) : failure(error)
    return false
  }

  return { running, isBusy, refusal, press, aim }
}
