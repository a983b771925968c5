import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDrivers } from '../../src/drivers/index.ts';
import type { Drivers, Host, Leases } from '../../src/drivers/types.ts';
import { startTestServer, type TestServer } from '../support/ssh-server.ts';

const GPUS = ['0000:05:00.0', '0000:15:00.0', '0000:25:00.0', '0000:35:00.0-1'];
const ours = { cluster: 'qwen', installation: 'run-1', deployment: 3 };
const theirs = { cluster: 'llama', installation: 'run-2', deployment: 1 };

let folder: string;
let drivers: Drivers;
let other: Drivers;
let server: TestServer;
let host: Host;
let leases: Leases;
let dir: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-leases-'));
  drivers = createDrivers({ runtimeDir: join(folder, 'r') });
  other = createDrivers({ runtimeDir: join(folder, 'r') });
  server = await startTestServer({ address: '127.81.6.1' });
});
afterAll(async () => {
  await Promise.all([drivers.close(), other.close()]);
  await server.close();
  await rm(folder, { recursive: true });
});
beforeEach(() => {
  dir = join(server.home, `leases-${Math.random()}`, 'deeper');
  host = drivers.host({ ...server.ref, leaseDir: dir });
  leases = host.leases;
});
const pcis = async () => (await leases.list()).map(({ pci, cluster }) => `${pci} ${cluster}`);

const asUser = process.getuid?.() === 0 ? it.skip : it; // root writes everywhere.

describe('GPU leases', () => {
  it('are one file each, in a folder that all teams may write', async () => {
    await leases.take(GPUS, ours);
    expect((await stat(dir)).mode & 0o7777).toBe(0o2775);
    expect((await readdir(dir)).toSorted()).toEqual(GPUS);
    expect(JSON.parse(await readFile(join(dir, GPUS[0]!), 'utf8'))).toMatchObject(ours);
    const [first] = await leases.list();
    expect(first).toMatchObject({ pci: GPUS[0], ...ours });
    expect(Date.parse(first!.takenAt)).not.toBeNaN();
  });

  it('held by another are named with holder, deployment and time, and none of the rest is taken', async () => {
    await leases.take([GPUS[2]!], theirs);
    await expect(leases.take(GPUS, ours)).rejects.toMatchObject({
      code: 'LEASE_HELD',
      message: expect.stringMatching(
        /0000:25:00\.0 is leased by cluster llama, deployment 1 .* since \d{4}-/,
      ) as unknown,
      retryable: false,
    });
    expect(await pcis()).toEqual([`${GPUS[2]} llama`]);
  });

  it('of an earlier deployment of one’s own count as taken and stay as they are', async () => {
    await leases.take(GPUS.slice(0, 1), ours);
    await leases.take(GPUS, { ...ours, deployment: 4 });
    expect((await leases.list()).map(({ deployment }) => deployment)).toEqual([3, 4, 4, 4]);
  });

  it('taken before a refusal are given back, one’s own of before are not', async () => {
    await leases.take([GPUS[0]!], ours);
    await leases.take([GPUS[3]!], theirs);
    await expect(leases.take(GPUS, { ...ours, deployment: 4 })).rejects.toMatchObject({ code: 'LEASE_HELD' });
    expect(await pcis()).toEqual([`${GPUS[0]} qwen`, `${GPUS[3]} llama`]);
  });

  it('are released only by their owner, and only of the deployment that is named', async () => {
    await leases.take([GPUS[0]!], ours);
    await leases.take([GPUS[1]!], { ...ours, deployment: 33 });
    await leases.take([GPUS[2]!], theirs);
    await leases.take([GPUS[3]!], { ...ours, installation: 'run-11' });
    await leases.release(GPUS, ours);
    expect(await pcis()).toEqual([`${GPUS[1]} qwen`, `${GPUS[2]} llama`, `${GPUS[3]} qwen`]);
    await leases.release(GPUS, { cluster: 'qwen', installation: 'run-1' });
    await leases.release(GPUS, { cluster: 'qwen', installation: 'run-1' });
    expect(await pcis()).toEqual([`${GPUS[2]} llama`, `${GPUS[3]} qwen`]);
  });

  it('go to one of two drivers whole when both take overlapping sets at once', async () => {
    const elsewhere = other.host({ ...server.ref, leaseDir: dir }).leases;
    for (let round = 0; round < 6; round += 1) {
      const settled = await Promise.allSettled([
        leases.take(GPUS.slice(0, 3), ours),
        elsewhere.take(GPUS.slice(1, 4).toReversed(), theirs),
      ]);
      const won = settled[0].status === 'fulfilled';
      expect(settled.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
      expect(await pcis()).toEqual(
        won ? GPUS.slice(0, 3).map((pci) => `${pci} qwen`) : GPUS.slice(1, 4).map((pci) => `${pci} llama`),
      );
      await leases.release(GPUS, ours);
      await leases.release(GPUS, theirs);
    }
  });

  it('that nobody can read hold their GPU all the same', async () => {
    await mkdir(dir, { recursive: true });
    await writeFile(join(dir, GPUS[0]!), 'rubbish');
    expect(await pcis()).toEqual([`${GPUS[0]} unknown`]);
    await expect(leases.take(GPUS, ours)).rejects.toMatchObject({ code: 'LEASE_HELD' });
  });

  it('without a folder are none', async () => {
    expect(await leases.list()).toEqual([]);
    await leases.release(GPUS, ours);
  });

  it('name the one command for the administrator where the folder cannot be made', async () => {
    await writeFile(join(server.home, 'file'), '');
    const barred = drivers.host({ ...server.ref, leaseDir: '~/file/leases' }).leases;
    await expect(barred.take(GPUS, ours)).rejects.toMatchObject({
      code: 'LEASE_DIR_MISSING',
      remedy: expect.stringMatching(/sudo install -d -m 2775 -g \S+ .*\/file\/leases$/) as unknown,
    });
  });

  asUser('name it too where the folder may not be written', async () => {
    await mkdir(dir, { recursive: true });
    await chmod(dir, 0o555);
    await expect(leases.take(GPUS, ours)).rejects.toMatchObject({ code: 'LEASE_DIR_MISSING' });
  });
});

describe('breaking leases', () => {
  const note = { time: '2026-11-24T10:00:00.000Z', actor: 'ada@ops', reason: 'it\'s "gone"; $(rm -rf /) – für immer' };
  const broken = async () =>
    (await readFile(join(dir, '.broken'), 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);

  it('removes those that were seen, whoever holds them, and keeps who did it, when, why and what it was', async () => {
    await leases.take(GPUS.slice(0, 2), theirs);
    await leases.take(GPUS.slice(2), ours);
    const seen = await leases.list();
    expect(await host.leases.breakHeld(seen.slice(0, 2), note)).toEqual(seen.slice(0, 2));
    expect(await pcis()).toEqual(GPUS.slice(2).map((pci) => `${pci} qwen`));
    expect(await broken()).toEqual(seen.slice(0, 2).map((lease) => ({ ...note, lease })));
  });

  it('a second time with the same note says the same and writes nothing twice', async () => {
    await leases.take(GPUS.slice(0, 2), theirs);
    const seen = await leases.list();
    await host.leases.breakHeld(seen.slice(0, 1), note);
    expect(await host.leases.breakHeld(seen, note)).toEqual(seen);
    expect(await host.leases.breakHeld(seen, note)).toEqual(seen);
    expect(await broken()).toHaveLength(2);
  });

  it('after an attempt that wrote it down and died removes it, and has it written once', async () => {
    await leases.take(GPUS.slice(0, 1), theirs);
    const seen = await leases.list();
    await writeFile(join(dir, '.broken'), `${JSON.stringify({ ...note, lease: seen[0] })}\n`);
    expect(await host.leases.breakHeld(seen, note)).toEqual(seen);
    expect(await pcis()).toEqual([]);
    expect(await broken()).toHaveLength(1);
  });

  it.each<[string, Partial<typeof theirs>]>([
    ['by another cluster', { cluster: 'mixtral' }],
    ['by another installation', { installation: 'run-22' }],
    ['by another deployment', { deployment: 11 }],
    ['by the same one at another time', {}],
  ])('leaves a lease alone that was taken anew %s since it was seen', async (_, owner) => {
    await leases.take(GPUS.slice(0, 1), theirs);
    const seen = await leases.list();
    await rm(join(dir, GPUS[0]!));
    await leases.take(GPUS.slice(0, 1), { ...theirs, ...owner });
    const now = await leases.list();
    const takenAt =
      'cluster' in owner || 'installation' in owner || 'deployment' in owner ? now[0]!.takenAt : note.time;
    expect(await host.leases.breakHeld([{ ...seen[0]!, takenAt }], note)).toEqual([]);
    expect(await leases.list()).toEqual(now);
    expect(await readdir(dir)).toEqual([GPUS[0]]);
  });

  it('removes also what nobody can read, and does not take the book of broken leases for one', async () => {
    await mkdir(dir, { recursive: true });
    await writeFile(join(dir, GPUS[0]!), 'rubbish\nof two lines\n');
    await writeFile(join(dir, GPUS[1]!), '');
    const seen = await leases.list();
    expect(await host.leases.breakHeld(seen, note)).toEqual(seen);
    expect(await leases.list()).toEqual([]);
    await leases.take(GPUS, ours);
    expect(await pcis()).toHaveLength(4);
  });

  it('without a folder, or of nothing, breaks nothing', async () => {
    const lease = { pci: GPUS[0]!, ...theirs, takenAt: note.time };
    await expect(host.leases.breakHeld([lease], note)).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
    await mkdir(dir, { recursive: true });
    expect(await host.leases.breakHeld([lease], note)).toEqual([]);
    expect(await readdir(dir)).toEqual([]);
  });

  asUser('that may not be written down are not broken', async () => {
    await leases.take(GPUS.slice(0, 1), theirs);
    const seen = await leases.list();
    await writeFile(join(dir, '.broken'), '', { mode: 0o444 });
    await expect(host.leases.breakHeld(seen, note)).rejects.toMatchObject({ code: 'COMMAND_FAILED' });
    expect(await leases.list()).toEqual(seen);
  });
});
