/** Writes notices.txt: the licences of the packages whose code is in the built console. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plugin } from 'vite'

interface Package {
  name: string
  version: string
  license?: string
}

/** The package folder of a module: up to the name behind the last `node_modules`. */
function folderOf(moduleId: string): string | null {
  const at = moduleId.lastIndexOf('/node_modules/')
  if (at < 0) return null
  const [first = '', second = ''] = moduleId.slice(at + '/node_modules/'.length).split('/')
  const name = first.startsWith('@') ? `${first}/${second}` : first
  return join(moduleId.slice(0, at), 'node_modules', name)
}

function notice(folder: string): string {
  const text = readFileSync(join(folder, 'package.json'), 'utf8')
  const { name, version, license = '' } = JSON.parse(text) as Package
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
  const body = file ? readFileSync(join(folder, file), 'utf8').trim() : ''
  return `${name} ${version} (${license})\n\n${body}\n`
}

export function notices(): Plugin {
  return {
    name: 'notices',
    apply: 'build',
    generateBundle(_, bundle) {
      const folders = new Set<string>()
      for (const output of Object.values(bundle)) {
        const modules = output.type === 'chunk' ? output.moduleIds : []
        for (const id of modules) {
          const folder = folderOf(id.replace(/^\0/, ''))
          if (folder && existsSync(join(folder, 'package.json'))) folders.add(folder)
        }
      }
      const source = [...folders]
        .sort()
        .map(notice)
        .join(`\n${'-'.repeat(78)}\n\n`)
      this.emitFile({ type: 'asset', fileName: 'notices.txt', source })
    },
  }
}
