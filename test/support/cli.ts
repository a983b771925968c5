import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

/** Where operators run it in a checkout. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
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

/** The same; its JSON, exit code and what it said beside. */
export async function runVerb(...[args, options]: Parameters<typeof runCli>) {
  const { stdout, stderr, exitCode } = await runCli(args, options);
  return { exitCode, stderr, json: (stdout === '' ? {} : JSON.parse(stdout)) as Record<string, unknown> };
}

/** Runs a verb whose output goes into a pipe that nobody reads any more, from the first byte on: its errors, and "exit N". */
export async function toNobody(args: readonly string[], env: Readonly<Record<string, string>>) {
  const line = 'exec 3> >(true); wait $!; "$@" 1>&3 3>&-; echo "exit $?"';
  const { stdout, stderr } = await execa('bash', ['-c', line, 'bash', process.execPath, CLI, ...args], {
    env,
    cwd: ROOT,
    reject: false,
  });
  return { stdout, stderr };
}
