// Bundles what starts often, so that it starts at once: workflow code, which a Temporal worker then need not build, and
// the CLI, which else loads some seven hundred files at each call.
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';
import { build } from 'esbuild';

const at = (path) => fileURLToPath(new URL(`../dist/${path}`, import.meta.url));
const quiet = { log() {}, trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error };

const { code } = await bundleWorkflowCode({
  workflowsPath: at('workflows/index.js'),
  workflowInterceptorModules: [at('workflows/interceptors.js')],
  logger: quiet,
});
await writeFile(at('workflow-bundle.js'), withoutRoot(code));

/** The bundle without this machine's paths, which its source map has for every module. */
function withoutRoot(text) {
  const root = JSON.stringify(at('..')).slice(1, -1);
  return text.replace(/(sourceMappingURL=data:application\/json[^,]*;base64,)([\w+/=]+)/, (_, head, map) => {
    const named = Buffer.from(map, 'base64').toString().replaceAll(root, '');
    return head + Buffer.from(named).toString('base64');
  });
}

const cli = at('src/cli/main.js');
await build({
  entryPoints: [cli],
  outfile: cli,
  allowOverwrite: true, // In its place: what it finds beside itself, it finds there.
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  legalComments: 'none',
  logLevel: 'warning',
  // Parts of Temporal's client are CommonJS, and load modules of Node.
  banner: { js: "import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);" },
});
