import { mkdir, rm, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import proto from '@temporalio/proto';
import { Worker } from '@temporalio/worker';
import { connectClient } from '../../src/client.ts';
import { dataConverter } from '../../src/connection.ts';
import { specDigest } from '../../src/spec/canonical.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { clusterWorkflowId, WORKFLOW_QUEUE, type DeploymentRecord } from '../../workflows/messages.ts';
import { MemorySite, type ActivityCall, type ActivityName } from './memory-site.ts';
import { aSpec } from './specs.ts';
import { startTemporal } from './temporal.ts';
import { workflowBundle } from './workflow-bundle.ts';

/**
 * Records test/histories anew, against a real Temporal server and hosts that only exist as state: `npm run histories`,
 * after a change of workflows/ that is meant to change what they do.
 */
const FOLDER = fileURLToPath(new URL('../histories/', import.meta.url));
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
const workflows = await Worker.create({ ...common, taskQueue: WORKFLOW_QUEUE, workflowBundle: bundle });

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
      await until(() => site.calls.some(({ activity }) => activity === 'awaitEngine'));
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

interface Recording {
  readonly spec: ClusterSpec;
  readonly site: MemorySite;
  /** Runs an operation to its end and returns the id of its workflow. */
  readonly run: (operation: 'deploy' | 'destroy', spec?: ClusterSpec) => Promise<string>;
}

function called(name: ActivityName): (call: ActivityCall) => boolean {
  return ({ activity }) => activity === name;
}

/** A cluster and a site of its own, served while `body` runs. */
async function recorded(name: string, body: (recording: Recording) => Promise<void>): Promise<void> {
  const spec = specOf(name);
  const site = new MemorySite(spec);
  const worker = await Worker.create({ ...common, taskQueue: `tandem-${spec.site}`, activities: site.activities });
  await worker.runUntil(() => body({ spec, site, run: (operation, aim = spec) => operate(aim, operation) }));
}

function specOf(name: string): ClusterSpec {
  const list = ['p0', 'd0', 'd1'].map((host, index) => ({ name: host, address: `10.0.0.${index + 1}`, gpus: GPU }));
  const router = { name: 'router-0', address: '10.0.0.9', gpus: { ...GPU, count: 0 } };
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
  const names = serving!.engines.map(({ name }) => name);
  await client.ask('plan', [question]);
  await client.ask('check', [question]);
  await client.ask('readiness', [{ spec }]);
  await client.ask('health', [{ serving, spec }]);
  await client.ask('logs', [{ serving, spec, names, tailLines: 5 }]);
  for (const type of ['plan', 'check', 'readiness', 'health', 'logs']) {
    const [execution] = await listed(`WorkflowType = '${type}' AND ExecutionStatus = 'Completed'`);
    await save(type, execution!.workflowId);
  }
}

async function operate(spec: ClusterSpec, operation: 'deploy' | 'destroy'): Promise<string> {
  const request = { operation, spec, specDigest: specDigest(spec), actor: 'tester' } as const;
  const { deployment, workflowId } = await client.submit(spec.name, request);
  await client.settled(workflowId);
  await ended(spec.name, deployment);
  return workflowId;
}

/** The entity learns of the end a moment after the operation's own. */
async function ended(cluster: string, deployment: number): Promise<DeploymentRecord> {
  for (;;) {
    const { running, deployments } = await client.record(cluster);
    if (running?.deployment !== deployment) return deployments.find((entry) => entry.deployment === deployment)!;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Every run of an entity that has ended, oldest first: it continues as new after an operation. */
async function saveEntity(name: string, cluster: string): Promise<void> {
  const workflowId = clusterWorkflowId(cluster);
  const query = `WorkflowId = '${workflowId}' AND ExecutionStatus = 'ContinuedAsNew'`;
  const { deployments } = await client.record(cluster);
  const runs = await eventually(async () => {
    const found = await listed(query);
    return found.length === deployments.length ? found : undefined;
  });
  runs.sort((a, b) => a.startTime.getTime() - b.startTime.getTime());
  for (const [index, { runId }] of runs.entries()) await save(`${name}-${index + 1}`, workflowId, runId);
}

async function listed(query: string) {
  return await eventually(async () => {
    const found = [];
    for await (const execution of env.client.workflow.list({ query })) found.push(execution);
    return found.length > 0 ? found : undefined;
  });
}

/** Temporal's list learns of changes a moment late. */
async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
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
