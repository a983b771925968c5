import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { renameSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { parse as parseYaml } from 'yaml';
import { startSimulation } from './simulation.ts';
import type { ScenarioInput } from './scenario.ts';

/**
 * Simulated hosts as a process: `main.js --dir DIR --scenario FILE --state FILE`. The state file appears when every
 * host can be logged in to, and is gone when the process ended on SIGTERM or SIGINT with all that ran on them.
 */
const { values } = parseArgs({
  options: { dir: { type: 'string' }, scenario: { type: 'string' }, state: { type: 'string' } },
});
const { dir, scenario, state } = values;
if (dir === undefined || scenario === undefined || state === undefined) {
  process.stderr.write('usage: main.js --dir DIR --scenario FILE --state FILE\n');
  process.exit(2);
}
const log = (line: string) => process.stdout.write(`${new Date().toISOString()} ${line}\n`);
const simulation = await startSimulation({
  dir,
  scenario: parseYaml(readFileSync(scenario, 'utf8')) as ScenarioInput,
  log,
});
writeFileSync(`${state}.new`, `${JSON.stringify(simulation.state, null, 2)}\n`, { mode: 0o600 });
renameSync(`${state}.new`, state);
log(`ready: ${simulation.state.hosts.map(({ name, address, port }) => `${name} ${address}:${port}`).join(', ')}`);

let ending = false;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (ending) return;
    ending = true;
    log(`${signal}: ending every host`);
    void simulation.stop().then(() => {
      rmSync(state, { force: true });
      process.exit(0);
    });
  });
}
