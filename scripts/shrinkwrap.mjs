// Writes npm-shrinkwrap.json, which `npm pack` takes along: whoever installs the package gets the versions that were tested.
// It is package-lock.json without what is only there to build and test, and without a registry's address.
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const at = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const lock = JSON.parse(await readFile(at('package-lock.json'), 'utf8'));
const kept = Object.entries(lock.packages).filter(([, { dev }]) => !dev);
for (const [, entry] of kept) {
  delete entry.resolved;
  delete entry.devDependencies;
}
const packages = Object.fromEntries(kept);
await writeFile(at('npm-shrinkwrap.json'), `${JSON.stringify({ ...lock, packages }, null, 2)}\n`);
