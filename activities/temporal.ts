import { setTimeout as delay } from 'node:timers/promises';
import { Context } from '@temporalio/activity';
import { WorkflowNotFoundError, type WorkflowExecutionInfo, type WorkflowHandle } from '@temporalio/client';
import { ATTRIBUTES } from '../workflows/attributes.ts';
import { clusterWorkflowId } from '../src/operations/names.ts';
import { OPERATIONS, type EndedBy } from '../src/operations/outcomes.ts';
import type { By } from '../src/operations/requests.ts';
import { HEARTBEAT_SECONDS, isTouching } from '../workflows/stages.ts';
import { CHECK_NAMES } from '../src/checks/index.ts';
import { DeployError } from '../src/errors.ts';
import { digestOf } from '../src/spec/canonical.ts';
import { loadSpec } from '../src/spec/diagnostics.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';
import { raw } from '../src/text/raw.ts';
import { signal } from './context.ts';
import { forTemporal } from './failure.ts';

/** What Temporal itself knows of the operations of a cluster, whatever its record says. */
export interface Standing {
  /** The lowest number above all that were ever given, as far as Temporal remembers, and above the one asked from. */
  readonly nextDeployment: number;
  /** Operations and their batches that run. */
  readonly running: readonly { readonly workflowId: string; readonly since: string }[];
  /** Until when activities of a terminated one may go on, ISO 8601; empty where all is quiet. */
  readonly quietAt: string;
}

/** What is known of an operation that did not end by itself. */
export interface Aftermath {
  /** Whether a run of it had begun to touch hosts. */
  readonly touched: boolean;
  /** Whether an earlier run of it had ended by itself: then nothing of this one counts. */
  readonly hadEnded: boolean;
  readonly by: Pick<EndedBy, 'actor' | 'reason' | 'at'>;
  /** Until when its activities may go on, ISO 8601; empty where all is quiet. */
  readonly quietAt: string;
}

const LOOK_EVERY_MS = 500;

/** Activities on queue `tandem`: they ask Temporal and read specs, and reach no host. */
export const createTemporalActivities = () =>
  forTemporal(
    {
      /** What Temporal shows of a cluster beside its record. `after` is the highest number that the record knows. */
      async standing({ cluster, after }: { readonly cluster: string; readonly after: number }): Promise<Standing> {
        const own = `${ATTRIBUTES.cluster.name} = '${cluster}' AND WorkflowType != 'cluster'`;
        const since = new Date(Date.now() - HEARTBEAT_SECONDS * 1000).toISOString();
        const [newer, running, cutOff] = await Promise.all([
          listed(`${own} AND ${ATTRIBUTES.deployment.name} > ${after}`),
          listed(`${own} AND ExecutionStatus = 'Running'`),
          listed(`${own} AND ExecutionStatus IN ('Terminated', 'TimedOut') AND CloseTime > '${since}'`),
        ]);
        const numbers = newer.map(({ workflowId }) => Number(workflowId.split('/')[2]));
        let nextDeployment = Math.max(after, ...numbers.filter(Number.isSafeInteger)) + 1;
        while (await isUsed(cluster, nextDeployment)) nextDeployment += 1; // The list learns of them a moment late.
        return {
          nextDeployment,
          running: running.map(({ workflowId, startTime }) => ({ workflowId, since: startTime.toISOString() })),
          quietAt: quietAfter(cutOff),
        };
      },

      /** The spec of a request in full, with the defaults of this release. Errors: SPEC_INVALID. */
      async parseSpec({ spec, specDigest }: Pick<SpecGiven, 'spec' | 'specDigest'>): Promise<ClusterSpec> {
        const { spec: parsed, diagnostics } = loadSpec(JSON.stringify(spec, null, 1), 'the request', {
          checkNames: CHECK_NAMES,
        });
        const errors = diagnostics.filter(({ severity }) => severity === 'error');
        if (!parsed || errors.length > 0)
          throw invalid(
            `the spec of the request has ${errors.length} errors`,
            errors.map(({ path, message }) => `${path}: ${message}`).join('\n'),
          );
        const digest = digestOf(spec);
        if (digest !== specDigest)
          throw invalid(`the spec has digest ${digest}, and the request says ${specDigest}`, '');
        return parsed;
      },

      /** Waits until nothing of an operation runs any more, and tells what it had come to and who ended it. */
      async aftermath({
        workflowId,
        entityRun,
      }: {
        readonly workflowId: string;
        readonly entityRun?: string;
      }): Promise<Aftermath> {
        const [, cluster] = workflowId.split('/');
        const own = `${ATTRIBUTES.cluster.name} = '${cluster}'`;
        const batches = `${own} AND WorkflowType = 'batch' AND WorkflowId STARTS_WITH '${workflowId}/'`;
        const itself = Context.current().info.workflowExecution?.workflowId === workflowId;
        while (
          (await listed(`${batches} AND ExecutionStatus = 'Running'`)).length > 0 ||
          (!itself && (await listed(`WorkflowId = '${workflowId}' AND ExecutionStatus = 'Running'`)).length > 0)
        )
          await delay(LOOK_EVERY_MS, undefined, { signal: signal() });
        const runs = await listed(`WorkflowId = '${workflowId}'`);
        const entity = handleOf(clusterWorkflowId(cluster!), entityRun);
        const told = await Promise.all([entity, ...runs.map(({ runId }) => handleOf(workflowId, runId))].map(readRun));
        const cutOff = [...runs, ...(await listed(batches))].filter(({ status }) => CUT_OFF.includes(status.name));
        const last = told
          .filter(({ by }) => by !== undefined)
          .toSorted((a, b) => (a.by!.at < b.by!.at ? -1 : 1))
          .at(-1);
        return {
          touched: told.some(({ touched }) => touched),
          hadEnded: runs.some(({ status }) => ENDED.includes(status.name)),
          by: last?.by ?? { actor: '', reason: '', at: new Date().toISOString() },
          quietAt: quietAfter(cutOff),
        };
      },

      /** Who terminated a workflow in Temporal, and why; empty where Temporal does not know any more. */
      async whoTerminated({ workflowId }: { readonly workflowId: string }): Promise<Required<By>> {
        try {
          const { by } = await readRun(handleOf(workflowId));
          return { actor: by?.actor ?? '', reason: by?.reason ?? '' };
        } catch (error) {
          if (error instanceof WorkflowNotFoundError) return { actor: '', reason: '' };
          throw error;
        }
      },

      /** Terminates an operation and its batches. One that has ended is no error. */
      async terminateOperation({ workflowId, by }: { readonly workflowId: string; readonly by: By }): Promise<void> {
        const reason = `forced by ${by.actor}${by.reason ? `: ${by.reason}` : ''}`;
        const handle = handleOf(workflowId);
        const { raw } = await handle.describe();
        for (const one of [handle, ...(raw.pendingChildren ?? []).map((child) => handleOf(child.workflowId!))])
          await one.terminate(reason).catch((error: unknown) => {
            if (!(error instanceof WorkflowNotFoundError)) throw error;
          });
      },
    },
    (text) => text,
  );

export type TemporalActivities = ReturnType<typeof createTemporalActivities>;

interface SpecGiven {
  readonly spec: unknown;
  readonly specDigest: string;
}

const CUT_OFF: readonly string[] = ['TERMINATED', 'TIMED_OUT'];
const ENDED: readonly string[] = ['COMPLETED', 'FAILED', 'CANCELLED'];

const client = () => Context.current().client.workflow;

const handleOf = (workflowId: string, runId?: string): WorkflowHandle => client().getHandle(workflowId, runId);

async function listed(query: string): Promise<readonly WorkflowExecutionInfo[]> {
  const found: WorkflowExecutionInfo[] = [];
  for await (const one of client().list({ query })) found.push(one);
  return found;
}

async function isUsed(cluster: string, deployment: number): Promise<boolean> {
  const used = OPERATIONS.map(async (operation) => {
    try {
      await handleOf(`${operation}/${cluster}/${deployment}`).describe();
      return true;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return false;
      throw error;
    }
  });
  return (await Promise.all(used)).some(Boolean);
}

/** When the activities of these have noticed at the latest that they are not wanted any more. */
function quietAfter(cutOff: readonly WorkflowExecutionInfo[]): string {
  const last = Math.max(...cutOff.map(({ closeTime }) => closeTime?.getTime() ?? 0), 0) + HEARTBEAT_SECONDS * 1000;
  return last > Date.now() ? new Date(last).toISOString() : '';
}

/** Whether a run came to a stage that touches hosts, and who terminated, reset or cancelled it in Temporal. */
async function readRun(handle: WorkflowHandle): Promise<{ touched: boolean; by?: Aftermath['by'] }> {
  const { events } = await handle.fetchHistory();
  const stages = (events ?? []).flatMap(({ upsertWorkflowSearchAttributesEventAttributes: upserted }) => {
    const stage = upserted?.searchAttributes?.indexedFields?.[ATTRIBUTES.stage.name]?.data;
    return stage ? [JSON.parse(Buffer.from(stage).toString()) as string] : [];
  });
  const touched = stages.some(isTouching);
  const by = (events ?? []).flatMap((event) => {
    const terminated = event.workflowExecutionTerminatedEventAttributes;
    const cancelled = event.workflowExecutionCancelRequestedEventAttributes;
    // A cancel that came from the entity is the entity's, whose own history says whose.
    if (!terminated && (!cancelled || cancelled.externalWorkflowExecution)) return [];
    const at = new Date(Number(event.eventTime?.seconds ?? 0) * 1000).toISOString();
    const reason = terminated?.reason ?? cancelled?.cause ?? '';
    return [{ actor: (terminated ?? cancelled)!.identity ?? '', reason, at }];
  });
  return { touched, ...(by.length > 0 ? { by: by.at(-1)! } : {}) };
}

const invalid = (message: string, evidence: string) =>
  new DeployError({
    code: 'SPEC_INVALID',
    message,
    remedy: 'Mend the spec (`tandem validate FILE`) and ask by a CLI of the release of the Temporal workers.',
    retryable: false,
    evidence: raw(evidence),
  });
