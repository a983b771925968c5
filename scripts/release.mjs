// Freezes the histories of today's workflows under the version of package.json: from then on they are replayed for ever, so
// that what this release began ends well with Temporal workers of the next. `npm run release` before a version is tagged.
import { cp, mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { root: { type: 'string', default: join(import.meta.dirname, '..') } } });
const histories = join(values.root, 'test', 'histories');
const { version } = JSON.parse(await readFile(join(values.root, 'package.json'), 'utf8'));

function fail(what, remedy) {
  process.stderr.write(`${what}\n  remedy: ${remedy}\n`);
  process.exit(1);
}

if (!/^\d+\.\d+\.\d+$/.test(version)) fail(`package.json has version ${version}, wanted as in 0.2.0`, 'Mend it.');
const frozen = await readdir(histories);
if (frozen.includes(version))
  fail(
    `the histories of ${version} are frozen already: what is released is never recorded anew`,
    'Set the version of the next release in package.json.',
  );
const current = (await readdir(join(histories, 'current'))).filter((name) => name.endsWith('.json'));
if (current.length === 0) fail('there are no histories of today’s workflows', '`npm run histories` records them.');

const half = join(histories, `.${version}`);
await rm(half, { recursive: true, force: true });
await mkdir(half);
for (const name of current) await cp(join(histories, 'current', name), join(half, name));
await rename(half, join(histories, version)); // Whole, or not at all.
process.stdout.write(
  `${current.length} histories are frozen in test/histories/${version}; commit them with the release.\n`,
);
