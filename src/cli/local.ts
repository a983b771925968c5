import type { Command } from 'commander';
import { specDigest } from '../spec/canonical.ts';
import { chat } from './local/demo.ts';
import { DEMO_SPEC, down, up } from './local/stack.ts';
import { runOperation } from './operation.ts';
import { jsonOption, note, print, reporting } from './output.ts';
import { requireSpec } from './spec-file.ts';

export function addLocal(program: Command): void {
  const local = program
    .command('local')
    .description('A whole Tandem on this machine: Temporal server with Web UI, a Temporal worker, simulated hosts.');
  jsonOption(
    local
      .command('up')
      .description('Start what is not running; it stays, detached, until `local down`.')
      .option('--demo', 'also deploy specs/demo.yaml and send a chat through it'),
  ).action(({ json, demo }: { json?: boolean; demo?: boolean }) =>
    reporting(json, async () => {
      for (const name of Object.keys(process.env)) if (name.startsWith('TEMPORAL_')) delete process.env[name]; // A demo never lands in production.
      const state = await up(note);
      if (demo) await runDemo(json);
      else print(state, () => `Temporal UI  ${state.temporal.uiUrl}\nStop it with \`npx tandem local down\`.`, json);
      if (demo && (process.exitCode ?? 0) === 0) note(nextSteps(state.temporal.uiUrl));
    }),
  );
  jsonOption(local.command('down').description('Stop everything that `local up` started; the data stay.')).action(
    ({ json }: { json?: boolean }) =>
      reporting(json, async () => {
        const ended = await down();
        print({ ended }, () => (ended.length > 0 ? `stopped ${ended.join(', ')}` : 'nothing was running'), json);
      }),
  );
}

async function runDemo(json: boolean | undefined): Promise<void> {
  const { spec } = await requireSpec(DEMO_SPEC);
  await runOperation(
    spec.name,
    { operation: 'deploy', spec, specDigest: specDigest(spec), memo: { specPath: 'specs/demo.yaml' } },
    { reason: 'npm start', ...(json ? { json } : {}) },
  );
  if ((process.exitCode ?? 0) === 0) await chat(spec.name);
}

const nextSteps = (uiUrl: string): string => `
Running: Temporal, its worker and six simulated hosts. Try next:
  npx tandem status demo
  npx tandem plan specs/demo.yaml       # after changing decode.replicas to 2, say
  npx tandem deploy specs/demo.yaml
  npx tandem history demo
  npx tandem destroy demo               # asks for the name; --yes in scripts
  npx tandem local down                 # stops everything
Temporal UI  ${uiUrl}`;
