import { Context } from '@temporalio/activity';
import type proto from '@temporalio/proto';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { resetFence } from '../../activities/fence.ts';
import type { Activities } from '../../activities/index.ts';
import { createTemporalActivities } from '../../activities/temporal.ts';
import { connectClient, type TandemClient } from '../../src/client.ts';
import { dataConverter } from '../../src/connection.ts';
import { specDigest } from '../../src/spec/canonical.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { activityQueue, readQueue, WORKFLOW_QUEUE } from '../../src/operations/names.ts';
import type { DeploymentRecord } from '../../src/operations/record.ts';
import type { Admitted } from '../../src/operations/requests.ts';
import { endedWithSuite } from './ends.ts';
import { MemorySite, type ActivityName } from './memory-site.ts';
import { ANSWER_MS } from './patience.ts';
import { awaitRow, startTemporal } from './temporal.ts';
import { quickBundle } from './workflow-bundle.ts';

export const SITE = 'memory';
const NAMESPACE = 'default';
/** Clusters at once, and parts of a step of each. */
const ACTIVITIES_AT_ONCE = 5_000;

/** A real Temporal server and workers over hosts that are only state: one site per cluster, all on one queue. */
export interface Operations {
  readonly env: TestWorkflowEnvironment;
  readonly client: TandemClient;
  /** Hosts for a cluster, by its spec; the cluster's activities act there from now on. */
  open(spec: ClusterSpec): MemorySite;
  begin(spec: ClusterSpec, operation?: 'deploy' | 'destroy'): Promise<Admitted>;
  /** Waits until an operation has ended and the cluster's record says so. */
  ended(cluster: string, admitted: Admitted): Promise<DeploymentRecord>;
  run(spec: ClusterSpec, operation?: 'deploy' | 'destroy'): Promise<DeploymentRecord>;
  /** Goes on with other workflow code, as a Temporal worker of another release does. `index` is what it bundles. */
  changeWorkflows(index: string): Promise<void>;
  /** The Temporal workers of the site take nothing more. */
  leave(): void;
  /** What each step of an ended operation called, in the order in which the workflow asked for it. */
  fanOuts(workflowId: string): Promise<readonly FanOut[]>;
  close(): Promise<void>;
}

/** Calls of one activity that a step made at the same time. */
export interface FanOut {
  readonly step: string;
  readonly activity: ActivityName;
  readonly ids: readonly number[];
}

/**
 * `slots` is how many activities the site carries out at a time; reads have a queue of their own. `patience` is how long
 * the client waits for answers; left out where a test is about that.
 */
export async function startOperations({
  slots = ACTIVITIES_AT_ONCE,
  patience = { requestValidMs: ANSWER_MS, queryMs: ANSWER_MS },
}: {
  readonly slots?: number;
  readonly patience?: NonNullable<Parameters<typeof connectClient>[2]>;
} = {}): Promise<Operations> {
  const env = await startTemporal();
  const settings = { connectionOptions: { address: env.address }, namespace: NAMESPACE, origin: env.address };
  const client = await connectClient(settings, 'tester tandem', patience);
  const common = { connection: env.nativeConnection, namespace: NAMESPACE, dataConverter };
  const sites = new Map<string, MemorySite>();
  const startWorkflows = async (index?: string) => {
    const worker = await Worker.create({
      ...common,
      taskQueue: WORKFLOW_QUEUE,
      workflowBundle: await quickBundle(index),
      activities: createTemporalActivities(),
    });
    return { worker, ended: worker.run() };
  };
  let workflows = await startWorkflows();
  const serveSite = ([taskQueue, atOnce]: readonly [string, number]) =>
    Worker.create({
      ...common,
      taskQueue,
      activities: activitiesOf(sites),
      maxConcurrentActivityTaskExecutions: atOnce,
      // A cancellation comes back with a heartbeat, of which the SDK would send one in twelve seconds.
      maxHeartbeatThrottleInterval: '500ms',
      interceptors: { activity: [resetFence] },
    });
  const queues = [
    [activityQueue(SITE), slots],
    [readQueue(SITE), ACTIVITIES_AT_ONCE],
  ] as const;
  const serving = await Promise.all(queues.map(serveSite));
  const servingEnded = Promise.all(serving.map((worker) => worker.run()));

  const begin: Operations['begin'] = (spec, operation = 'deploy') =>
    client.submit(spec.name, { operation, spec, specDigest: specDigest(spec), actor: 'tester' });
  const ended: Operations['ended'] = (cluster, admitted) => awaitRow(client, cluster, admitted);
  const leave = () => {
    for (const worker of serving) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  return {
    env,
    client,
    open(spec) {
      const opened = new MemorySite(spec);
      sites.set(spec.name, opened);
      return opened;
    },
    begin,
    ended,
    run: async (spec, operation) => await ended(spec.name, await begin(spec, operation)),
    async changeWorkflows(index) {
      workflows.worker.shutdown();
      await workflows.ended;
      workflows = await startWorkflows(index);
    },
    leave,
    async fanOuts(workflowId) {
      return fanOutsIn(await env.client.workflow.getHandle(workflowId).fetchHistory());
    },
    close: endedWithSuite(async () => {
      for (const one of sites.values()) one.release(); // No worker ends before its activities do.
      leave();
      workflows.worker.shutdown();
      await Promise.all([workflows.ended, servingEnded]);
      await client.close();
      await env.teardown();
    }),
  };
}

/** The activities of all sites: each call goes to the site of the cluster whose operation asked for it, a read's to the newest. */
function activitiesOf(sites: ReadonlyMap<string, MemorySite>): Activities {
  const nobody = new MemorySite({ hosts: { list: [] } as never });
  return Object.fromEntries(
    Object.keys(nobody.activities).map((name) => [
      name,
      (input: never) => {
        const [, cluster] = Context.current().info.workflowExecution!.workflowId.split('/');
        return (
          (sites.get(cluster!) ?? [...sites.values()].at(-1) ?? nobody).activities[name as ActivityName] as (
            input: never,
          ) => Promise<unknown>
        )(input);
      },
    ]),
  ) as unknown as Activities;
}

/** Steps are told apart by the stage that the workflow shows, and what one task of it asks for runs side by side. */
function fanOutsIn({ events }: proto.temporal.api.history.v1.IHistory): readonly FanOut[] {
  const found: (FanOut & { readonly ids: number[]; readonly task: string })[] = [];
  let step = '';
  for (const event of events ?? []) {
    const stage = event.upsertWorkflowSearchAttributesEventAttributes?.searchAttributes?.indexedFields?.['TandemStage'];
    if (stage?.data) step = JSON.parse(Buffer.from(stage.data).toString()) as string;
    const asked = event.activityTaskScheduledEventAttributes;
    if (!asked || asked.taskQueue!.name === WORKFLOW_QUEUE) continue; // It asks Temporal, and no host.
    const activity = asked.activityType!.name as ActivityName;
    const task = String(asked.workflowTaskCompletedEventId);
    const same = found.find((one) => one.step === step && one.activity === activity && one.task === task);
    if (same) same.ids.push(Number(asked.activityId));
    else found.push({ step, activity, task, ids: [Number(asked.activityId)] });
  }
  return found.map(({ step: at, activity, ids }) => ({ step: at, activity, ids }));
}
