import { startEngine } from './engine.ts';
import type { EngineOptions, EngineSignal } from './types.ts';

/**
 * A simulated engine as a process of its own: `main.js [flags of sglang.launch_server]`, log on stdout. What is no flag
 * of SGLang (timing, faults, version, image, hostAddress) comes as JSON in TANDEM_SIM_ENGINE.
 */
const { TANDEM_SIM_ENGINE: more, ...env } = process.env;
const options = (more === undefined ? {} : JSON.parse(more)) as Partial<
  Pick<EngineOptions, 'timing' | 'faults' | 'version' | 'image' | 'hostAddress'>
>;
const engine = await startEngine({
  ...options,
  argv: process.argv.slice(2),
  env: env as Record<string, string>,
  log: (line) => process.stdout.write(`${line}\n`),
});
// SIGKILL, SIGSTOP and SIGCONT need no help from here.
for (const name of ['SIGTERM', 'SIGINT'] as const) {
  process.on(name, () => engine.signal('SIGTERM' satisfies EngineSignal));
}
const code = await engine.exited;
// The log is written to its end before the process goes.
process.stdout.write('', () => process.exit(code));
