import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { alive, processesWith, textOf, until } from './processes.ts';

/** What runs the tests, seen from outside: what a run leaves is named, ended and a failure, whatever ended the run. */
const ROOT = join(import.meta.dirname, '..', '..');
const GUARD = join(import.meta.dirname, 'guard.py');
const JEST = join(ROOT, 'node_modules', '.bin', 'jest');
/** Seconds of a `sleep` that no other process of this machine has. */
const LONG = `700.${process.pid}`;
/** What holds the guard's output open would hold up this test. */
const SILENT = '>/dev/null 2>&1 </dev/null';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'guard-'));
});
afterEach(() => sleeping().forEach((pid) => process.kill(pid, 'SIGKILL')));
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Guarded {
  readonly child: ChildProcess;
  /** What it has printed so far. */
  readonly said: () => string;
  readonly ended: Promise<{ readonly exitCode: number | null; readonly lines: readonly string[] }>;
}

/** Runs a command under the guard, in a process group of its own, as a terminal's is. */
function guarded(command: readonly string[], settleSeconds = 1): Guarded {
  const { TANDEM_TEST_RUN: _, TANDEM_TEST_SUITE: __, ...env } = process.env;
  const child = spawn('python3', [GUARD, ...command], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...env,
      TMPDIR: folder,
      NODE_OPTIONS: '--experimental-vm-modules --no-warnings',
      TANDEM_GUARD_SETTLE: String(settleSeconds),
    },
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (said += bytes.toString()));
  const ended = once(child, 'close').then(([exitCode]) => ({
    exitCode: exitCode as number | null,
    lines: said
      .trimEnd()
      .split('\n')
      .filter((line) => !/^took \d+ s, of the CPU \d+ s$/.test(line)),
  }));
  return { child, said: () => said, ended };
}

const sh = (script: string, settleSeconds?: number) => guarded(['sh', '-c', script], settleSeconds).ended;

/** A project of its own, whose one suite is `text`; runs Jest on it with the environment and reporter of these tests. */
async function suite(name: string, text: string): Promise<readonly string[]> {
  const root = join(folder, name);
  await mkdir(root);
  await writeFile(join(root, 'a.test.mjs'), text);
  const support = (file: string) => JSON.stringify(join(import.meta.dirname, file));
  await writeFile(
    join(root, 'jest.config.mjs'),
    `export default {
      testMatch: ['<rootDir>/*.test.mjs'], transform: {}, watchman: false, cacheDirectory: '<rootDir>/cache',
      testEnvironment: ${support('environment.mjs')}, reporters: ['default', ${support('summary-reporter.mjs')}],
    };`,
  );
  return ['--counts', JEST, '--rootDir', root, '--config', join(root, 'jest.config.mjs')];
}

const LEAVES = `
  import { spawn } from 'node:child_process';
  import { mkdtempSync } from 'node:fs';
  import { tmpdir } from 'node:os';
  import { join } from 'node:path';
  mkdtempSync(join(tmpdir(), 'kept-'));
  spawn('sleep', ['${LONG}'], { detached: true, stdio: 'ignore', env: {} }).unref();
`;

const NOTHING = 'nothing is left of the tests: no process, no port, no folder';
const sleeping = () => processesWith(LONG).filter((pid) => textOf(`/proc/${pid}/comm`) === 'sleep\n');
/** Names of the folders that guards made here. */
const rooms = async () => (await readdir(folder)).filter((name) => name.startsWith('tt-'));

describe('a guarded run', () => {
  it('that leaves nothing has the exit code of its command, also where something ends a moment after it', async () => {
    expect(await sh('(sleep 0.3 &); exit 0', 60)).toEqual({ exitCode: 0, lines: [NOTHING] });
    expect(await sh('exit 7')).toEqual({ exitCode: 7, lines: [NOTHING] });
  });

  it('that leaves a process fails, names and ends it, without an environment and in another session too', async () => {
    const { exitCode, lines } = await sh(`cd /; env -i setsid sleep ${LONG} ${SILENT} & exit 0`);
    expect([exitCode, lines]).toEqual([1, [expect.stringMatching(`^left: process \\d+ in /: sleep ${LONG}$`)]]);
    expect(sleeping()).toEqual([]);
  });

  it('that leaves a program which listens names its port', async () => {
    const server = `require('net').createServer().listen(0, '127.0.0.1', () => require('fs').writeFileSync('${folder}/up', ''))`;
    const { exitCode, lines } = await sh(
      `setsid ${process.execPath} -e "${server}" ${SILENT} & until [ -e ${folder}/up ]; do sleep 0.05; done`,
    );
    expect([exitCode, lines]).toEqual([1, [expect.stringMatching(/^left: process .*, listens on 127\.0\.0\.1:\d+$/)]]);
  });

  it('that leaves a folder or a file where temporary ones are fails, names and deletes them', async () => {
    const { exitCode, lines } = await sh('mkdir $TMPDIR/kept; touch $TMPDIR/kept/it $TMPDIR/file');
    expect([exitCode, lines]).toEqual([
      1,
      [expect.stringMatching(/^left: file .*\/file$/), expect.stringMatching(/^left: folder .*\/kept with it$/)],
    ]);
    expect(await rooms()).toEqual([]);
  });

  it('ends nobody else’s process, and deletes nobody else’s folder', async () => {
    const other = spawn('sleep', [LONG], { stdio: 'ignore' });
    const theirs = await mkdtemp(join(folder, 'tt-'));
    try {
      expect((await sh(`setsid sleep ${LONG} ${SILENT} & exit 0`)).exitCode).toBe(1);
      expect([sleeping(), await rooms()]).toEqual([[other.pid], [theirs.split('/').at(-1)]]);
    } finally {
      other.kill('SIGKILL');
      await rm(theirs, { recursive: true });
    }
  });
});

describe('a guarded run of Jest', () => {
  it('counts a suite that cannot run as failed, and says the numbers last', async () => {
    const two = await suite('broken', `it('passes', () => {}); it['skip']('waits', () => {});`);
    await writeFile(join(folder, 'broken', 'b.test.mjs'), `throw new Error('no suite');`);
    const { exitCode, lines } = await guarded(two, 60).ended;
    expect([exitCode, lines.slice(-3)]).toEqual([1, [NOTHING, 'skipped: waits', '1 passed, 1 failed, 1 skipped']]);
  });

  it('that cannot begin says so by the numbers', async () => {
    const [counts, jest] = await suite('unread', '');
    const { exitCode, lines } = await guarded([counts!, jest!, '--config', '/no/such/file'], 60).ended;
    expect([exitCode, lines.at(-1)]).toEqual([1, '0 passed, 1 failed, 0 skipped']);
  });

  it('whose suite passes and leaves something fails, and says whose it is', async () => {
    const { exitCode, lines } = await guarded(await suite('leaves', `${LEAVES} it('passes', () => {});`)).ended;
    expect([exitCode, lines.at(-1)]).toEqual([1, '1 passed, 1 failed, 0 skipped']);
    expect(lines.filter((line) => line.startsWith('left: '))).toEqual([
      expect.stringMatching(`^left: process .*: sleep ${LONG}`),
      expect.stringMatching(/^left: folder .* of .*leaves\/a\.test\.mjs with kept-\w+$/),
    ]);
    expect(sleeping()).toEqual([]);
  });

  it('ends what a failed suite left as soon as that has failed', async () => {
    const text = `${LEAVES.replace('env: {}', 'env: process.env')} it('fails', () => { throw new Error('so it is'); });`;
    const { exitCode, lines } = await guarded(await suite('fails', text), 60).ended;
    expect([exitCode, lines.slice(-2)]).toEqual([1, [NOTHING, '0 passed, 1 failed, 0 skipped']]);
  });

  it.each([
    ['SIGINT', 'of the whole group, as Ctrl-C in a terminal is', 130, (pid: number) => -pid],
    ['SIGTERM', 'of the guard alone, as a CI system’s is', 143, (pid: number) => pid],
  ] as const)('that is interrupted in the middle by %s %s leaves nothing', async (signal, _how, code, target) => {
    const text = `${LEAVES} it('hangs', () => new Promise((resolve) => setTimeout(resolve, 1e8)));`;
    const run = guarded(await suite(signal, text));
    await until('its process runs', () => sleeping().length === 1);
    process.kill(target(run.child.pid!), signal);
    const { exitCode, lines } = await run.ended;
    expect([exitCode, ...lines.slice(-2)]).toEqual([code, NOTHING, '0 passed, 1 failed, 0 skipped']);
    expect([sleeping(), await rooms()]).toEqual([[], []]);
    expect(alive(run.child.pid!)).toBe(false);
  });

  it('whose reader has gone, as a closed terminal has, leaves nothing', async () => {
    const text = `${LEAVES} it('hangs', () => new Promise((resolve) => setTimeout(resolve, 1e8)));`;
    const run = guarded(await suite('unheard', text));
    await until('its process runs', () => sleeping().length === 1);
    run.child.stdout!.destroy();
    run.child.stderr!.destroy();
    process.kill(run.child.pid!, 'SIGHUP');
    const [exitCode] = (await once(run.child, 'exit')) as [number];
    expect([exitCode, sleeping(), await rooms()]).toEqual([129, [], []]);
  });

  it('that is killed leaves nothing', async () => {
    const text = `${LEAVES} it('dies', () => process.kill(process.pid, 'SIGKILL'));`;
    const { exitCode, lines } = await guarded(await suite('killed', text)).ended;
    expect(exitCode).toBe(137);
    expect(lines.filter((line) => line.startsWith('left: '))).toHaveLength(2);
    expect([sleeping(), await rooms()]).toEqual([[], []]);
  });
});
