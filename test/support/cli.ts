import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

/** The built CLI. */
export const CLI = fileURLToPath(new URL('../../dist/src/cli/main.js', import.meta.url));

/** Runs a verb with `--json` against a Temporal server, as an operator does; a failure is a result. */
export const runCli = (
  args: readonly string[],
  { address, timeoutMs, env = {} }: { readonly address: string; readonly timeoutMs: number; readonly env?: object },
) =>
  execa(process.execPath, [CLI, ...args, '--json'], {
    env: { TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: 'default', ...env },
    reject: false,
    timeout: timeoutMs,
  });
