import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import type { Activities } from '../../activities/index.ts';
import { connectClient, type TandemClient } from '../../src/client.ts';
import { dataConverter } from '../../src/connection.ts';
import { specDigest } from '../../src/spec/canonical.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import type { DeploymentRecord } from '../../workflows/messages.ts';
import { fakeSite } from '../support/fake-site.ts';
import { aSpec } from '../support/specs.ts';
import { startTemporal } from '../support/temporal.ts';
import { workflowBundle } from '../support/workflow-bundle.ts';

let env: TestWorkflowEnvironment;
let client: TandemClient;
let workflows: Worker;
let running: Promise<void>;

beforeAll(async () => {
  const bundle = await workflowBundle();
  env = await startTemporal();
  client = await connectClient({
    connectionOptions: { address: env.address },
    namespace: NAMESPACE,
    origin: env.address,
  });
  workflows = await Worker.create({ ...common(), taskQueue: 'tandem', workflowBundle: bundle });
  running = workflows.run();
}, 60_000);
afterAll(async () => {
  workflows?.shutdown();
  await running;
  await client?.close();
  await env?.teardown();
});

let sites = 0;
/** A spec with a cluster and a site of its own, so that cases do not take each other's activities. */
const siteSpec = (overrides: Parameters<typeof aSpec>[0] = {}): ClusterSpec => {
  sites += 1;
  return aSpec({ name: `c${sites}`, site: `s${sites}`, ...overrides });
};

/** Runs `body` while a worker serves the spec's site with these activities. */
async function served<T>(spec: ClusterSpec, activities: Activities, body: () => Promise<T>): Promise<T> {
  const worker = await Worker.create({ ...common(), taskQueue: `tandem-${spec.site}`, activities });
  return await worker.runUntil(body);
}

const NAMESPACE = 'default';
const common = () => ({ connection: env.nativeConnection, namespace: NAMESPACE, dataConverter });

/** Runs one operation to its end and returns its record. */
async function run(spec: ClusterSpec, operation: 'deploy' | 'destroy' = 'deploy'): Promise<DeploymentRecord> {
  const { deployment, workflowId } = await client.submit(spec.name, {
    operation,
    spec,
    specDigest: specDigest(spec),
    actor: 'tester',
  });
  await client.settled(workflowId);
  return await ended(spec.name, deployment);
}

async function ended(name: string, deployment: number): Promise<DeploymentRecord> {
  for (;;) {
    const record = await client.record(name);
    if (record.running?.deployment !== deployment)
      return record.deployments.find((entry) => entry.deployment === deployment)!;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const NOTHING = { units: [], leases: [], routed: [] };

describe('a deploy', () => {
  it('ends with every engine running, leased, routed and recorded; the same spec again ends unchanged', async () => {
    const spec = siteSpec();
    const site = fakeSite(spec);
    await served(spec, site.activities, async () => {
      expect(await run(spec)).toMatchObject({
        deployment: 1,
        outcome: 'succeeded',
        leftBehind: [],
        measured: { requests: 200 },
      });
      const picture = site.picture();
      expect(picture.units).toHaveLength(3);
      expect(picture.routed).toHaveLength(2);
      expect(picture.leases).toHaveLength(16);
      expect(await run(spec)).toMatchObject({ deployment: 2, outcome: 'unchanged' });
      expect(site.picture()).toEqual(picture);
      expect((await client.record(spec.name)).state).toBe('serving');
    });
  });

  it('of a spec with one decode engine more starts just that one, and with one less removes just that one', async () => {
    const hosts = {
      list: ['p0', 'd0', 'd1']
        .map((name, index) => ({ name, address: `10.0.0.${index + 1}`, gpus: { product: 'MI300X', count: 8 } }))
        .concat([{ name: 'router-0', address: '10.0.0.9', gpus: { product: 'MI300X', count: 0 } }]),
    };
    const small = siteSpec({ hosts });
    const large = { ...small, decode: { ...small.decode, replicas: 2 } };
    const site = fakeSite(small);
    await served(small, site.activities, async () => {
      await run(small);
      const before = site.picture();
      expect(await run(large)).toMatchObject({ outcome: 'succeeded' });
      expect(site.picture().units).toHaveLength(before.units.length + 1);
      expect(site.picture().units).toEqual(expect.arrayContaining(before.units));
      expect(await run(small)).toMatchObject({ outcome: 'succeeded' });
      expect(site.picture()).toEqual(before);
    });
  });

  it('without a Temporal worker of its site ends rolled back, naming the site', async () => {
    const spec = siteSpec();
    const other = aSpec({ name: 'elsewhere', site: 'elsewhere' });
    await served(other, fakeSite(other).activities, async () => {
      expect(await run(spec)).toMatchObject({
        outcome: 'rolled-back',
        failed: { step: 'reach-worker', code: 'NO_WORKER' },
      });
    });
  }, 60_000);
});

const MUTATING = [
  'leaseGpus',
  'checkHost',
  'measureRound',
  'fetchImage',
  'stageWeights',
  'startRank',
  'awaitEngine',
  'startRouter',
  'awaitRouter',
  'wireEngine',
  'acceptPair',
  'acceptRouted',
  'confirmHost',
  'confirmRouter',
] as const;

describe.each(MUTATING)('a first deploy that fails at %s', (activity) => {
  it.each(['before', 'after'] as const)('%s it acts leaves a clean slate', async (when) => {
    const spec = siteSpec();
    const site = fakeSite(spec);
    site.fail({ activity, when });
    await served(spec, site.activities, async () => {
      expect(await run(spec)).toMatchObject({
        outcome: 'rolled-back',
        leftBehind: [],
        failed: { code: 'COMMAND_FAILED', message: `injected at ${activity}`, remedy: 'heal it' },
      });
      expect(site.picture()).toEqual(NOTHING);
    });
  });
});

describe('an undo that fails', () => {
  it('is stuck by name, never stops the rest, and a destroy finishes the job', async () => {
    const spec = siteSpec();
    const site = fakeSite(spec);
    site.fail({ activity: 'acceptPair', when: 'before' });
    site.fail({ activity: 'stopRank', when: 'before', on: ({ name }: { name: string }) => name.includes('decode') });
    await served(spec, site.activities, async () => {
      const entry = await run(spec);
      expect(entry).toMatchObject({ outcome: 'stuck', failed: { message: 'injected at acceptPair' } });
      expect(entry.leftBehind).toEqual([expect.stringContaining('start-decode')]);
      expect(site.picture().units).toEqual([expect.stringContaining('decode')]);
      site.heal();
      expect(await run(spec, 'destroy')).toMatchObject({ outcome: 'succeeded' });
      expect(site.picture()).toEqual(NOTHING);
      expect((await client.record(spec.name)).state).not.toBe('stuck');
    });
  });
});

describe('a cluster', () => {
  it('refuses a second operation while one runs, naming the first', async () => {
    const spec = siteSpec();
    const site = fakeSite(spec);
    let open = () => {};
    site.gates.set('startRouter', new Promise((resolve) => (open = resolve)));
    await served(spec, site.activities, async () => {
      const first = run(spec);
      await until(() => site.calls.some(({ activity }) => activity === 'startRouter'));
      await expect(run(spec)).rejects.toMatchObject({
        code: 'OPERATION_RUNNING',
        message: expect.stringMatching(/^deploy \(deployment 1\) of c\d+ runs since .*, by tester$/),
      });
      open();
      expect(await first).toMatchObject({ outcome: 'succeeded' });
    });
  });

  it('cancelled in the middle unwinds, ends cancelled and serves nothing', async () => {
    const spec = siteSpec();
    const site = fakeSite(spec);
    let open = () => {};
    site.gates.set('awaitEngine', new Promise((resolve) => (open = resolve)));
    await served(spec, site.activities, async () => {
      const first = run(spec);
      await until(() => site.calls.some(({ activity }) => activity === 'awaitEngine'));
      await client.cancel(spec.name, { actor: 'tester' });
      open();
      expect(await first).toMatchObject({ outcome: 'cancelled', leftBehind: [] });
      expect(site.picture()).toEqual(NOTHING);
    });
  });

  it('refuses a destroy of what nobody knows', async () => {
    const spec = siteSpec();
    await served(spec, fakeSite(spec).activities, async () => {
      await expect(client.submit(spec.name, { operation: 'destroy', actor: 'tester' })).rejects.toMatchObject({
        code: 'CLUSTER_UNKNOWN',
      });
    });
  });

  it('destroyed is stopped, and a second destroy finds nothing to do', async () => {
    const spec = siteSpec();
    const site = fakeSite(spec);
    await served(spec, site.activities, async () => {
      await run(spec);
      expect(await run(spec, 'destroy')).toMatchObject({ outcome: 'succeeded' });
      expect(site.picture()).toEqual(NOTHING);
      expect(await client.record(spec.name)).toMatchObject({ state: 'stopped', serving: null });
      expect(await run(spec, 'destroy')).toMatchObject({ outcome: 'succeeded' });
    });
  });
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}
