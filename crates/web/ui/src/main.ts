import { createPinia } from 'pinia'
import { createApp } from 'vue'
import { whenSignedOut } from './api/http'
import App from './app/App.vue'
import { router } from './app/router'
import { useSession } from './app/session'
import { i18n, restoreLocale } from './i18n'
import './styles/theme.css'

async function start(): Promise<void> {
  await restoreLocale()
  const app = createApp(App).use(createPinia()).use(i18n)
  whenSignedOut(() => {
    useSession().ended()
    const to = router.currentRoute.value.fullPath
    void router.replace({ path: '/sign-in', query: { to, ended: '1' } })
  })
  app.use(router).mount('#app')
}

void start()
