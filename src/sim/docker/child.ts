import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import type { Unit } from './unit.ts';

type Signal = Parameters<Unit['signal']>[0];

/** These the kernel gives to every process, also to the first of a container; here to the whole group. */
const TO_ALL: readonly Signal[] = ['SIGKILL', 'SIGSTOP', 'SIGCONT'];

/** A real process as a container's first program: what it leaves running ends with it. */
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
    // The log driver writes whole lines, and at the end what is left.
    let rest = '';
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split(/(?<=\n)/);
      rest = lines.at(-1)!.endsWith('\n') ? '' : lines.pop()!;
      for (const line of lines) log(stream, line);
    });
    child[stream].on('end', () => {
      if (rest !== '') log(stream, rest);
    });
  }
  const exited = new Promise<number>((resolve) => {
    child.on('error', (error) => {
      log('stderr', `${error.message}\n`);
      resolve(127);
    });
    child.on('exit', () => send('SIGKILL'));
    child.on('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal!]));
  });
  const send = (name: Signal) => {
    if (child.pid === undefined) return;
    try {
      if (TO_ALL.includes(name)) process.kill(-child.pid, name);
      else if (isHandled(child.pid, name)) process.kill(child.pid, name);
    } catch {
      // It is gone already.
    }
  };
  return { pid: child.pid ?? 0, exited, signal: send };
}

/** The first process of a container gets a signal only where it has a handler for it. Source: proc(5), SigCgt. */
function isHandled(pid: number, name: Signal): boolean {
  const caught = /^SigCgt:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
  return (BigInt(`0x${caught}`) >> BigInt(constants.signals[name] - 1)) % 2n === 1n;
}
