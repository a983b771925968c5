import { mkdir, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import proto from '@temporalio/proto';
import { Worker } from '@temporalio/worker';
import { activityQueue, clusterWorkflowId, readQueue, WORKFLOW_QUEUE } from '../../src/operations/names.ts';
import type { LeaseRow, LeaseList } from '../../src/operations/questions.ts';
import type { Admitted } from '../../src/operations/requests.ts';
import { createTemporalActivities } from '../../activities/temporal.ts';
import { connectClient } from '../../src/client.ts';
import { dataConverter } from '../../src/connection.ts';
import type { FoundCluster } from '../../src/plan/adopt.ts';
import { specDigest } from '../../src/spec/canonical.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { MemorySite, type ActivityCall, type ActivityName } from './memory-site.ts';
import { aSpec } from './specs.ts';
import { awaitRow, startTemporal } from './temporal.ts';
import { workflowBundle } from './workflow-bundle.ts';
import { eventually } from './processes.ts';

/**
 * Records test/histories/current anew, against a real Temporal server and hosts that only exist as state: `npm run histories`,
 * after a change of workflows/ that is meant to change what they do.
 */
const FOLDER = fileURLToPath(new URL('../histories/current/', import.meta.url));
const { History } = proto.temporal.api.history.v1;
const NAMESPACE = 'default';
/** One GPU each keeps histories small; what the workflows do is the same. */
const GPU = { product: 'MI300X', count: 1 };

/** What names this machine, and what no replay reads. */
const UNREAD = new Set(['identity', 'stackTrace', 'workerVersion', 'taskId', 'meteringMetadata']);
const bundle = await workflowBundle();
const env = await startTemporal();
/** The name of a sticky queue begins with the identity, which would be that of this machine. */
const identity = 'recorder';
const common = { connection: env.nativeConnection, namespace: NAMESPACE, dataConverter, identity };
const settings = { connectionOptions: { address: env.address }, namespace: NAMESPACE, origin: env.address };
const client = await connectClient(settings, 'tester tandem');
const workflows = await Worker.create({
  ...common,
  taskQueue: WORKFLOW_QUEUE,
  workflowBundle: bundle,
  activities: createTemporalActivities(),
});

try {
  await workflows.runUntil(async () => {
    await rm(FOLDER, { recursive: true, force: true });
    await mkdir(FOLDER);

    await recorded('grown', async ({ spec, site, run }) => {
      const more = { ...spec, decode: { ...spec.decode, replicas: 2 } };
      await save('deploy-succeeded', await run('deploy', spec));
      await save('deploy-unchanged', await run('deploy', spec));
      await save('deploy-scaled-up', await run('deploy', more));
      await save('deploy-scaled-down', await run('deploy', spec));
      site.trouble({ at: called('acceptRouted'), what: 'fails-after' });
      await save('deploy-rolled-back-while-serving', await run('deploy', more));
      site.heal();
      await reads(spec);
      await save('destroy-succeeded', await run('destroy'));
      await saveEntity('cluster', spec.name);
    });
    await recorded('lost', async ({ spec, run }) => {
      await run('deploy', spec);
      const { installation } = await client.record(spec.name);
      await env.client.workflow.getHandle(clusterWorkflowId(spec.name)).terminate('its record is lost');
      const found = await client.ask<FoundCluster>('adoption', [{ spec, installation }]);
      await saveLast('adoption');
      const { serving, lastDeployment } = found;
      const shown = { installation: found.installation, serving, lastDeployment };
      await client.adopt(spec.name, { ...shown, spec, specDigest: specDigest(spec), actor: 'tester' });
      await run('destroy');
      await saveEntity('cluster-adopted', spec.name);
    });
    await recorded('leased', async ({ spec, run }) => {
      await run('deploy', spec);
      const { leases } = await client.ask<LeaseList>('leases', [{ spec }]);
      await saveLast('leases');
      const [{ host, gpu: _gpu, ...lease }] = leases as [LeaseRow];
      await env.client.workflow.getHandle(clusterWorkflowId(spec.name)).terminate('its record is lost');
      const why = { actor: 'tester', reason: 'its owner is gone', force: true };
      await client.breakLeases(spec.name, { spec, host, leases: [lease], ...why });
      await saveLast('breakLeases');
    });
    await recorded('superseded', async ({ spec, site, run }) => {
      site.trouble({ at: called('awaitEngine'), what: 'waits' });
      const running = run('deploy', spec);
      await eventually(() => site.calls.some(({ activity }) => activity === 'awaitEngine'));
      const next = await begin(spec, 'deploy', { takeOver: true });
      site.release();
      site.heal();
      await save('deploy-superseded', await running);
      await save('deploy-taken-over', await finished(spec.name, next));
      await saveEntity('cluster-taken-over', spec.name);
    });
    const many = Array.from({ length: 101 }, (_, index) => `d${index}`);
    await recorded(
      'many',
      async ({ spec, site, run }) => {
        site.trouble({ at: ({ activity, host }) => activity === 'observeHost' && host === 'd70', what: 'fails' });
        await save('deploy-of-many', await run('deploy', spec));
        await saveLast('batch');
      },
      many,
    );
    await recorded('failed', async ({ spec, site, run }) => {
      site.trouble({ at: called('acceptPair'), what: 'fails' });
      await save('deploy-rolled-back', await run('deploy', spec));
      site.trouble({ at: called('stopRank'), what: 'fails' });
      await save('deploy-stuck', await run('deploy', spec));
      await save('destroy-stuck', await run('destroy'));
    });
    await recorded('cancelled', async ({ spec, site, run }) => {
      site.trouble({ at: called('awaitEngine'), what: 'waits' });
      const running = run('deploy', spec);
      await eventually(() => site.calls.some(({ activity }) => activity === 'awaitEngine'));
      await client.cancel(spec.name, { actor: 'tester' });
      site.release();
      await save('deploy-cancelled', await running);
      await saveEntity('cluster-cancelled', spec.name);
    });
    // Nobody serves this one's site.
    await save('deploy-without-worker', await operate(specOf('nobody'), 'deploy'));
  });
} finally {
  await client.close();
  await env.teardown();
}

type Operation = 'deploy' | 'destroy';

interface Recording {
  readonly spec: ClusterSpec;
  readonly site: MemorySite;
  /** Runs an operation to its end and returns the id of its workflow. */
  readonly run: (operation: Operation, spec?: ClusterSpec) => Promise<string>;
}

function called(name: ActivityName): (call: ActivityCall) => boolean {
  return ({ activity }) => activity === name;
}

/** A cluster and a site of its own, served while `body` runs. */
async function recorded(
  name: string,
  body: (recording: Recording) => Promise<void>,
  decode?: readonly string[],
): Promise<void> {
  const spec = specOf(name, decode);
  const site = new MemorySite(spec);
  const serving = { ...common, activities: site.activities };
  const worker = await Worker.create({ ...serving, taskQueue: activityQueue(spec.site) });
  const reading = await Worker.create({ ...serving, taskQueue: readQueue(spec.site) });
  await worker.runUntil(
    reading.runUntil(() => body({ spec, site, run: (operation, aim = spec) => operate(aim, operation) })),
  );
}

function specOf(name: string, decode: readonly string[] = ['d0', 'd1']): ClusterSpec {
  const list = ['p0', ...decode].map((host, index) => ({ name: host, address: `10.0.0.${index + 1}`, gpus: GPU }));
  const router = { name: 'router-0', address: '10.0.1.1', gpus: { ...GPU, count: 0 } };
  const role = { replicas: 1, gpus: GPU };
  return aSpec({
    name,
    site: name,
    hosts: { list: [...list, router] },
    prefill: role,
    decode: role,
    acceptance: { warmupRequests: 1, requests: 4 },
    upgrade: { settleSeconds: 0 },
  });
}

async function reads(spec: ClusterSpec): Promise<void> {
  const { serving, installation } = await client.record(spec.name);
  const question = { spec, cluster: spec.name, installation, deployment: 9, serving };
  await client.ask('plan', [question]);
  await client.ask('check', [question]);
  await client.ask('readiness', [{ spec }]);
  await client.ask('health', [{ serving, spec }]);
  await client.ask('logs', [{ serving, spec, installation, tailLines: 5 }]);
  await client.diagnose(spec.site);
  for (const type of ['plan', 'check', 'readiness', 'health', 'logs', 'presence']) await saveLast(type);
}

/** What was asked last of this type and has ended. */
async function saveLast(type: string): Promise<void> {
  const [execution] = await listed(`WorkflowType = '${type}' AND ExecutionStatus = 'Completed'`);
  await save(
    type.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    execution!.workflowId,
  );
}

async function operate(spec: ClusterSpec, operation: Operation): Promise<string> {
  return await finished(spec.name, await begin(spec, operation));
}

async function begin(spec: ClusterSpec, operation: Operation, { takeOver = false } = {}): Promise<Admitted> {
  return await client.submit(spec.name, { operation, spec, specDigest: specDigest(spec), actor: 'tester', takeOver });
}

async function finished(cluster: string, admitted: Admitted): Promise<string> {
  await awaitRow(client, cluster, admitted);
  return admitted.workflowId;
}

/** Every run of an entity that has ended, oldest first: it continues as new after an operation. */
async function saveEntity(name: string, cluster: string): Promise<void> {
  const workflowId = clusterWorkflowId(cluster);
  const { deployments } = await client.record(cluster);
  const over = Math.max(...deployments.map(({ finishedAt }) => Date.parse(finishedAt!)));
  const current = await eventually(async () => {
    const { runId, startTime } = await env.client.workflow.getHandle(workflowId).describe();
    return startTime.getTime() >= over ? runId : undefined;
  });
  const ended: string[] = [];
  for (let run = await before(workflowId, current); run !== ''; run = await before(workflowId, run)) ended.unshift(run);
  for (const [index, runId] of ended.entries()) await save(`${name}-${index + 1}`, workflowId, runId);
}

/** The run that continued as this one; empty where there is none. */
async function before(workflowId: string, runId: string): Promise<string> {
  const { events } = await env.client.workflow.getHandle(workflowId, runId).fetchHistory();
  return events![0]!.workflowExecutionStartedEventAttributes!.continuedExecutionRunId ?? '';
}

/** Temporal's list learns of changes a moment late. */
async function listed(query: string) {
  return await eventually(async () => {
    const found = [];
    for await (const execution of env.client.workflow.list({ query })) found.push(execution);
    return found.length > 0 ? found : undefined;
  });
}

/** One event a line, so that a change is seen where it is. */
async function save(name: string, workflowId: string, runId?: string): Promise<void> {
  const history = await env.client.workflow.getHandle(workflowId, runId).fetchHistory();
  const options = { bytes: String, longs: String, enums: String };
  const { events } = History.toObject(History.fromObject(history), options) as { events: unknown[] };
  const lines = events.map((event) =>
    JSON.stringify(event, (key, value: unknown) => (UNREAD.has(key) ? undefined : value)),
  );
  await writeFile(`${FOLDER}${name}.json`, `{"events":[\n${lines.join(',\n')}\n]}\n`);
  process.stdout.write(`${name}: ${events.length} events of ${workflowId}\n`);
}
