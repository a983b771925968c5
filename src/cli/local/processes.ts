import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { LocalState } from '../../connection.ts';

export type LocalProcess = LocalState['processes'][number];

/** How long a process gets to end by itself, in milliseconds. */
const STOP_MS = 10_000;

/** Starts a program that outlives this one, in a session of its own, its output in a file. */
export async function launch(
  name: string,
  log: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<LocalProcess> {
  const output = openSync(log, 'a', 0o600);
  const [program, ...rest] = argv;
  // Files and not pipes: the output must not depend on this process, and `npm start | tee` must see its end.
  const child = spawn(program!, rest, {
    detached: true,
    stdio: ['ignore', output, output],
    env: { ...process.env, ...env },
  });
  const failed = once(child, 'error') as Promise<[Error]>;
  child.unref();
  closeSync(output);
  const pid = child.pid;
  if (pid === undefined) throw new Error(`${name} could not be started: ${(await failed)[0].message}`);
  const startTime = await startTimeOf(pid);
  if (startTime === undefined) throw new Error(`${name} ended at once, see ${log}`);
  return { name, pid, startTime, log };
}

export const isAlive = async ({ pid, startTime }: LocalProcess): Promise<boolean> =>
  (await startTimeOf(pid)) === startTime;

/** TERM, then KILL; waits until it is gone. A pid that is somebody else's by now is left alone. */
export async function end(process_: LocalProcess): Promise<void> {
  for (const [signal, limit] of [
    ['SIGTERM', STOP_MS],
    ['SIGKILL', STOP_MS],
  ] as const) {
    if (!(await isAlive(process_))) return;
    process.kill(process_.pid, signal);
    await until(async () => !(await isAlive(process_)), limit);
  }
}

/** Polls `condition` until it holds or the limit passes; says which. */
export async function until(condition: () => Promise<boolean>, limitMs: number): Promise<boolean> {
  const deadline = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}

/** Field 22 of /proc/<pid>/stat, counted after the name, which may hold blanks; undefined for a process that is gone or a zombie. */
async function startTimeOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields && fields[0] !== 'Z' ? fields[19] : undefined;
}
