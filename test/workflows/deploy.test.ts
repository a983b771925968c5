import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import type { Health } from '../../src/operations/questions.ts';
import { startOperations, type Operations } from '../support/memory-temporal.ts';
import type { ActivityName, MemorySite } from '../support/memory-site.ts';
import { specOf } from '../support/memory-scenarios.ts';
import { until } from '../support/processes.ts';

// What fails, and what is cancelled, is in unwind.test.ts and cancel.test.ts: at every step.

let operations: Operations;
beforeAll(async () => {
  operations = await startOperations();
});
afterAll(() => operations?.close());

const HOSTS = { p: 1, d: 4 };
let clusters = 0;
/** A spec with a cluster of its own. */
const oneOf = (decode = 1): ClusterSpec => specOf(`c${(clusters += 1)}`, { prefill: 1, decode, ranks: 2 }, HOSTS);
const withDecode = (spec: ClusterSpec, replicas: number) => ({ ...spec, decode: { ...spec.decode, replicas } });

/** Units on all hosts, "host name". */
const unitsOf = (site: MemorySite) =>
  [...site.hosts.values()].flatMap((at) => [...at.units.keys()].map((unit) => `${at.name} ${unit}`));
const leasesOf = (site: MemorySite) => [...site.hosts.values()].flatMap((at) => [...at.leases.keys()]);

describe('a deploy', () => {
  it('ends with every engine running, leased, routed and recorded; the same spec again ends unchanged', async () => {
    const spec = oneOf();
    const site = operations.open(spec);
    expect(await operations.run(spec)).toMatchObject({
      deployment: 1,
      outcome: 'succeeded',
      leftBehind: [],
      measured: { requests: 4 },
    });
    const picture = site.picture();
    expect(unitsOf(site)).toEqual([
      `p0 tandem-${spec.name}-prefill-0-1`,
      `d0 tandem-${spec.name}-decode-0-1`,
      `d1 tandem-${spec.name}-decode-0-1`,
      `router-0 tandem-${spec.name}-router-0-1`,
    ]);
    expect(leasesOf(site)).toHaveLength(3);
    expect(picture['router-0']!['router-entry']).toHaveLength(2);
    expect(site.serves()).toBe(true);
    expect(await operations.run(spec)).toMatchObject({ deployment: 2, outcome: 'unchanged' });
    expect(site.picture()).toEqual(picture);
    expect((await operations.client.record(spec.name)).state).toBe('serving');
  });

  it('is seen as healthy; a router that ended is seen too, and why', async () => {
    const spec = oneOf();
    const site = operations.open(spec);
    await operations.run(spec);
    const { serving } = await operations.client.record(spec.name);
    const look = () => operations.client.ask<Health>('health', [{ serving, spec }]);
    const engines = Object.fromEntries(serving!.engines.map(({ name }) => [name, true]));
    expect(await look()).toEqual({ engines, router: '' });
    for (const unit of site.hosts.get('router-0')!.units.values()) unit.running = false;
    expect(await look()).toEqual({ engines, router: expect.stringMatching(/^it does not answer: ./) });
  });

  it('of a spec with one decode engine more starts just that one, and with one less removes just that one', async () => {
    const small = oneOf();
    const site = operations.open(small);
    await operations.run(small);
    const before = site.picture();
    const units = unitsOf(site);
    expect(await operations.run(withDecode(small, 2))).toMatchObject({ outcome: 'succeeded' });
    expect(unitsOf(site).filter((unit) => !units.includes(unit))).toEqual([
      `d2 tandem-${small.name}-decode-1-2`,
      `d3 tandem-${small.name}-decode-1-2`,
    ]);
    expect(unitsOf(site)).toEqual(expect.arrayContaining(units));
    expect(await operations.run(small)).toMatchObject({ outcome: 'succeeded' });
    expect(site.picture()).toEqual(before);
  });

  it('takes an engine that somebody else removed out of the list of the router, once', async () => {
    const small = oneOf();
    const site = operations.open(small);
    await operations.run(withDecode(small, 2));
    const listed = () => site.picture()['router-0']!['router-entry'];
    expect(listed()).toHaveLength(3);
    for (const host of ['d2', 'd3']) site.hosts.get(host)!.units.delete(`tandem-${small.name}-decode-1-2`);
    expect(await operations.run(small)).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
    expect(listed()).toHaveLength(2);
    expect(await operations.run(small)).toMatchObject({ outcome: 'unchanged' });
  });

  it('without a Temporal worker of its site ends refused, naming the site', async () => {
    const spec = { ...oneOf(), site: 'nowhere' };
    expect(await operations.run(spec)).toMatchObject({
      outcome: 'refused',
      failed: { step: 'reach-worker', code: 'NO_WORKER' },
    });
  });

  it('on a host where a port of an engine is taken is refused, and nothing is left', async () => {
    const spec = oneOf();
    const site = operations.open(spec);
    site.hosts.get('p0')!.units.set('stranger', strangerOn(30000));
    const before = site.picture();
    expect(await operations.run(spec)).toMatchObject({
      outcome: 'rolled-back',
      failed: { step: 'check-rocm', host: 'p0' },
    });
    expect(site.picture()).toEqual(before);
  });

  it('on GPUs that another cluster leases is refused naming it, and takes none', async () => {
    const spec = oneOf();
    const site = operations.open(spec);
    const theirs = { cluster: 'theirs', installation: 'other', deployment: 7, takenAt: '2026-01-01T00:00:00Z' };
    for (const host of ['d0', 'd1', 'd2', 'd3']) site.hosts.get(host)!.leases.set('0000:05:00.0', theirs);
    const before = site.picture();
    const { outcome, failed } = await operations.run(spec);
    expect({ outcome, message: failed?.message }).toMatchObject({
      outcome: 'refused',
      message: expect.stringContaining('theirs'),
    });
    expect(site.picture()).toEqual(before);
  });
});

const strangerOn = (port: number) => ({
  name: 'stranger',
  kind: 'process' as const,
  labels: {},
  argv: ['nginx', '--port', String(port)],
  env: {},
  stopTimeoutSeconds: 1,
  running: true,
  pid: 1,
  startedAt: '2026-01-01T00:00:00Z',
  log: '',
  requests: 0,
  listed: new Map(),
});

describe('a cluster', () => {
  it('refuses a second operation while one runs, naming the first', async () => {
    const spec = oneOf();
    const site = operations.open(spec);
    site.trouble({ at: ({ activity }) => activity === 'startRouter', what: 'waits' });
    const admitted = await operations.begin(spec);
    await called(site, 'startRouter');
    await expect(operations.begin(spec)).rejects.toMatchObject({
      code: 'OPERATION_RUNNING',
      message: expect.stringMatching(/^deploy \(deployment 1\) of c\d+ runs since .*, by tester$/),
    });
    site.release();
    expect(await operations.ended(spec.name, admitted)).toMatchObject({ outcome: 'succeeded' });
  });

  it('refuses a destroy of what nobody knows', async () => {
    await expect(operations.client.submit('nobody', { operation: 'destroy', actor: 'tester' })).rejects.toMatchObject({
      code: 'CLUSTER_UNKNOWN',
    });
  });

  it('destroyed is stopped, and a second destroy finds nothing to do', async () => {
    const spec = oneOf();
    const site = operations.open(spec);
    await operations.run(spec);
    expect(await operations.run(spec, 'destroy')).toMatchObject({ outcome: 'succeeded' });
    expect(site.picture()).toEqual({});
    expect(await operations.client.record(spec.name)).toMatchObject({ state: 'stopped', serving: null });
    expect(await operations.run(spec, 'destroy')).toMatchObject({ outcome: 'succeeded' });
  });

  it('destroyed is rid of what a removal left half-way before, where no unit tells of it', async () => {
    const spec = oneOf();
    const site = operations.open(spec);
    await operations.run(spec);
    const [path] = [...site.hosts.get('p0')!.files.keys()].filter((name) => name.includes('/deployments/'));
    const stateDir = path!.split('/deployments/')[0];
    for (const folder of [`deployments/${spec.name}-7/`, `jobs/.tandem-${spec.name}-router-0-7.gone.4711/`])
      site.hosts.get('d3')!.folders.add(`${stateDir}/${folder}`);
    expect(await operations.run(spec, 'destroy')).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
    expect(site.picture()).toEqual({});
  });

  it('keeps images and complete weights when it is destroyed; purged, images and what another cluster may read', async () => {
    const spec = oneOf();
    const site = operations.open(spec);
    await operations.run(spec);
    await operations.run(spec, 'destroy');
    const kinds = (host: string) => site.kept()[host]!.map(({ kind }) => kind);
    expect(kinds('p0')).toEqual(['image', 'weights']);
    site.hosts.get('d0')!.leases.set('0000:99:00.0', {
      cluster: 'neighbour',
      installation: 'theirs',
      deployment: 1,
      takenAt: '2026-01-01T00:00:00Z',
    });
    const admitted = await operations.client.submit(spec.name, { operation: 'destroy', purge: true, actor: 'tester' });
    expect(await operations.ended(spec.name, admitted)).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
    expect([kinds('p0'), kinds('d0')]).toEqual([['image'], ['image', 'weights']]);
    expect((await operations.client.progress(admitted.workflowId))!.warnings).toEqual([
      'd0: the weights stay, since neighbour leases GPUs there and may read them',
    ]);
  });
});

describe('the logs of what a failed deploy started', () => {
  const failing = async (site: MemorySite, spec: ClusterSpec) => {
    site.trouble({ at: ({ activity }) => activity === 'acceptPair', what: 'fails' });
    const admitted = await operations.begin(spec);
    const entry = await operations.ended(spec.name, admitted);
    site.heal();
    return { entry, warnings: (await operations.client.progress(admitted.workflowId))!.warnings };
  };

  it('are kept on its hosts and named; what stays is left alone, and a destroy keeps nothing', async () => {
    const spec = oneOf();
    const site = operations.open(spec);
    await operations.run(spec);
    const { entry } = await failing(site, withDecode(spec, 2));
    const path = `/home/ops/.tandem/logs/${spec.name}-2/tandem-${spec.name}-decode-1-2.log`;
    expect(entry).toMatchObject({ outcome: 'rolled-back', failed: { step: 'accept' } });
    expect(entry.failed!.logs).toEqual([`d2: ${path}`, `d3: ${path}`]);
    const logs = () =>
      [...site.hosts.values()].flatMap((at) => [...at.logs].map(([name, { text }]) => `${at.name}: ${name} ${text}`));
    const told = ['d2', 'd3'].map((host) => `${host}: ${path} The server is fired up and ready to roll!`);
    expect(logs()).toEqual(told);
    await operations.run(spec, 'destroy');
    expect(logs()).toEqual(told);
  });

  it('that cannot be kept are told, and hold up no undo', async () => {
    const spec = oneOf();
    const site = operations.open(spec);
    for (const at of site.hosts.values())
      at.logs.set = () => {
        throw new Error('No space left on device');
      };
    const { entry, warnings } = await failing(site, spec);
    expect(entry).toMatchObject({ outcome: 'rolled-back', leftBehind: [] });
    expect(entry.failed!.logs).toBeUndefined();
    expect(site.picture()).toEqual({});
    expect(warnings).toContain(
      `p0: the log of tandem-${spec.name}-prefill-0-1 could not be kept: No space left on device`,
    );
  });
});

/** Waits until an activity was called. */
const called = (site: MemorySite, name: ActivityName): Promise<void> =>
  until(`${name} was called`, () => site.calls.some(({ activity }) => activity === name));
