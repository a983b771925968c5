import type { Command, Drivers, Host, Output } from '../../src/drivers/types.ts';
import type { HostRef } from '../../src/plan/types.ts';
import { raw } from '../../src/text/raw.ts';

/** What a fake host answers to a command; what is left out is empty, exit code 0, not timed out. */
export type Answer = (argv: readonly string[], stdin: string | undefined) => Said | Promise<Said>;

/** An output in plain text, or a part of one. */
export type Said = Partial<Omit<Output, 'stdout' | 'stderr'>> & {
  readonly stdout?: string;
  readonly stderr?: string;
};

export interface FakeHost extends Host {
  readonly asked: readonly (readonly string[])[];
  readonly roundTrips: number;
  /** Commands that have not ended. */
  readonly running: number;
}

/**
 * A host that answers every command by a function and keeps what it was asked. Runtime, leases and fetch are not
 * there: using one throws. Give `options.signal` to see commands rejected once it aborts, as the real driver does.
 */
export function fakeHost(
  answers: Answer,
  options: { readonly ref?: HostRef; readonly signal?: AbortSignal; readonly home?: string } = {},
): FakeHost {
  const asked: (readonly string[])[] = [];
  let roundTrips = 0;
  let running = 0;
  const answer = async ({ argv, stdin }: Command): Promise<Output> => {
    options.signal?.throwIfAborted();
    asked.push(argv);
    running += 1;
    const output = await abortable(Promise.resolve(answers(argv, stdin)), options.signal).finally(() => (running -= 1));
    const { stdout = '', stderr = '', ...rest } = output;
    return { exitCode: 0, timedOut: false, ...rest, stdout: raw(stdout), stderr: raw(stderr) };
  };
  const notFaked = (what: string) => (): never => {
    throw new Error(`the fake host has no ${what}`);
  };
  return {
    ref: options.ref ?? fakeRef('host-0'),
    asked,
    get roundTrips() {
      return roundTrips;
    },
    get running() {
      return running;
    },
    run(command) {
      roundTrips += 1;
      return answer(command);
    },
    async runAll(commands, { parallel = false } = {}) {
      roundTrips += 1;
      if (parallel) {
        const running = commands.map(answer);
        await Promise.allSettled(running); // One session carries them all: it rejects once the last has ended.
        return await Promise.all(running);
      }
      const outputs: Output[] = [];
      for (const command of commands) outputs.push(await answer(command));
      return outputs;
    },
    async must(command) {
      roundTrips += 1;
      return (await answer(command)).stdout;
    },
    writeFile: notFaked('writeFile'),
    expand: async (path) => path.replace(/^~(?=\/|$)/, options.home ?? '/home/ops'),
    runtime: notFaked('runtime'),
    leases: {
      list: notFaked('leases'),
      take: notFaked('leases'),
      release: notFaked('leases'),
      breakHeld: notFaked('leases'),
    },
    keptLogs: {
      keep: notFaked('keptLogs'),
      list: notFaked('keptLogs'),
      read: notFaked('keptLogs'),
      drop: notFaked('keptLogs'),
    },
    picture: notFaked('picture'),
    fetch: notFaked('fetch'),
  };
}

/** Drivers over fake hosts, by name; each call gets the signal that the activity gave. */
export function fakeDrivers(
  hosts: Readonly<Record<string, Answer>>,
): Pick<Drivers, 'host'> & { readonly running: () => number } {
  const made: FakeHost[] = [];
  return {
    host(ref, signal) {
      const host = fakeHost(hosts[ref.name]!, { ref, ...(signal ? { signal } : {}) });
      made.push(host);
      return host;
    },
    running: () => made.reduce((sum, host) => sum + host.running, 0),
  };
}

/** A host row for tests; nothing is reached through it. */
export const fakeRef = (name: string): HostRef => ({
  name,
  address: '127.84.0.1',
  port: 22,
  user: 'ops',
  fabricAddress: '127.84.0.1',
  ssh: { knownHostsFile: '~/.ssh/known_hosts', jump: [], become: 'none' },
  stateDir: '~/.tandem',
  leaseDir: '/var/lib/tandem/leases',
});

/** As the real driver: on abort the remote work ends a little later, and only then the call rejects. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise<T>((resolve, reject) => {
    const end = () => setImmediate(() => reject(signal.reason as Error));
    if (signal.aborted) end();
    signal.addEventListener('abort', end, { once: true });
    promise.then(resolve, reject);
  });
}
