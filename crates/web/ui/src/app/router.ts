/** The pages; each is loaded when it is first opened. */
import { createRouter, createWebHistory } from 'vue-router'
import type { Role } from '@/api/schema'
import { guard } from './guards'

declare module 'vue-router' {
  interface RouteMeta {
    /** Key of the page's name. */
    title?: string
    /** Shown without the shell, to anyone. */
    isPublic?: boolean
    /** Only these roles; all if missing. */
    roles?: Role[]
  }
}

export const router = createRouter({
  history: createWebHistory(),
  routes: [
    { path: '/', redirect: '/desk' },
    {
      path: '/sign-in',
      meta: { title: 'page.sign_in', isPublic: true },
      component: () => import('@/features/signin/SignInPage.vue'),
    },
    {
      path: '/desk',
      meta: { title: 'nav.desk' },
      component: () => import('@/features/desk/DeskPage.vue'),
    },
    {
      path: '/calls',
      meta: { title: 'nav.calls' },
      component: () => import('@/features/calls/CallsPage.vue'),
    },
    {
      path: '/calls/:id',
      meta: { title: 'page.call' },
      component: () => import('@/features/calls/CallPage.vue'),
      props: true,
    },
    {
      path: '/recordings',
      meta: { title: 'nav.recordings' },
      component: () => import('@/features/recordings/RecordingsPage.vue'),
    },
    {
      path: '/recordings/:id',
      meta: { title: 'page.recording' },
      component: () => import('@/features/recordings/RecordingPage.vue'),
      props: true,
    },
    {
      path: '/customers',
      meta: { title: 'nav.customers' },
      component: () => import('@/features/customers/CustomersPage.vue'),
    },
    {
      path: '/customers/new',
      meta: { title: 'page.new_customer' },
      component: () => import('@/features/customers/CustomerEditPage.vue'),
    },
    {
      path: '/customers/:id',
      meta: { title: 'page.customer' },
      component: () => import('@/features/customers/CustomerPage.vue'),
      props: true,
    },
    {
      path: '/customers/:id/edit',
      meta: { title: 'page.edit_customer' },
      component: () => import('@/features/customers/CustomerEditPage.vue'),
      props: true,
    },
    {
      path: '/import',
      meta: { title: 'page.import', roles: ['admin', 'supervisor'] },
      component: () => import('@/features/imports/ImportPage.vue'),
    },
    {
      path: '/follow-ups',
      meta: { title: 'nav.follow_ups' },
      component: () => import('@/features/followups/FollowUpsPage.vue'),
    },
    {
      path: '/admin',
      meta: { title: 'nav.admin', roles: ['admin'] },
      component: () => import('@/features/admin/AdminPage.vue'),
    },
    {
      path: '/:rest(.*)*',
      meta: { title: 'page.not_found' },
      component: () => import('./NotFoundPage.vue'),
    },
  ],
})

router.beforeEach(guard)

// After an update the pages of the old version are gone: load the new one, once.
router.onError((error, to) => {
  const isMissingChunk = /import|module|chunk/i.test(String(error))
  const key = 'cheling.reloaded'
  if (!isMissingChunk || sessionStorage.getItem(key) === to.fullPath) return
  sessionStorage.setItem(key, to.fullPath)
  location.assign(to.fullPath)
})
