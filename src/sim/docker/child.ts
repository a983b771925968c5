import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Unit } from './unit.ts';

/** A real process as a container's program: signals go to its whole group. */
export function startChild(
  argv: readonly string[],
  {
    cwd,
    env,
    log,
  }: {
    readonly cwd: string;
    readonly env: Readonly<Record<string, string>>;
    readonly log: (stream: 'stdout' | 'stderr', text: string) => void;
  },
): Unit {
  const [program, ...args] = argv as [string, ...string[]];
  const child = spawn(program, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of ['stdout', 'stderr'] as const) {
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      for (const line of text.split(/(?<=\n)/)) log(stream, line);
    });
  }
  const exited = new Promise<number>((resolve) => {
    child.on('error', (error) => {
      log('stderr', `${error.message}\n`);
      resolve(127);
    });
    child.on('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal!]));
  });
  return {
    pid: child.pid ?? 0,
    exited,
    signal: (name) => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, name);
      } catch {
        // The group is gone already.
      }
    },
  };
}
