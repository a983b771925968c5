import { WorkflowNotFoundError, type Client, type WorkflowExecutionDescription } from '@temporalio/client';
import proto from '@temporalio/proto';
import { clusterWorkflowId, WORKFLOW_QUEUE } from './operations/names.ts';
import type { Present } from './diagnose.ts';

const { WorkflowTaskFailedCause } = proto.temporal.api.enums.v1;

/** A task that was lost with its Temporal worker is tried twice; what is tried more often cannot go on. */
const BLOCKED_FROM_ATTEMPT = 3;
/** Events among which the last failure of a workflow task is looked for. */
const NEWEST_EVENTS = 20;
/** An activity beats twice as often, and a workflow task is taken at once. */
const SILENT_MS = 8_000;

/**
 * Why a workflow does not go on: nobody does its work; all who would are busy; or its code cannot go on, which Temporal
 * tries again for ever, and `tandem cancel --force` ends where it is an operation.
 */
export interface Standstill {
  readonly kind: 'no-worker' | 'queued' | 'blocked';
  /** ISO 8601. */
  readonly since: string;
  readonly why: string;
  readonly remedy: string;
}

export interface Sources {
  readonly client: Client;
  /** Who answers now. */
  readonly present: (site: string) => Promise<Present>;
  /** The site of a cluster's hosts. */
  readonly siteOf: (cluster: string) => Promise<string>;
}

/** Why an operation of a cluster, or its entity, does not go on; undefined where it does, or is about to be started. */
export async function standstillOf(
  sources: Sources,
  cluster: string,
  workflowId: string,
): Promise<Standstill | undefined> {
  for (const one of await withBatches(sources.client, workflowId)) {
    const found = await standstillIn(sources, cluster, one);
    if (found) return found;
  }
  return undefined;
}

/** A workflow, unless it is not there, and then the batches that do its fan-outs. */
export async function withBatches(
  client: Client,
  workflowId: string,
): Promise<readonly WorkflowExecutionDescription[]> {
  const own = await describe(client, workflowId);
  const batches = (own?.raw.pendingChildren ?? []).filter(({ workflowTypeName }) => workflowTypeName === 'batch');
  const described = await Promise.all(batches.map((batch) => describe(client, batch.workflowId!)));
  return [own, ...described].filter((one) => one !== undefined);
}

async function standstillIn(
  { client, present, siteOf }: Sources,
  cluster: string,
  { raw, runId, workflowId }: WorkflowExecutionDescription,
): Promise<Standstill | undefined> {
  const task = raw.pendingWorkflowTask;
  const attempt = task?.attempt ?? 0;
  if (attempt >= BLOCKED_FROM_ATTEMPT) return await blockedBy(client, cluster, { workflowId, runId, attempt });
  const untaken = timeOf(task?.scheduledTime);
  if (old(untaken))
    return {
      kind: 'no-worker',
      since: isoOf(untaken),
      why: `no Temporal worker takes workflows from queue "${WORKFLOW_QUEUE}"`,
      remedy: 'Start one: `tandem worker`.',
    };
  for (const activity of raw.pendingActivities ?? []) {
    const since = waitingSince(activity);
    if (since === undefined) continue;
    const name = activity.activityType?.name ?? '';
    if (activity.state === STARTED)
      return {
        kind: 'no-worker',
        since: isoOf(since),
        why: `the Temporal worker that does ${name} is silent`,
        remedy: 'Another one goes on where there is one: `tandem worker --site SITE`.',
      };
    const site = await siteOf(cluster);
    return (await present(site)) === 'site'
      ? {
          kind: 'queued',
          since: isoOf(since),
          why: `${name} waits until a Temporal worker of site ${site} has room`,
          remedy: `It goes on by itself; another \`tandem worker --site ${site}\` makes room.`,
        }
      : {
          kind: 'no-worker',
          since: isoOf(since),
          why: `no Temporal worker of site ${site} takes ${name}`,
          remedy: `Start one: \`tandem worker --site ${site}\`.`,
        };
  }
  return undefined;
}

type PendingActivity = proto.temporal.api.workflow.v1.IPendingActivityInfo;

/** Since when an activity waits for a word of its Temporal worker, or for one that takes it; undefined where it goes on. */
export function waitingSince({ state, ...one }: PendingActivity): number | undefined {
  const since =
    state === STARTED
      ? (timeOf(one.lastHeartbeatTime) ?? timeOf(one.lastStartedTime))
      : state === SCHEDULED
        ? (timeOf(one.nextAttemptScheduleTime) ?? timeOf(one.scheduledTime))
        : undefined;
  return old(since) ? since : undefined;
}

const old = (since: number | undefined): since is number => since !== undefined && Date.now() - since > SILENT_MS;

/** Why a workflow that left a question without an answer cannot: its task failed, and was not lost or left untaken. */
export async function failingWhy(client: Client, workflowId: string): Promise<string | undefined> {
  const described = await describe(client, workflowId);
  const attempt = described?.raw.pendingWorkflowTask?.attempt ?? 0;
  if (!described || attempt < 2) return undefined;
  return (await lastFailure(client, { workflowId, runId: described.runId })).why;
}

const describe = (client: Client, workflowId: string) =>
  client.workflow
    .getHandle(workflowId)
    .describe()
    .catch((error: unknown) => {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    });

interface Tried {
  readonly workflowId: string;
  readonly runId: string;
  readonly attempt: number;
}

async function blockedBy(client: Client, cluster: string, tried: Tried): Promise<Standstill> {
  const { sinceMs, why } = await lastFailure(client, tried);
  return {
    kind: 'blocked',
    since: isoOf(sinceMs ?? Date.now()),
    why: `${why ?? 'the server does not say why'} (tried ${tried.attempt} times)`,
    remedy:
      tried.workflowId === clusterWorkflowId(cluster)
        ? mendEntity(tried.workflowId)
        : `Start Temporal workers of the release that it began under, or end it: \`tandem cancel ${cluster} --force\`.`,
  };
}

/** When and why a workflow task failed last; nothing where it was lost with its Temporal worker since. */
async function lastFailure(
  { workflow }: Client,
  { workflowId, runId }: Pick<Tried, 'workflowId' | 'runId'>,
): Promise<{ readonly sinceMs?: number; readonly why?: string }> {
  const { history } = await workflow.workflowService.getWorkflowExecutionHistoryReverse({
    namespace: workflow.options.namespace,
    execution: { workflowId, runId },
    maximumPageSize: NEWEST_EVENTS,
  });
  const event = history?.events?.find(
    ({ workflowTaskFailedEventAttributes: failed, workflowTaskTimedOutEventAttributes: lost }) => failed ?? lost,
  );
  if (!event?.workflowTaskFailedEventAttributes) return {};
  const { cause, failure } = event.workflowTaskFailedEventAttributes;
  const name = WorkflowTaskFailedCause[cause ?? 0]!.replace('WORKFLOW_TASK_FAILED_CAUSE_', '').toLowerCase();
  return { sinceMs: timeOf(event.eventTime) ?? Date.now(), why: `${name}: ${failure?.message ?? ''}` };
}

/** What ends an entity that cannot go on. */
export const mendEntity = (workflowId: string): string =>
  `Start Temporal workers of the release that it began under; or terminate ${workflowId} in Temporal, and \`tandem adopt FILE\`.`;

/** States of a pending activity in Temporal's API. */
const SCHEDULED = 1;
const STARTED = 2;

interface Timestamp {
  readonly seconds?: unknown;
  readonly nanos?: number | null;
}

/** Milliseconds since 1970. */
export const timeOf = (at: Timestamp | null | undefined): number | undefined =>
  at ? Number(at.seconds ?? 0) * 1000 + Math.floor((at.nanos ?? 0) / 1e6) : undefined;

const isoOf = (ms: number): string => new Date(ms).toISOString();
