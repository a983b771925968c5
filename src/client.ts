import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { ApplicationFailure, TimeoutFailure, type UpdateDefinition } from '@temporalio/common';
import {
  Client,
  QueryNotRegisteredError,
  QueryRejectedError,
  WithStartWorkflowOperation,
  WorkflowFailedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  type WorkflowExecutionInfo,
  type WorkflowHandle,
  type WorkflowUpdateHandle,
} from '@temporalio/client';
import type { Finding } from './checks/check.ts';
import { diagnose, type Present } from './diagnose.ts';
import { DeployError, ERROR_CODES, type ErrorCode } from './errors.ts';
import { connectionSettings, connectTemporal, dataConverter, type ConnectionSettings } from './connection.ts';
import {
  failingWhy,
  mendEntity,
  standstillOf,
  timeOf,
  waitingSince,
  withBatches,
  type Standstill,
} from './standstill.ts';
import { isAway, isDeadline, isNotYet, lastError, noWorker, temporalFailure, textOf } from './temporal-failure.ts';
import { clusterWorkflowId, WORKFLOW_QUEUE } from './operations/names.ts';
import type { OperationProgress } from './operations/progress.ts';
import { type ClusterRecord, targetOf } from './operations/record.ts';
import type { AdoptRequest, Admitted, BreakRequest, By, OperationRequest } from './operations/requests.ts';
import type { HeldLease } from './plan/types.ts';
import type { ClusterSpec } from './spec/schema.ts';
import {
  adoptCluster,
  breakLeasesOf,
  cancelOperation,
  clusterRecord,
  forceOperation,
  forgetCluster,
  operate,
  operationProgress,
} from '../workflows/messages.ts';
import { raw } from './text/raw.ts';

/** How long a request stays valid when nobody takes it, in milliseconds. */
const REQUEST_VALID_MS = 20_000;
/** How long the answer to a request that was taken may be away; breaking leases reaches a host. */
const ANSWER_MS = 60_000;
const BREAKING_MS = 5 * 60_000;
const QUERY_MS = 6_000;
/** Pause between two looks at what nobody may do any more. */
const LOOK_AGAIN_MS = 1_000;
/** Longer than an operation's first activity, which asks the same, may wait to be taken. */
const PROBE_MS = 12_000;

/** All that the CLI asks of Temporal. Errors: TEMPORAL_UNREACHABLE, NO_WORKER, and the codes of refused Updates. */
export interface TandemClient {
  readonly settings: ConnectionSettings;
  /** Asks for an operation; returns once it is admitted. */
  submit(cluster: string, request: Omit<OperationRequest, 'notAfter'>): Promise<Admitted>;
  /** Cancels the running operation of a cluster; with `force` ends one that cannot unwind any more. Errors: NOTHING_RUNNING. */
  cancel(cluster: string, by: By, options?: { readonly force?: boolean }): Promise<Admitted>;
  /** Breaks leases that nobody will release, by way of the cluster that holds them. */
  breakLeases(cluster: string, request: Omit<BreakRequest, 'notAfter'>): Promise<readonly HeldLease[]>;
  /** Gives a cluster the record that the hosts show. */
  adopt(cluster: string, request: Omit<AdoptRequest, 'notAfter'>): Promise<Admitted>;
  /** Ends the entity of a destroyed cluster, and its record with it. Errors: CLUSTER_UNKNOWN. */
  forget(cluster: string, by: By): Promise<void>;
  /** The record of a cluster. Errors: CLUSTER_UNKNOWN, BLOCKED. */
  record(cluster: string): Promise<ClusterRecord>;
  /** As `record`; undefined where no cluster of this name is known. */
  find(cluster: string): Promise<ClusterRecord | undefined>;
  /** The names of all clusters that have an entity. */
  clusters(): Promise<readonly string[]>;
  /** Progress of an operation; undefined while it has not begun. */
  progress(workflowId: string): Promise<OperationProgress | undefined>;
  /** Why an operation of a cluster, or its entity, does not go on; undefined where it does. */
  standstill(cluster: string, workflowId: string): Promise<Standstill | undefined>;
  /** Waits for an operation's end; never throws for how it ended. */
  settled(workflowId: string): Promise<void>;
  /** Runs a workflow that only reads, and returns its result. */
  ask<T>(workflowType: string, args: readonly unknown[]): Promise<T>;
  /** Whether the server has what Tandem needs, and a Temporal worker serves workflows and this site. */
  diagnose(site: string): Promise<readonly Finding[]>;
  close(): Promise<void>;
}

/** `requestValidMs` is how long a request waits for a Temporal worker to take it, `queryMs` how long a question for its answer. */
export async function connectClient(
  settings: ConnectionSettings = connectionSettings(),
  identity?: string,
  {
    requestValidMs = REQUEST_VALID_MS,
    queryMs = QUERY_MS,
  }: { readonly requestValidMs?: number; readonly queryMs?: number } = {},
): Promise<TandemClient> {
  const connection = await connectTemporal(settings);
  const options = { connection, namespace: settings.namespace, dataConverter, ...(identity ? { identity } : {}) };
  const client = new Client(options);
  // A forgotten cluster, or one whose entity was terminated, is not known any more, though Temporal keeps its history.
  const entities = new Client({ ...options, workflow: { queryRejectCondition: 'NOT_OPEN' } });
  const entity = (cluster: string) => entities.workflow.getHandle(clusterWorkflowId(cluster));

  return translating({
    settings,
    async submit(cluster, request) {
      // Without a spec it is about a cluster that is known: a misspelt name makes none.
      if (!request.spec) await record(cluster);
      return await requested<OperationRequest, Admitted>(operate, cluster, request);
    },
    adopt: (cluster, request) => requested<AdoptRequest, Admitted>(adoptCluster, cluster, request),
    breakLeases: (cluster, request) =>
      requested<BreakRequest, readonly HeldLease[]>(breakLeasesOf, cluster, request, BREAKING_MS),
    async cancel(cluster, by, { force = false } = {}) {
      const update = force ? forceOperation : cancelOperation;
      return await updated(cluster, () => entity(cluster).executeUpdate(update, { args: [by] }));
    },
    standstill: (cluster, workflowId) => standstillOf({ client, present, siteOf }, cluster, workflowId),
    async forget(cluster, by) {
      await updated(cluster, () => entity(cluster).executeUpdate(forgetCluster, { args: [by] }));
    },
    record,
    async find(cluster) {
      return await record(cluster).catch((error: unknown) => {
        if (error instanceof DeployError && error.code === 'CLUSTER_UNKNOWN') return undefined;
        throw error;
      });
    },
    async clusters() {
      const names: string[] = [];
      const running = client.workflow.list({ query: `WorkflowType = 'cluster' AND ExecutionStatus = 'Running'` });
      for await (const { workflowId } of running as AsyncIterable<WorkflowExecutionInfo>)
        names.push(workflowId.slice('cluster/'.length));
      return names.sort();
    },
    async progress(workflowId) {
      try {
        return await connection.withDeadline(Date.now() + queryMs, () =>
          client.workflow.getHandle(workflowId).query(operationProgress),
        );
      } catch (error) {
        if (error instanceof WorkflowNotFoundError || isNotYet(error)) return undefined;
        if (error instanceof QueryNotRegisteredError) return undefined; // It cannot go on: `standstill` says why.
        if (!isDeadline(error)) throw error;
        const unable = await unanswered(workflowId.split('/')[1]!, workflowId);
        if (unable.code === 'BLOCKED') return undefined;
        throw unable;
      }
    },
    async settled(workflowId) {
      for (;;) {
        try {
          await client.workflow.getHandle(workflowId).result();
          return;
        } catch (error) {
          // Where the server is away, the operation goes on without us: it is asked again, as long as it takes.
          if (!isAway(error)) {
            if (!(error instanceof WorkflowNotFoundError)) return;
            // One that waited to take over and was dropped never begins.
            const [, cluster, number] = workflowId.split('/');
            const known = (await record(cluster!)).deployments.find(({ deployment }) => deployment === Number(number));
            if (known && known.outcome !== 'running') return;
          }
          await new Promise((resolve) => setTimeout(resolve, 100)); // Admitted, and the entity is about to start it.
        }
      }
    },
    async ask<T>(workflowType: string, args: readonly unknown[]): Promise<T> {
      try {
        const handle = await client.workflow.start(workflowType, {
          workflowId: `${workflowType}/${randomUUID()}`,
          taskQueue: WORKFLOW_QUEUE,
          args: [...args],
        });
        const { spec } = args[0] as { readonly spec: Pick<ClusterSpec, 'site'> }; // What all of them are about.
        return (await taken(handle, spec.site)) as T;
      } catch (error) {
        throw askedFailure(error);
      }
    },
    diagnose: (site) => diagnose(connection, settings, site, () => present(site)),
    close: () => connection.close(),
  });

  /** Errors of Temporal by their names, whichever call they come from. */
  function translating(all: TandemClient): TandemClient {
    const entries = Object.entries(all).map(([name, value]: [string, unknown]) => {
      if (typeof value !== 'function') return [name, value];
      const call = async (...args: unknown[]): Promise<unknown> => {
        try {
          return await (value as (...args: unknown[]) => unknown)(...args);
        } catch (error) {
          throw temporalFailure(error, settings);
        }
      };
      return [name, call];
    });
    return Object.fromEntries(entries) as TandemClient;
  }

  /** What a question that had no answer in its time means: no server, a workflow that cannot answer, or nobody who takes it. */
  async function unanswered(cluster: string, workflowId = clusterWorkflowId(cluster)): Promise<DeployError> {
    const again = await connectTemporal(settings, LOOK_AGAIN_MS);
    await again.close();
    const ask = () => failingWhy(client, workflowId);
    const why = await connection.withDeadline(Date.now() + QUERY_MS, ask).catch(() => undefined);
    return why ? blocked(cluster, why) : noWorker('workflows');
  }

  async function siteOf(cluster: string): Promise<string> {
    return targetOf({}, await record(cluster))?.spec.site ?? 'default';
  }

  /**
   * Sends a request that no Temporal worker may take after its time, and waits for its answer: whatever this returns or
   * throws is final.
   */
  async function requested<Request extends { readonly notAfter: string }, Answer>(
    update: UpdateDefinition<Answer, [Request]>,
    cluster: string,
    request: Omit<Request, 'notAfter'>,
    answerMs = ANSWER_MS,
  ): Promise<Answer> {
    const updateId = randomUUID();
    const deadline = Date.now() + requestValidMs;
    const startWorkflowOperation = new WithStartWorkflowOperation('cluster', {
      workflowId: clusterWorkflowId(cluster),
      taskQueue: WORKFLOW_QUEUE,
      args: [{ cluster }],
      workflowIdConflictPolicy: 'USE_EXISTING',
      staticSummary: `Cluster **${cluster}**: its record and its operations`,
    });
    const args = [{ ...request, notAfter: new Date(deadline).toISOString() }] as unknown as [Request];
    const again = () => entity(cluster).getUpdateHandle<Answer>(updateId).result();
    let taken: WorkflowUpdateHandle<Answer>;
    try {
      taken = await connection.withDeadline(deadline, () =>
        client.workflow.startUpdateWithStart(update, {
          args,
          updateId,
          waitForStage: 'ACCEPTED',
          startWorkflowOperation,
        }),
      );
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) throw refusedUpdate(error);
      // It may have been taken and the answer lost: look once more, past the time until which it may be taken.
      return await lastLook(again, deadline, cluster, error);
    }
    try {
      return await connection.withDeadline(Date.now() + answerMs, () => taken.result());
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) throw refusedUpdate(error);
      throw unknownOutcome(cluster, settings.origin, error);
    }
  }

  async function lastLook<Answer>(
    result: () => Promise<Answer>,
    deadline: number,
    cluster: string,
    error: unknown,
  ): Promise<Answer> {
    if (isNotYet(error)) throw await unanswered(cluster); // The server did not even hand it over.
    if (!isDeadline(error)) throw error;
    await delay(Math.max(0, deadline - Date.now()) + 500);
    try {
      return await connection.withDeadline(Date.now() + 2_000, result);
    } catch (again) {
      if (again instanceof WorkflowUpdateFailedError) throw refusedUpdate(again);
      if (again instanceof WorkflowNotFoundError || isDeadline(again)) throw await unanswered(cluster);
      throw unknownOutcome(cluster, settings.origin, again);
    }
  }

  async function record(cluster: string): Promise<ClusterRecord> {
    try {
      return await readable(cluster, () =>
        connection.withDeadline(Date.now() + queryMs, () => entity(cluster).query(clusterRecord)),
      );
    } catch (error) {
      if (error instanceof QueryNotRegisteredError) throw blocked(cluster, error.message);
      throw isDeadline(error) || isNotYet(error) ? await unanswered(cluster) : error;
    }
  }

  /** An Update without a time limit of its own is delivered whenever a Temporal worker comes: so first see that one is there. */
  async function updated<T>(cluster: string, update: () => Promise<T>): Promise<T> {
    await record(cluster);
    try {
      return await readable(cluster, () => connection.withDeadline(Date.now() + requestValidMs, update));
    } catch (error) {
      if (isDeadline(error)) throw unknownOutcome(cluster, settings.origin, error);
      throw error;
    }
  }

  async function readable<T>(cluster: string, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) throw refusedUpdate(error);
      // The entity was just continuing as new: its next run is asked.
      if (error instanceof QueryRejectedError && error.status === CONTINUED_AS_NEW)
        return await readable(cluster, read);
      if (error instanceof WorkflowNotFoundError || error instanceof QueryRejectedError) throw clusterUnknown(cluster);
      throw error;
    }
  }

  /** The result of a workflow that only reads; one that nobody takes or goes on with is ended, so that nothing happens later. */
  async function taken(handle: WorkflowHandle, site: string): Promise<unknown> {
    const result = handle.result();
    const over = result.then(
      () => true,
      () => true,
    );
    for (let presentMs = 0; ;) {
      if (await Promise.race([over, delay(LOOK_AGAIN_MS, false)])) return await result;
      const all = (await withBatches(client, handle.workflowId)).map(({ raw }) => raw);
      const untaken = all.some(({ pendingWorkflowTask }) => {
        const since = timeOf(pendingWorkflowTask?.scheduledTime);
        return since !== undefined && Date.now() - since >= requestValidMs;
      });
      // One that began may have lost its Temporal worker, or wait until one has room.
      const waits = all.some(({ pendingActivities }) =>
        (pendingActivities ?? []).some((activity) => waitingSince(activity) !== undefined),
      );
      if (!untaken && (!waits || Date.now() - presentMs < requestValidMs)) continue;
      if (!untaken && (await present(site)) === 'site') presentMs = Date.now();
      else {
        await handle.terminate('no Temporal worker took it').catch(() => {}); // It may have ended at this very moment.
        throw noWorker(untaken ? 'workflows' : 'hosts');
      }
    }
  }

  /** Who answers now; the list of those who poll still shows a Temporal worker that was killed. */
  async function present(site: string): Promise<Present> {
    try {
      await client.workflow.execute('presence', {
        workflowId: `presence/${randomUUID()}`,
        taskQueue: WORKFLOW_QUEUE,
        args: [{ site }],
        workflowExecutionTimeout: PROBE_MS,
      });
      return 'site';
    } catch (error) {
      const failure = askedFailure(error);
      if (failure instanceof DeployError && failure.code === 'NO_WORKER') return 'workflows';
      if (error instanceof WorkflowFailedError && error.cause instanceof TimeoutFailure) return 'nobody';
      throw error;
    }
  }
}

const unknownOutcome = (cluster: string, origin: string, cause: unknown) =>
  new DeployError({
    code: 'UNKNOWN',
    message: `whether the request was carried out could not be read from ${origin} (${lastError(textOf(cause))}); it may still be`,
    remedy: `See \`tandem status ${cluster}\`.`,
    retryable: true,
    cause,
  });

const blocked = (cluster: string, why: string) =>
  new DeployError({
    code: 'BLOCKED',
    message: `nobody can read the record of ${cluster}, since its workflow cannot go on: ${why}`,
    remedy: mendEntity(clusterWorkflowId(cluster)),
    retryable: false,
  });

const clusterUnknown = (cluster: string) =>
  new DeployError({
    code: 'CLUSTER_UNKNOWN',
    message: `no cluster ${cluster} is known`,
    remedy: '`tandem list` shows the known ones; `tandem deploy FILE` makes one.',
    retryable: false,
  });

function refusedUpdate(error: WorkflowUpdateFailedError): Error {
  return error.cause instanceof ApplicationFailure ? fromFailure(error.cause) : error;
}

/** Why a workflow failed: what it said itself, or what its activity did. */
function askedFailure(error: unknown): unknown {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof ApplicationFailure) return fromFailure(cause);
    if (cause instanceof TimeoutFailure && cause.timeoutType === 'SCHEDULE_TO_START') return noWorker('hosts');
  }
  return error;
}

/** The error that an activity or a validator described. */
function fromFailure(failure: ApplicationFailure): DeployError {
  const details = failure.details?.[0] as { remedy?: string; host?: string; evidence?: string } | undefined;
  return new DeployError({
    code: failure.type && failure.type in ERROR_CODES ? (failure.type as ErrorCode) : 'INTERNAL',
    message: failure.message,
    remedy: details?.remedy ?? '',
    retryable: !failure.nonRetryable,
    ...(details?.host ? { host: details.host } : {}),
    ...(details?.evidence ? { evidence: raw(details.evidence) } : {}),
  });
}

/** WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW of Temporal's API. */
const CONTINUED_AS_NEW = 6;
