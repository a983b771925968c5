import { setImmediate as turn } from 'node:timers/promises';
import { DEFAULT_INIT } from '../fetch.ts';
import { dockerRuntime } from '../docker.ts';
import { DeployError } from '../../errors.ts';
import type { HostRef } from '../../plan/types.ts';
import { jobsRuntime } from '../jobs.ts';
import { hostKeptLogs } from '../kept-logs.ts';
import { hostLeases } from '../leases.ts';
import { takePicture } from '../picture.ts';
import type { Command, Host, Output } from '../types.ts';
import type { Connection } from './connection.ts';
import type { Forwards } from './forward.ts';
import { ending, type Raw } from '../../text/raw.ts';

const SHORT_MS = 30_000;

/** Writes stdin aside and renames it: path, mode. Only the owner may read it until it has its mode. */
const WRITE_FILE = String.raw`
set -e
folder=$(dirname -- "$1")
[ -d "$folder" ] || mkdir -p -- "$folder"
aside=$1.aside.$$
trap 'rm -f -- "$aside"' EXIT
trap 'exit 143' TERM
umask 077
cat >"$aside"
chmod "$2" "$aside"
mv -f -- "$aside" "$1"
`;

export interface SshHostOptions {
  readonly forwards: Forwards;
  /** Calls are bound to it. */
  readonly signal: AbortSignal | undefined;
  readonly together: boolean;
}

/** The host `ref` over a connection that other refs to it may share. */
export function sshHost(ref: HostRef, connection: Connection, { forwards, signal, together }: SshHostOptions): Host {
  const runAll = (commands: readonly Command[], { parallel }: { readonly parallel?: boolean } = {}) =>
    connection.run(commands, { parallel, signal });
  const alone = async (command: Command) => (await runAll([command]))[0]!;
  const send = together ? gathered((commands) => runAll(commands, { parallel: true })) : alone;
  const run = async (command: Command): Promise<Output> => {
    const output = await send(command);
    if (!output.timedOut) return output;
    throw new DeployError({
      code: 'COMMAND_TIMEOUT',
      message: `${ref.name}: ${programOf(command)} did not end within ${command.timeoutMs / 1000} s and was ended`,
      remedy: `Run it on ${ref.name} by hand and see where it hangs; a hung driver hangs its tools.`,
      retryable: true,
      host: ref.name,
      evidence: ending(output.stderr || output.stdout),
    });
  };
  const must = async (command: Command): Promise<Raw> => {
    const output = await run(command);
    if (output.exitCode === 0) return output.stdout;
    throw new DeployError({
      code: 'COMMAND_FAILED',
      message: `${ref.name}: ${programOf(command)} ended with exit code ${output.exitCode}`,
      remedy: `Read what it said, and run it on ${ref.name} by hand.`,
      retryable: false,
      host: ref.name,
      evidence: ending(output.stderr || output.stdout),
    });
  };
  const expand = async (path: string) => (/^~(?=\/|$)/.test(path) ? (await connection.home()) + path.slice(1) : path);
  const host: Host = {
    ref,
    run,
    runAll,
    must,
    expand,
    async writeFile(path, content, { mode = 0o644 } = {}) {
      const target = await expand(path);
      const argv = ['sh', '-c', WRITE_FILE, 'sh', target, mode.toString(8)];
      const { exitCode, stderr } = await run({ argv, stdin: content, timeoutMs: 2 * SHORT_MS });
      if (exitCode === 0) return;
      throw new DeployError({
        code: 'COMMAND_FAILED',
        message: `${ref.name}: ${target} could not be written`,
        remedy: `Check on ${ref.name} that its folder can be written by ${ref.user} and has space.`,
        retryable: false,
        host: ref.name,
        evidence: ending(stderr),
      });
    },
    runtime: (kind) => (kind === 'docker' ? dockerRuntime(host) : jobsRuntime(host)),
    get leases() {
      return hostLeases(host);
    },
    get keptLogs() {
      return hostKeptLogs(host);
    },
    picture: (scope) => takePicture(host, scope),
    fetch: (url, init = DEFAULT_INIT) => forwards.fetch(url, init, signal),
  };
  return host;
}

/** Gives commands that come at the same time to `send` in one batch. */
function gathered(send: (commands: readonly Command[]) => Promise<Output[]>): (command: Command) => Promise<Output> {
  let batch: Command[] = [];
  let answer: Promise<Output[]> | undefined;
  return async (command) => {
    const index = batch.push(command) - 1;
    answer ??= turn().then(() => {
      const commands = batch;
      [batch, answer] = [[], undefined];
      return send(commands);
    });
    return (await answer)[index]!;
  };
}

/** What a command is called in messages; a script of ours by the name that it was given. */
const programOf = ({ argv: [program, flag, , name] }: Command) => (program === 'sh' && flag === '-c' ? name : program);
