import type { Command, Drivers, Host, Output } from '../../src/drivers/types.ts';
import type { HostRef } from '../../src/plan/types.ts';

/** What a fake host answers to a command; what is left out is empty, exit code 0, not timed out. */
export type Answer = (argv: readonly string[], stdin: string | undefined) => Partial<Output> | Promise<Partial<Output>>;

/**
 * A host that answers every command by a function and keeps what it was asked. Runtime, leases and fetch are not
 * there: using one throws. Give `options.signal` to see commands rejected once it aborts, as the real driver does.
 */
export function fakeHost(
  answers: Answer,
  options: { readonly ref?: HostRef; readonly signal?: AbortSignal; readonly home?: string } = {},
): Host & { readonly asked: readonly (readonly string[])[]; readonly roundTrips: number } {
  const asked: (readonly string[])[] = [];
  let roundTrips = 0;
  const answer = async ({ argv, stdin }: Command): Promise<Output> => {
    options.signal?.throwIfAborted();
    asked.push(argv);
    const output = await abortable(Promise.resolve(answers(argv, stdin)), options.signal);
    return { stdout: '', stderr: '', exitCode: 0, timedOut: false, ...output };
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
    run(command) {
      roundTrips += 1;
      return answer(command);
    },
    async runAll(commands, { parallel = false } = {}) {
      roundTrips += 1;
      if (parallel) return await Promise.all(commands.map(answer));
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
    leases: { list: notFaked('leases'), take: notFaked('leases'), release: notFaked('leases') },
    fetch: notFaked('fetch'),
  };
}

/** Drivers over fake hosts, by name; each call gets the signal that the activity gave. */
export const fakeDrivers = (hosts: Readonly<Record<string, Answer>>): Pick<Drivers, 'host'> => ({
  host: (ref, signal) => fakeHost(hosts[ref.name]!, { ref, ...(signal ? { signal } : {}) }),
});

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

function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise<T>((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    promise.then(resolve, reject);
  });
}
