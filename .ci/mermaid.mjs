// mermaid.mjs FOLDER FILE...: has mermaid's own parser read diagrams. FOLDER is where npm has installed mermaid and jsdom.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, ...files] = process.argv.slice(2)
const modules = resolve(folder, 'node_modules')
const { JSDOM } = createRequire(resolve(modules, 'x'))('jsdom')
const { window } = new JSDOM('') // the parser cleans texts by means of a document
Object.assign(globalThis, { window, document: window.document })
const { default: mermaid } = await import(pathToFileURL(resolve(modules, 'mermaid/dist/mermaid.core.mjs')).href)
if (files.length === 0) {
  throw new Error('no diagram given')
}
for (const file of files) {
  try {
    const { diagramType } = await mermaid.parse(readFileSync(file, 'utf8'))
    console.log(`mermaid: ${basename(file)} is a ${diagramType}`)
  } catch (error) {
    console.error(`mermaid: ${basename(file)}: ${error.message}`)
    process.exitCode = 1
  }
}
