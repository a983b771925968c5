import { randomBytes } from 'node:crypto';
import { finished } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { DeployError } from '../../errors.ts';
import type { HostRef } from '../../plan/types.ts';
import type { Command, Output } from '../types.ts';
import { Answer } from './answer.ts';
import { type Become, COMMAND_LINES } from './command-line.ts';
import { loginRefused, unreachable } from './failure.ts';
import { frame } from './frame.ts';
import { type Master, NO_MASTER, SSH_ENV } from './master.ts';
import { ending, raw, type Raw } from '../../text/raw.ts';

/** What the runner needs at most, beyond a command's limit, to end its group and answer. */
const ENDING_MS = 15_000;
/** What a login and its files may take before the runner begins. */
const BEGINNING_MS = 30_000;
/** How long ssh may stay when all output is here: something that left its session may hold the stream. */
const LINGER_MS = 1_000;

export interface SessionOptions {
  readonly ref: HostRef;
  readonly become: Become;
  readonly password?: string | undefined;
  readonly parallel: boolean;
  readonly outputLimitBytes: number;
  readonly signal?: AbortSignal | undefined;
}

/** How a frame ended; `lost` when the connection went and something of it may still run on the host. */
export type SessionEnd =
  | { readonly kind: 'answered'; readonly outputs: Output[]; readonly home: string }
  | { readonly kind: 'no-master' | 'no-session' | 'sudo-asks' }
  | { readonly kind: 'lost'; readonly id: string; readonly overAtMs: number; readonly error: DeployError };

/**
 * Runs one frame over a master. After an abort it resolves when the remote work is over, or as `lost`.
 * Errors: HOST_LOGIN_REFUSED, COMMAND_FAILED when the host cannot run the runner, SPEC_INVALID.
 */
export async function runFrame(
  master: Master,
  commands: readonly Command[],
  options: SessionOptions,
): Promise<SessionEnd> {
  const { ref, become, password, parallel, signal } = options;
  const nonce = randomBytes(16).toString('hex');
  const id = randomBytes(8).toString('hex');
  const text = frame(commands, { nonce, id, parallel, password: become === 'sudoPassword' ? password : undefined });
  const answer = new Answer(nonce, commands.length, options.outputLimitBytes);
  const limits = commands.map(({ timeoutMs }) => timeoutMs);
  // In order each may need its ending; the watcher of the host counts from the moment that the input is there.
  const longestMs = parallel
    ? Math.max(...limits) + ENDING_MS
    : limits.reduce((sum, limitMs) => sum + limitMs + ENDING_MS, 0);
  const overAtMs = Date.now() + BEGINNING_MS + longestMs;

  const args = [...master.through, '-T', '--', master.target, COMMAND_LINES[become]];
  const subprocess = execa('ssh', args, { env: SSH_ENV, stdin: 'pipe', buffer: false, reject: false });
  const lapse = new Timers();
  const cut = () => subprocess.kill('SIGKILL');
  subprocess.stdin.on('error', () => {}); // ssh ended before it took all; its exit says why.
  subprocess.stdout.on('data', (chunk: Buffer) => {
    answer.stdout.push(chunk);
    if (answer.complete) lapse.set(LINGER_MS, cut);
  });
  subprocess.stderr.on('data', (chunk: Buffer) => {
    answer.stderr.push(chunk);
    if (answer.complete) lapse.set(LINGER_MS, cut);
  });
  lapse.set(BEGINNING_MS + longestMs, cut);
  const abort = () => {
    // The end of stdin tells the watcher on the host, which ends the group; the runner answers when it is gone.
    subprocess.stdin.end();
    lapse.set(ENDING_MS, cut);
  };
  signal?.addEventListener('abort', abort, { once: true });
  subprocess.stdin.write(text);
  if (signal?.aborted) abort();
  const read = Promise.allSettled([finished(subprocess.stdout), finished(subprocess.stderr)]);
  // Not the end of its streams: the master has those too, and holds them open until the host has closed the session.
  const exited = new Promise<number | undefined>((resolve) =>
    subprocess.once('exit', (code) => resolve(code ?? undefined)),
  );
  const exitCode = await Promise.race([exited, subprocess.then((result) => result.exitCode)]);
  // What was printed may still be in the pipes; a master that hangs may hold them open.
  await Promise.race([read, delay(LINGER_MS, undefined, { ref: false })]);
  lapse.clear();
  signal?.removeEventListener('abort', abort);
  subprocess.stdin.destroy();

  // An exit code of the runner's own says that all commands are over, also where a server lost the end of stderr.
  if (answer.complete || (answer.stdout.closed && exitCode === 0)) {
    return { kind: 'answered', outputs: answer.outputs(), home: answer.home };
  }
  const evidence = ending(raw(`${answer.stdout.otherText()}${answer.stderr.otherText()}`));
  if (answer.refusal !== undefined) throw cannotRun(ref, answer.refusal, evidence);
  if (!answer.begun) {
    if (evidence.includes(NO_MASTER))
      return { kind: /session open refused/i.test(evidence) ? 'no-session' : 'no-master' };
    if (exitCode !== undefined && exitCode !== 255) {
      if (become === 'sudo' && /sudo: .*(password|terminal|askpass)/i.test(evidence)) return { kind: 'sudo-asks' };
      if (become !== 'none' && /sudo|incorrect password|sorry/i.test(evidence)) {
        throw loginRefused(ref, evidence, 'sudo');
      }
      if (!signal?.aborted) throw cannotRun(ref, `the login shell ended with exit code ${exitCode}`, evidence);
    }
  }
  await master.wake();
  const error = unreachable(ref, evidence || raw('no answer came'), 'lost the connection while a command ran');
  return { kind: 'lost', id, overAtMs, error };
}

const cannotRun = (ref: HostRef, why: string, evidence: Raw) =>
  new DeployError({
    code: 'COMMAND_FAILED',
    message: `${ref.name} runs no commands: ${why}`,
    remedy: `Check by "ssh ${ref.user}@${ref.address} true" that the account may run commands and has a POSIX /bin/sh.`,
    retryable: false,
    host: ref.name,
    evidence: evidence || raw(why),
  });

/** One timer at a time: the next one set replaces it. */
class Timers {
  #timer: NodeJS.Timeout | undefined;

  set(ms: number, action: () => void): void {
    this.clear();
    this.#timer = setTimeout(action, ms);
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}
