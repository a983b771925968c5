import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDrivers } from '../../src/drivers/index.ts';
import { takePicture } from '../../src/drivers/picture.ts';
import type { Drivers, Runtime, UnitSpec } from '../../src/drivers/types.ts';
import { patientSeconds } from '../support/patience.ts';
import { alive, processesWith, textOf, until } from '../support/processes.ts';
import { startTestServer, type TestServer } from '../support/ssh-server.ts';

let folder: string;
let drivers: Drivers;
let server: TestServer;
let jobs: Runtime;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-jobs-'));
  drivers = createDrivers({ runtimeDir: join(folder, 'r') });
  server = await startTestServer({ address: '127.81.7.1' });
  jobs = drivers.host(server.ref).runtime('process');
});
afterEach(async () => {
  for (const { name } of await jobs.find({})) await jobs.remove(name);
});
afterAll(async () => {
  await drivers.close();
  await server.close();
  await rm(folder, { recursive: true });
});

const path = (...parts: string[]) => join(server.home, 'state', 'jobs', ...parts);
const unit = (name: string, script: string, more: Partial<UnitSpec> = {}): UnitSpec => ({
  name,
  labels: { 'tandem.cluster': 'qwen', 'tandem.role': 'decode' },
  argv: ['sh', '-c', script],
  env: {},
  stopTimeoutSeconds: 5,
  ...more,
});
const state = async (name: string) => (await jobs.find({})).find((found) => found.name === name);
const ended = (name: string) => until(`${name} ended`, async () => (await state(name))?.running === false);

describe('named jobs', () => {
  it('outlive the driver, are found by labels, and are not started again', async () => {
    const first = createDrivers({ runtimeDir: join(folder, 'r') });
    const spec = unit('outlives', 'echo started; sleep 600');
    const started = await first.host(server.ref).runtime('process').start(spec);
    await first.close();
    expect(alive(started.pid!)).toBe(true);
    const again = await jobs.start(spec);
    expect(again).toEqual(started);
    expect(await jobs.find({ 'tandem.role': 'decode' })).toEqual([started]);
    expect(await jobs.find({ 'tandem.role': 'prefill' })).toEqual([]);
    expect(started).toMatchObject({ running: true, argv: spec.argv, labels: spec.labels });
    expect(await jobs.logs('outlives', { tailLines: 10 })).toBe('started\n');
  });

  it('start once when many drivers start them at the same time', async () => {
    const others = Array.from({ length: 4 }, () => createDrivers({ runtimeDir: join(folder, 'r') }));
    for (const name of ['raced-0', 'raced-1', 'raced-2', 'raced-3']) {
      const spec = unit(name, 'echo started; exec sleep 600');
      const starts = [...others, ...others, ...others].map((one) =>
        one.host(server.ref).runtime('process').start(spec),
      );
      expect(new Set((await Promise.all(starts)).map(({ pid }) => pid)).size).toBe(1);
      expect(await jobs.logs(name, { tailLines: 10 })).toBe('started\n');
    }
    await Promise.all(others.map((one) => one.close()));
  });

  it('that ended are not started again, and tell their exit code', async () => {
    await jobs.start(unit('short', 'echo out; echo err >&2; exit 7'));
    await ended('short');
    expect(await jobs.start(unit('short', 'echo out; echo err >&2; exit 7'))).toMatchObject({
      running: false,
      exitCode: 7,
    });
    expect(await jobs.logs('short', { tailLines: 10 })).toBe('out\nerr\n');
  });

  it('whose program is missing end with 127 and say so', async () => {
    const state = await jobs.start(unit('missing', '', { argv: ['no-such-program'] }));
    await ended('missing');
    expect(state.name).toBe('missing');
    expect(await jobs.find({})).toMatchObject([{ running: false, exitCode: 127 }]);
    expect(await jobs.logs('missing', { tailLines: 5 })).toContain('no-such-program');
  });

  it('of other labels under the same name are a conflict and stay', async () => {
    const { pid } = await jobs.start(unit('taken', 'sleep 600'));
    const other = unit('taken', 'sleep 600', { labels: { 'tandem.cluster': 'llama' } });
    await expect(jobs.start(other)).rejects.toMatchObject({ code: 'NAME_CONFLICT', retryable: false });
    expect(alive(pid!)).toBe(true);
  });

  it('are stopped by TERM with all they started, and restarted once', async () => {
    const { pid } = await jobs.start(unit('stopped', 'sleep 600 & echo $!; wait'));
    await until('the child', () => /\d+\n/.test(textOf(path('stopped', 'output'))));
    const child = Number(textOf(path('stopped', 'output')));
    await jobs.stop('stopped', { timeoutSeconds: patientSeconds(10) });
    expect([pid!, child].filter(alive)).toEqual([]);
    expect(await state('stopped')).toMatchObject({ running: false, exitCode: 143 });
    await Promise.all(Array.from({ length: 8 }, () => jobs.restart('stopped')));
    expect(await state('stopped')).toMatchObject({ running: true });
    const starts = () => textOf(path('stopped', 'output')).match(/^\d+$/gm) ?? []; // sh says how its child ended, too.
    await until('the restart', () => starts().length > 1);
    expect(starts()).toHaveLength(2);
  });

  it('that ignore TERM are killed after the limit', async () => {
    const { pid } = await jobs.start(
      unit('stubborn', 'trap "" TERM; echo up; n=600; while [ $((n-=1)) -gt 0 ]; do sleep 1; done'),
    );
    await until('it is up', () => textOf(path('stubborn', 'output')) === 'up\n');
    await jobs.stop('stubborn', { timeoutSeconds: 1 });
    expect(alive(pid!)).toBe(false);
    expect(await state('stubborn')).toMatchObject({ running: false, exitCode: 137 });
  });

  it.each([
    ['its group', 'sleep 600 & echo $!; wait'],
    ['another session', 'setsid sleep 600 & echo $!; wait'],
  ])(
    'are ended with what outlived first process and supervisor, in %s; until then the picture has it',
    async (_, script) => {
      // As a sglang::scheduler whose engine died while it loaded.
      const name = 'tandem-qwen-decode-0-1';
      const { pid } = await jobs.start(unit(name, script));
      await until('the child', () => /\d+\n/.test(textOf(path(name, 'output'))));
      const child = Number(textOf(path(name, 'output')));
      const supervisor = Number(/^PPid:\s+(\d+)$/m.exec(textOf(`/proc/${pid}/status`))![1]);
      for (const each of [supervisor, pid!]) process.kill(each, 'SIGKILL');
      await ended(name);
      const left = async () => {
        const scope = {
          cluster: 'qwen',
          installation: 'i',
          docker: false,
          ports: [],
          modelPath: '/no/model',
          images: [],
        };
        return (await takePicture(drivers.host(server.ref), scope)).things.process ?? [];
      };
      expect(await left()).toEqual([expect.stringMatching(`^${child} sleep, of ${name} `)]);
      await jobs.stop(name, { timeoutSeconds: 5 });
      expect(alive(child)).toBe(false);
      expect(await left()).toEqual([]);
    },
  );

  it('are removed with their folder, running or not, and removing or stopping what is gone is fine', async () => {
    const { pid } = await jobs.start(unit('removed', 'sleep 600'));
    await jobs.remove('removed');
    expect(alive(pid!)).toBe(false);
    expect(await readdir(path())).toEqual([]);
    await jobs.remove('removed');
    await jobs.stop('removed', { timeoutSeconds: 1 });
    await expect(jobs.restart('removed')).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
    await expect(jobs.logs('removed', { tailLines: 1 })).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
  });

  it('that are removed leave no shared memory of their own, and no other’s is touched', async () => {
    const mark = `sglang_loads_${process.pid}`;
    const hold = (name: string) => unit(name, `exec 3>"/dev/shm/${mark}_${name}"; echo up; exec sleep 600`);
    const seen = async () => (await readdir('/dev/shm')).filter((name) => name.includes(mark)).toSorted();
    await writeFile(`/dev/shm/other_${mark}`, '');
    try {
      await Promise.all(['gone', 'runs'].map((name) => jobs.start(hold(name))));
      await until('both are there', async () => (await seen()).length === 3);
      await jobs.remove('gone');
      expect(await seen()).toEqual([`other_${mark}`, `${mark}_runs`]);
      await jobs.remove('runs');
      expect(await seen()).toEqual([`other_${mark}`]);
    } finally {
      await rm(`/dev/shm/other_${mark}`);
    }
  });

  it('are not running when their pid is another process’s or of before a reboot', async () => {
    const { pid } = await jobs.start(unit('reused', 'sleep 600'));
    const written = await readFile(path('reused', '0', 'pid'), 'utf8');
    const [, start, boot] = written.trim().split(' ');
    for (const other of [`${process.pid} ${start} ${boot}`, `${pid} 1 ${boot}`, `${pid} ${start} other-boot`]) {
      await writeFile(path('reused', '0', 'pid'), `${other}\n`);
      expect(await state('reused')).toMatchObject({ running: false });
      await jobs.stop('reused', { timeoutSeconds: 1 });
      expect(alive(pid!)).toBe(true); // What is not ours is not ended.
    }
    await writeFile(path('reused', '0', 'pid'), written);
    expect(await state('reused')).toMatchObject({ running: true, pid });
  });

  it('get arguments and environment literally, and show none of it to others', async () => {
    const secret = `it's $(secret) "${process.pid}"\nsecond line\n`;
    const argv = ['sh', '-c', 'printf "%s|" "$@" "$KEY"; sleep 600', 'sh', "a'b", '$(x)', '', 'ends\n'];
    await jobs.start(unit('literal', '', { argv, env: { KEY: secret } }));
    const wanted = ["a'b", '$(x)', '', 'ends\n', secret, ''].join('|');
    await until('it spoke', () => textOf(path('literal', 'output')) === wanted);
    expect(processesWith(secret)).toEqual([]);
    for (const file of await readdir(path('literal'))) {
      expect((await stat(path('literal', file))).mode & 0o077).toBe(0);
    }
  });
});
