import { readFile, writeFile, mkdir, rename, stat } from 'node:fs/promises';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';

const root = fileURLToPath(new URL('../../', import.meta.url));
const cache = join(root, 'node_modules', '.cache', 'tandem');
const quiet = { log() {}, trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error };

/** The bundle of workflow code, made anew when a source is newer: two seconds that every suite would pay. */
export async function workflowBundle(index = 'workflows/index.ts'): Promise<{ code: string }> {
  const file = join(cache, `${index.replaceAll('/', '-')}.js`);
  const newest = Math.max(...['workflows', 'src', 'test/support'].flatMap((room) => sourcesIn(join(root, room))));
  const made = await stat(file).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
  if (made < newest) {
    const { code } = await bundleWorkflowCode({
      workflowsPath: join(root, index),
      workflowInterceptorModules: [join(root, 'workflows/interceptors.ts')],
      logger: quiet,
    });
    await mkdir(cache, { recursive: true });
    await writeFile(`${file}.${process.pid}`, code);
    await rename(`${file}.${process.pid}`, file); // Suites run side by side.
  }
  return { code: await readFile(file, 'utf8') };
}

/**
 * The same, for suites with many operations: it keeps no stack of each promise for Temporal's stack trace query, which is
 * three fifths of what a workflow's thread does. Failures have no stack there.
 */
export async function quickBundle(index?: string): Promise<{ code: string }> {
  const { code } = await workflowBundle(index);
  return { code: `delete Error.stackTraceLimit;${code}` }; // On the same line: the source map stays right.
}

const sourcesIn = (folder: string): number[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? sourcesIn(join(folder, entry.name)) : [statSync(join(folder, entry.name)).mtimeMs],
  );
