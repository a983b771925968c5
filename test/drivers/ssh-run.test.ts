import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createDrivers } from '../../src/drivers/index.ts';
import { OWNED } from '../../src/drivers/ssh/master.ts';
import type { Drivers, Host } from '../../src/drivers/types.ts';
import type { HostRef } from '../../src/plan/types.ts';
import { sampleArgv } from '../support/argv.ts';
import { ANSWER_MS, patient } from '../support/patience.ts';
import { alive, processesWith, textOf, until } from '../support/processes.ts';
import { haveSshd, startRealSshd } from '../support/real-sshd.ts';
import { startTestServer, type TestServer } from '../support/ssh-server.ts';

let folder: string;
let drivers: Drivers;
/** Every secret that the drivers resolved. */
const resolved = new Set<string>();
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-run-'));
  drivers = createDrivers({ runtimeDir: join(folder, 'r'), onSecret: (value) => resolved.add(value) });
});
afterAll(async () => {
  await drivers.close();
  await rm(folder, { recursive: true });
});

/** A command that leaves its own pid and that of a child of it in a file, and then waits. */
const waiting = (file: string) => ['sh', '-c', 'sleep 600 & echo $$ $! >"$1"; wait', 'sh', file];
async function pidsIn(file: string): Promise<number[]> {
  await until(`pids in ${file}`, () => /\d+ \d+\n/.test(textOf(file)));
  return textOf(file).trim().split(' ').map(Number);
}
const gone = (pids: readonly number[], limitMs?: number) =>
  until(`${pids.join(', ')} gone`, () => !pids.some(alive), limitMs === undefined ? {} : { limitMs });

/** The ssh processes of this test run: its control sockets are in its own folder. */
const clients = () => processesWith(join(folder, 'r'), 'TANDEM-FRAME-1');
const masters = (run = folder) =>
  processesWith(join(run, 'r'), '-M\0-N').filter((pid) => textOf(`/proc/${pid}/comm`) === 'ssh\n');

const servers = [
  { kind: 'a small SSH server', there: true, start: () => startTestServer({ address: '127.81.2.1' }) },
  { kind: "OpenSSH's sshd", there: haveSshd, start: () => startRealSshd('127.81.2.2') },
];
for (const { kind, there, start } of servers) {
  const suite = there ? describe : describe.skip;
  suite(`commands on a host with ${kind}`, () => {
    let server: Pick<TestServer, 'ref' | 'home' | 'close'>;
    let host: Host;
    beforeAll(async () => {
      server = await start();
      host = drivers.host(server.ref);
    });
    afterAll(() => server.close());

    it('end with their own exit code, that of a signal, or 127', async () => {
      const outputs = await host.runAll(
        [['sh', '-c', 'exit 42'], ['sh', '-c', 'kill -9 $$'], ['no-such-program'], ['true']].map((argv) => ({
          argv,
          timeoutMs: ANSWER_MS,
        })),
      );
      expect(outputs.map(({ exitCode }) => exitCode)).toEqual([42, 137, 127, 0]);
    });

    it('run side by side in one round trip, each with its own output and limit', async () => {
      const hang = join(server.home, 'side');
      const [first, second, third] = await host.runAll(
        [
          { argv: ['sh', '-c', 'cat; echo e >&2; exit 3'], stdin: 'one', timeoutMs: ANSWER_MS },
          { argv: waiting(hang), timeoutMs: patient(1_500) },
          { argv: ['cat'], stdin: 'three\n', timeoutMs: ANSWER_MS },
        ],
        { parallel: true },
      );
      expect(first).toEqual({ stdout: 'one', stderr: 'e\n', exitCode: 3, timedOut: false });
      expect(second).toMatchObject({ timedOut: true });
      expect(third).toEqual({ stdout: 'three\n', stderr: '', exitCode: 0, timedOut: false });
      await gone(await pidsIn(hang));
    });

    it('run in order in one round trip: one over its limit is ended, and the next runs', async () => {
      const hang = join(server.home, 'order');
      const outputs = await host.runAll([
        { argv: ['touch', `${hang}.before`], timeoutMs: ANSWER_MS },
        { argv: waiting(hang), timeoutMs: patient(1_000) },
        { argv: ['sh', '-c', 'cat "$0" && ls -- "$0.before"', hang], timeoutMs: ANSWER_MS },
      ]);
      const pids = await pidsIn(hang);
      expect(outputs).toMatchObject([
        { exitCode: 0, timedOut: false },
        { timedOut: true },
        { exitCode: 0, timedOut: false, stdout: `${pids.join(' ')}\n${hang}.before\n` },
      ]);
      expect(pids.filter(alive)).toEqual([]);
    });

    it('are all over before an aborted call of many rejects, and none begins after', async () => {
      const file = join(server.home, 'many');
      const stop = new AbortController();
      const aborted = drivers.host(server.ref, stop.signal);
      const beside = aborted.runAll(
        [0, 1, 2].map((index) => ({ argv: waiting(`${file}.${index}`), timeoutMs: 600_000 })),
        { parallel: true },
      );
      const inOrder = aborted.runAll([
        { argv: waiting(`${file}.3`), timeoutMs: 600_000 },
        { argv: ['touch', `${file}.after`], timeoutMs: ANSWER_MS },
      ]);
      const ended = Promise.allSettled([beside, inOrder]);
      const pids = (await Promise.all([0, 1, 2, 3].map((index) => pidsIn(`${file}.${index}`)))).flat();
      stop.abort(new Error('the operator changed his mind'));
      const why = expect.objectContaining({ message: 'the operator changed his mind' }) as unknown;
      expect(await ended).toEqual([
        { status: 'rejected', reason: why },
        { status: 'rejected', reason: why },
      ]);
      expect(pids.filter(alive)).toEqual([]);
      expect(existsSync(`${file}.after`)).toBe(false);
    });

    it('asked for at the same time go in one round trip where that is wanted, each with its own output or error', async () => {
      const together = drivers.host(server.ref, undefined, { together: true });
      // The folder of the runner is one for each round trip: the input of a command lies in it.
      const where = { argv: ['sh', '-c', 'readlink /proc/$$/fd/0; cat'], timeoutMs: ANSWER_MS };
      const [one, two, late] = await Promise.allSettled([
        together.must({ ...where, stdin: 'one' }),
        together.must({ ...where, stdin: 'two' }),
        together.run({ argv: ['sleep', '600'], timeoutMs: 300 }),
      ]);
      const folderOf = (text: unknown) => dirname(String(text).split(' ')[0]!);
      expect(one).toMatchObject({ value: expect.stringMatching(/i\.0 \(deleted\)\none$/) as unknown });
      expect(two).toMatchObject({ value: expect.stringMatching(/i\.1 \(deleted\)\ntwo$/) as unknown });
      expect(folderOf((one as { value: string }).value)).toBe(folderOf((two as { value: string }).value));
      expect(late).toMatchObject({ reason: { code: 'COMMAND_TIMEOUT' } });
    });

    it('are ended with all their children when the limit passes', async () => {
      const file = join(server.home, 'limit');
      const run = host.run({ argv: waiting(file), timeoutMs: patient(1_500) });
      await expect(run).rejects.toMatchObject({ code: 'COMMAND_TIMEOUT', host: server.ref.name });
      expect((await pidsIn(file)).filter(alive)).toEqual([]);
    });

    it('that ignore TERM are killed', async () => {
      const file = join(server.home, 'stubborn');
      const argv = [
        'sh',
        '-c',
        'trap "" TERM; echo $$ $$ >"$1"; n=600; while [ $((n-=1)) -gt 0 ]; do sleep 1; done',
        'sh',
        file,
      ];
      const [output] = await host.runAll([{ argv, timeoutMs: patient(1_000) }]);
      expect(output).toMatchObject({ exitCode: 137, timedOut: true });
      expect((await pidsIn(file)).filter(alive)).toEqual([]);
    });

    it('are over before an aborted call rejects', async () => {
      const file = join(server.home, 'abort');
      const stop = new AbortController();
      const run = drivers.host(server.ref, stop.signal).run({ argv: waiting(file), timeoutMs: 600_000 });
      const pids = await pidsIn(file);
      stop.abort(new Error('the operator changed his mind'));
      await expect(run).rejects.toThrow('the operator changed his mind');
      expect(pids.filter(alive)).toEqual([]);
    });

    it('are gone when the ssh client was killed with signal 9', async () => {
      const file = join(server.home, 'killed');
      const run = host.run({ argv: waiting(file), timeoutMs: 600_000 });
      const lost = expect(run).rejects.toMatchObject({ code: 'HOST_UNREACHABLE', retryable: true });
      const pids = await pidsIn(file);
      clients().forEach((pid) => process.kill(pid, 'SIGKILL'));
      await gone(pids, patient(8_000)); // Not at the next keep-alive, which comes after 15 s.
      await lost;
    });

    it('that a lost connection left are ended before the host is touched again', async () => {
      const file = join(server.home, 'lost');
      // Told to end, it goes on; and it says nothing, which would end it now that nobody reads.
      const argv = [
        'sh',
        '-c',
        'exec 2>&-; trap "sleep 600" TERM; echo $$ $$ >"$1"; n=600; while [ $((n-=1)) -gt 0 ]; do sleep 1; done',
        'sh',
        file,
      ];
      const run = host.run({ argv, timeoutMs: 600_000 }).catch((error: unknown) => error);
      const [pid] = await pidsIn(file);
      masters().forEach((master) => process.kill(master, 'SIGKILL'));
      expect(await run).toMatchObject({ code: 'HOST_UNREACHABLE' });
      await host.run({ argv: ['true'], timeoutMs: ANSWER_MS });
      expect(alive(pid!)).toBe(false);
    });

    it('go on over a new master when the old one was killed', async () => {
      await host.run({ argv: ['true'], timeoutMs: ANSWER_MS });
      masters().forEach((pid) => process.kill(pid, 'SIGKILL'));
      expect(await host.must({ argv: ['echo', 'again'], timeoutMs: ANSWER_MS })).toBe('again\n');
    });

    it('leave nothing in their group behind, and no folder of the runner', async () => {
      const file = join(server.home, 'left');
      await host.run({ argv: ['sh', '-c', 'sleep 600 & echo $$ $! >"$1"', 'sh', file], timeoutMs: ANSWER_MS });
      await gone((await pidsIn(file)).slice(1));
      // The input of a command lies in the runner's folder, so its path tells which that is.
      const argv = ['sh', '-c', 'readlink /proc/$$/fd/0'];
      const input = (await host.must({ argv, stdin: 'x', timeoutMs: ANSWER_MS })).trim();
      expect(input).toMatch(/\/tandem-[0-9a-f]{16}\/i\.0 \(deleted\)$/); // It may hold secrets, so it goes first.
      expect(existsSync(dirname(input))).toBe(false);
    });

    it('show stdout and stderr up to the limit, and say that there was more', async () => {
      const small = createDrivers({ runtimeDir: join(folder, 'r'), outputLimitBytes: 1_000 });
      const argv = ['sh', '-c', 'head -c 3000000 /dev/zero | tr "\\0" x; exit 5'];
      const output = await small.host(server.ref).run({ argv, timeoutMs: ANSWER_MS });
      expect(output).toEqual({ stdout: 'x'.repeat(1_000), stderr: '', exitCode: 5, timedOut: false, truncated: true });
      await small.close();
    });

    it('fail as COMMAND_FAILED with the tail of stderr where they must not', async () => {
      const argv = ['sh', '-c', 'echo no such thing >&2; exit 9'];
      await expect(host.must({ argv, timeoutMs: ANSWER_MS })).rejects.toMatchObject({
        code: 'COMMAND_FAILED',
        evidence: 'no such thing',
        retryable: false,
      });
    });

    it('show no secret in any process list: neither environment, input nor written files', async () => {
      const secret = `marker-${process.pid}-${kind.length}`;
      const decoy = `decoy-${process.pid}-${kind.length}`;
      const sampler = await sampleArgv([secret, decoy]);
      for (let round = 0; round < 2; round += 1) {
        const command = { argv: ['sleep', '0.05'], env: { KEY: secret }, stdin: secret, timeoutMs: ANSWER_MS };
        await host.runAll(Array.from({ length: 20 }, () => command));
        await host.writeFile(join(server.home, 'key'), secret, { mode: 0o600 });
      }
      await sampler.sees(decoy, () => host.run({ argv: ['sh', '-c', 'sleep 0.05', decoy], timeoutMs: ANSWER_MS }));
      const { seen } = await sampler.end();
      expect(Object.keys(seen)).toEqual([decoy]); // It does see what is in an argument.
    });
  });
}

describe('the connection to a host', () => {
  const withServer = async (
    options: Parameters<typeof startTestServer>[0],
    use: (server: TestServer) => Promise<void>,
  ) => {
    const server = await startTestServer(options);
    try {
      await use(server);
    } finally {
      await server.close();
    }
  };
  const hello = (ref: HostRef, from = drivers) =>
    from.host(ref).must({ argv: ['echo', 'hello'], timeoutMs: ANSWER_MS });

  it('is one for 100 calls at once, with at most 8 sessions on it', () =>
    withServer({ address: '127.81.3.1' }, async ({ ref, connections, sessionsAtOnce }) => {
      await Promise.all(Array.from({ length: 100 }, () => hello(ref)));
      expect(connections()).toBe(1);
      expect(sessionsAtOnce()).toBeLessThanOrEqual(8);
    }));

  it('serves all calls where the host allows two sessions only', () =>
    withServer({ address: '127.81.3.2', maxSessions: 2 }, async ({ ref }) => {
      const answers = await Promise.all(Array.from({ length: 12 }, () => hello(ref)));
      expect(new Set(answers)).toEqual(new Set(['hello\n']));
    }));

  it('is tried again when sshd drops it unheard', () =>
    withServer({ address: '127.81.3.3', resets: 3 }, async ({ ref, connections }) => {
      expect(await hello(ref)).toBe('hello\n');
      expect(connections()).toBe(4);
    }));

  it('to a host that takes it and says nothing is given up after its one limit', () =>
    withServer({ address: '127.81.3.20' }, async ({ ref }) => {
      let taken = 0;
      const silent = createServer((socket) => {
        taken += 1;
        socket.resume().on('error', () => socket.destroy());
      }).listen(0, '127.81.3.21');
      await once(silent, 'listening');
      const { port } = silent.address() as AddressInfo;
      const hasty = createDrivers({ runtimeDir: join(folder, 'hasty'), connectTimeoutMs: patient(1_000) });
      await expect(hello({ ...ref, address: '127.81.3.21', port }, hasty)).rejects.toMatchObject({
        code: 'HOST_UNREACHABLE',
        evidence: expect.stringContaining('timed out') as unknown,
      });
      expect(taken).toBe(1);
      await hasty.close();
      silent.close();
    }));

  it('is refused when the host shows another key than the spec has', () =>
    withServer({ address: '127.81.3.4' }, ({ ref }) =>
      withServer({ address: '127.81.3.5' }, async (other) => {
        const wrong = { ...ref, hostKey: other.ref.hostKey! };
        await expect(hello(wrong)).rejects.toMatchObject({ code: 'HOST_KEY_MISMATCH', retryable: false });
      }),
    ));

  it('is refused when the host key is unknown', () =>
    withServer({ address: '127.81.3.6' }, async ({ ref }) => {
      const { hostKey: known, ...unknown } = ref;
      expect(known).toMatch(/^ssh-ed25519 /);
      await expect(hello(unknown)).rejects.toMatchObject({ code: 'HOST_KEY_MISMATCH', retryable: false });
    }));

  it('is refused when the host does not know the key or the user', () =>
    withServer({ address: '127.81.3.7' }, async ({ ref }) => {
      await expect(hello({ ...ref, user: 'mallory' })).rejects.toMatchObject({
        code: 'HOST_LOGIN_REFUSED',
        retryable: false,
      });
    }));

  it('cannot be made where nothing listens, and that may pass', () =>
    withServer({ address: '127.81.3.8' }, async ({ ref }) => {
      await expect(hello({ ...ref, port: 1 })).rejects.toMatchObject({ code: 'HOST_UNREACHABLE', retryable: true });
    }));

  it('goes through a bastion with its own user, key and host key', () =>
    withServer({ address: '127.81.3.9' }, (bastion) =>
      withServer({ address: '127.81.3.10' }, async (server) => {
        const { address, port, user, hostKey, ssh } = bastion.ref;
        const jump = [{ address, port, user, hostKey: hostKey!, identityFile: ssh.identityFile! }];
        expect(await hello({ ...server.ref, ssh: { ...server.ref.ssh, jump } })).toBe('hello\n');
        expect(bastion.connections()).toBe(1);
        const wrong = [{ ...jump[0]!, hostKey: server.ref.hostKey! }];
        const through = { ...server.ref, name: 'other', ssh: { ...server.ref.ssh, jump: wrong } };
        await expect(hello(through)).rejects.toMatchObject({ code: 'HOST_KEY_MISMATCH' });
      }),
    ));

  it('ends when idle, and is made again', () =>
    withServer({ address: '127.81.3.11' }, async ({ ref, connections }) => {
      const run = await mkdtemp(join(tmpdir(), 'tandem-idle-'));
      const brief = createDrivers({ runtimeDir: join(run, 'r'), idleMs: 50 });
      await hello(ref, brief);
      await until('no master', () => masters(run).length === 0);
      expect(await hello(ref, brief)).toBe('hello\n');
      expect(connections()).toBe(2);
      await brief.close();
      expect(processesWith(join(run, 'r'))).toEqual([]);
      expect(await readdir(join(run, 'r'))).toEqual([]);
      await rm(run, { recursive: true });
    }));

  it('left by a process that is gone is swept by the next', () =>
    withServer({ address: '127.81.3.12' }, async ({ ref }) => {
      const run = await mkdtemp(join(tmpdir(), 'tandem-sweep-'));
      const stale = join(run, 'r', '999999999-abcdef');
      await mkdir(stale, { recursive: true });
      await chmod(join(run, 'r'), 0o700);
      await writeFile(join(stale, 'key-1.m'), '');
      const next = createDrivers({ runtimeDir: join(run, 'r') });
      await hello(ref, next);
      expect(await readdir(join(run, 'r'))).not.toContain('999999999-abcdef');
      await next.close();
      await rm(run, { recursive: true });
    }));

  it('ends with the process that made it, however that died: its stdin ends', async () => {
    const file = join(folder, 'owned');
    const owner = spawn('/bin/sh', ['-c', OWNED, 'sh', ...waiting(file)], { stdio: ['pipe', 'ignore', 'ignore'] });
    const [master] = await pidsIn(file);
    owner.stdin.destroy();
    await gone([master!, owner.pid!]);
    process.kill((await pidsIn(file))[1]!); // ssh has no such child; the stand-in's is ours to end.
  });

  it('is refused a folder for its sockets that others may enter', () =>
    withServer({ address: '127.81.3.13' }, async ({ ref }) => {
      const run = await mkdtemp(join(tmpdir(), 'tandem-open-'));
      await chmod(run, 0o755);
      await expect(hello(ref, createDrivers({ runtimeDir: run }))).rejects.toMatchObject({ code: 'USAGE' });
      await rm(run, { recursive: true });
    }));
});

describe('a host where commands run as root by sudo', () => {
  // A stand-in that asks for a password as sudo does: -n refuses, -S reads it from stdin.
  const SUDO = `#!/bin/sh
[ "$1" = -n ] && [ ! -e "$HOME/nopasswd" ] && { echo "sudo: a password is required" >&2; exit 1; }
[ "$1" = -n ] && shift
if [ "$1" = -k ]; then
  shift 4
  for try in 1 2 3; do
    IFS= read -r password
    [ "$password" = "$(cat "$HOME/password")" ] && break
    echo "Sorry, try again." >&2
    [ $try = 3 ] && { echo "sudo: 3 incorrect password attempts" >&2; exit 1; }
  done
fi
BECAME=root exec "$@"
`;
  const whoami = { argv: ['sh', '-c', 'echo "$BECAME"'], timeoutMs: ANSWER_MS };
  let server: TestServer;
  beforeAll(async () => {
    server = await startTestServer({ address: '127.81.4.1', programs: { sudo: SUDO } });
    await writeFile(join(server.home, 'password'), 'op3n $esame\n');
  });
  afterAll(() => server.close());
  const asRoot = (name: string, becomePassword?: { fromEnv: string }): HostRef => ({
    ...server.ref,
    name,
    ssh: { ...server.ref.ssh, become: 'sudo', ...(becomePassword ? { becomePassword } : {}) },
  });

  it('gives sudo the password on its stdin only when it asks, and tells it to who keeps secrets out of texts', async () => {
    process.env['TANDEM_TEST_SUDO'] = 'op3n $esame';
    const host = drivers.host(asRoot('with-password', { fromEnv: 'TANDEM_TEST_SUDO' }));
    expect(await host.must(whoami)).toBe('root\n');
    expect(await host.must({ ...whoami, argv: ['cat'], stdin: 'input' })).toBe('input');
    expect(resolved).toContain('op3n $esame');
  });

  it('is refused without a password or with a wrong one', async () => {
    process.env['TANDEM_TEST_SUDO_WRONG'] = 'wrong';
    for (const ref of [asRoot('none'), asRoot('wrong', { fromEnv: 'TANDEM_TEST_SUDO_WRONG' })]) {
      await expect(drivers.host(ref).run(whoami)).rejects.toMatchObject({
        code: 'HOST_LOGIN_REFUSED',
        retryable: false,
      });
    }
  });

  it('needs no password where sudo needs none, and the home stays that of the user who logs in', async () => {
    await writeFile(join(server.home, 'nopasswd'), '');
    const host = drivers.host(asRoot('free'));
    expect(await host.must(whoami)).toBe('root\n');
    expect(await host.expand('~/x')).toBe(join(server.home, 'x'));
  });
});
