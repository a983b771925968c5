import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { createDrivers } from '../../src/drivers/index.ts';
import type { Drivers } from '../../src/drivers/types.ts';
import { openWeights } from '../../src/drivers/weights/stage.ts';
import type { HostRef } from '../../src/plan/types.ts';
import { eventually } from '../support/processes.ts';
import { simulate, type TestSimulation } from '../support/simulation.ts';
import { FIRST_SHARD, serveFiles, serveHub, tinyModel, type Server } from '../support/weights-source.ts';

// The whole way: the product's SSH driver and named jobs, on a simulated host with its own PATH, df included.
const OWNER = { cluster: 'qwen-pd', installation: 'run-1', deployment: 3 };
const PATH = '~/models/acme/tiny/main';
const weights = openWeights();
let sim: TestSimulation;
let drivers: Drivers;
let servers: Server[];
beforeEach(async () => {
  sim = await simulate({ hosts: [{ name: 'gpu-a', address: '127.85.20.1', disk: { sizeGiB: 100, freeGiB: 50 } }] });
  drivers = newDrivers();
  servers = [];
});
afterEach(async () => {
  await drivers.close();
  await sim.stop();
  await Promise.all(servers.map((server) => server.close()));
});

/** As another Temporal worker has them. */
let workers = 0;
const newDrivers = () => createDrivers({ runtimeDir: join(sim.dir, `r${(workers += 1)}`) });

function host(of = drivers) {
  const { address, port, user, hostKey } = sim.state.hosts[0]!;
  const { identityFile, knownHostsFile } = sim.state;
  const ssh: HostRef['ssh'] = { identityFile, knownHostsFile, jump: [], become: 'none' };
  const ref: HostRef = {
    name: 'gpu-a',
    address,
    port,
    user,
    hostKey,
    fabricAddress: address,
    stateDir: '~/.tandem',
    leaseDir: '~/leases',
    ssh,
  };
  return of.host(ref);
}

interface Options {
  readonly endpoint?: string;
  readonly on?: ReturnType<typeof host>;
  /** Called while the copy runs. */
  readonly progress?: () => void;
}

function stage(source: string, { endpoint, on = host(), progress = () => undefined }: Options = {}) {
  const access = endpoint === undefined ? {} : { endpoint };
  const request = { source, path: PATH, copy: true, owner: OWNER, ...access };
  return weights.stage(on, request, { signal: new AbortController().signal, progress });
}

const jobs = async () => await readdir(await host().expand('~/.tandem/jobs')).catch(() => []);

describe('weights on a host that is reached by SSH', () => {
  it('are copied from a folder there, used again, and stay when the copy is undone', async () => {
    const staged = await stage('file://~/share/tiny-chat');
    expect(staged).toMatchObject({ reused: false });
    expect(await stage('file://~/share/tiny-chat')).toEqual({ ...staged, reused: true });
    const path = await host().expand(PATH);
    expect(await weights.drop(host(), PATH, OWNER)).toEqual({ kept: { path, bytes: staged.bytes } });
    expect(await readFile(join(path, 'config.json'))).toEqual(
      await readFile(await host().expand('~/share/tiny-chat/config.json')),
    );
    expect(await jobs()).toEqual([]);
  });

  it('go on coming while no Temporal worker is there, and the next one finds them', async () => {
    const model = tinyModel();
    let go: (() => void) | undefined;
    const cdn = await serveFiles('127.85.0.4', model, (_, response, path) => {
      if (path !== FIRST_SHARD) return undefined;
      response.writeHead(200, { 'content-length': 200_000 }).write(model.get(path)!.subarray(0, 100_000));
      go = () => void response.end(model.get(path)!.subarray(100_000));
      return true;
    });
    const hub = await serveHub('127.85.0.5', { model, cdn: cdn.url });
    servers.push(cdn, hub);
    const first = newDrivers();
    const lost = stage('hf://acme/tiny@main', { endpoint: hub.url, on: host(first) }).catch((error: unknown) => error);
    await eventually(() => go !== undefined);
    await first.close();
    await lost;

    const second = stage('hf://acme/tiny@main', { endpoint: hub.url, progress: () => go!() });
    expect(await second).toMatchObject({ files: model.size });
    expect(cdn.seen.filter(({ path }) => path === FIRST_SHARD)).toHaveLength(1);
    expect(await jobs()).toEqual([]);
  });

  it('continue after the job was stopped, as a start of the same job', async () => {
    const model = tinyModel();
    let stalled = true;
    const cdn = await serveFiles('127.85.0.4', model, (_, response, path) => {
      if (path !== FIRST_SHARD || !stalled) return undefined;
      response.writeHead(200, { 'content-length': 200_000 }).write(model.get(path)!.subarray(0, 100_000));
      return true;
    });
    const hub = await serveHub('127.85.0.5', { model, cdn: cdn.url });
    servers.push(cdn, hub);
    const first = stage('hf://acme/tiny@main', { endpoint: hub.url }).catch((error: unknown) => error);
    await eventually(() => cdn.seen.some(({ path }) => path === FIRST_SHARD));
    await weights.halt(host(), PATH, OWNER);
    expect(await first).toMatchObject({ code: 'COMMAND_FAILED', retryable: true });
    stalled = false;
    expect(await stage('hf://acme/tiny@main', { endpoint: hub.url })).toMatchObject({ files: model.size });
  });

  it('are not begun when df there says that they do not fit', async () => {
    const big = {
      type: 'file',
      path: 'model.safetensors',
      size: 60 * 1024 ** 3,
      oid: '1'.repeat(40),
      lfs: { oid: 'a'.repeat(64), size: 60 * 1024 ** 3, pointerSize: 135 },
    };
    const config = { type: 'file', path: 'config.json', size: 2, oid: '2'.repeat(40) };
    const hub = await serveHub('127.85.0.5', { model: new Map(), cdn: '', rows: [config, big] });
    servers.push(hub);
    await expect(stage('hf://acme/tiny@main', { endpoint: hub.url })).rejects.toMatchObject({
      code: 'DISK_TOO_SMALL',
      message: expect.stringMatching(/has 50\.0 GiB free, the weights need 60\.6 GiB more/),
    });
    await weights.drop(host(), PATH, OWNER);
    expect(existsSync(await host().expand('~/models'))).toBe(false);
  });
});
