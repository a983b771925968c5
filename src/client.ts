import { randomUUID } from 'node:crypto';
import { ApplicationFailure, TimeoutFailure, type UpdateDefinition } from '@temporalio/common';
import {
  Client,
  Connection,
  QueryRejectedError,
  WithStartWorkflowOperation,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
  type WorkflowExecutionInfo,
  type WorkflowHandle,
} from '@temporalio/client';
import type { Finding } from './checks/check.ts';
import { diagnose } from './diagnose.ts';
import { DeployError, ERROR_CODES, type ErrorCode } from './errors.ts';
import { connectionSettings, dataConverter, temporalUnreachable, type ConnectionSettings } from './connection.ts';
import { ATTRIBUTES } from '../workflows/attributes.ts';
import {
  adoptCluster,
  cancelOperation,
  clusterRecord,
  clusterWorkflowId,
  forgetCluster,
  operate,
  operationProgress,
  WORKFLOW_QUEUE,
  type AdoptRequest,
  type Admitted,
  type ClusterRecord,
  type OperationProgress,
  type OperationRequest,
} from '../workflows/messages.ts';
import { raw } from './text/raw.ts';

/** How long a request stays valid when nobody takes it, in milliseconds. */
const REQUEST_VALID_MS = 20_000;
const CONNECT_TIMEOUT_MS = 5_000;
const QUERY_DEADLINE_MS = 10_000;
/** History of a workflow that no Temporal worker has taken: started, and its first task scheduled. */
const UNTOUCHED_EVENTS = 2;

/** All that the CLI asks of Temporal. Errors: TEMPORAL_UNREACHABLE, NO_WORKER, and the codes of refused Updates. */
export interface TandemClient {
  readonly settings: ConnectionSettings;
  /** Asks for an operation; returns once it is admitted. */
  submit(cluster: string, request: Omit<OperationRequest, 'notAfter'>): Promise<Admitted>;
  /** Cancels the running operation of a cluster. */
  cancel(cluster: string, by: { readonly actor: string; readonly reason?: string }): Promise<Admitted>;
  /** Gives a cluster the record that the hosts show. */
  adopt(cluster: string, request: Omit<AdoptRequest, 'notAfter'>): Promise<Admitted>;
  /** Ends the entity of a destroyed cluster, and its record with it. Errors: CLUSTER_UNKNOWN. */
  forget(cluster: string, by: { readonly actor: string }): Promise<void>;
  /** The record of a cluster. Errors: CLUSTER_UNKNOWN. */
  record(cluster: string): Promise<ClusterRecord>;
  /** As `record`; undefined where no cluster of this name is known. */
  find(cluster: string): Promise<ClusterRecord | undefined>;
  /** The names of all clusters that have an entity. */
  clusters(): Promise<readonly string[]>;
  /** Progress of an operation; undefined while it has not begun. */
  progress(workflowId: string): Promise<OperationProgress | undefined>;
  /** Waits for an operation's end; never throws for how it ended. */
  settled(workflowId: string): Promise<void>;
  /** Runs a workflow that is no operation of a cluster, and returns its result; `shown` is what Temporal's list says of it. */
  ask<T>(workflowType: string, args: readonly unknown[], shown?: Shown): Promise<T>;
  /** Until when a request that is made now stays valid, ISO 8601. */
  notAfter(): string;
  /** Whether the server has what Tandem needs, and a Temporal worker serves workflows and this site. */
  diagnose(site: string): Promise<readonly Finding[]>;
  close(): Promise<void>;
}

/** What is seen of a workflow in Temporal's list. */
export interface Shown {
  readonly summary: string;
  readonly cluster: string;
  readonly actor: string;
  readonly memo: Readonly<Record<string, string>>;
}

/** `requestValidMs` is how long a request waits for a Temporal worker to take it. */
export async function connectClient(
  settings: ConnectionSettings = connectionSettings(),
  identity?: string,
  { requestValidMs = REQUEST_VALID_MS }: { readonly requestValidMs?: number } = {},
): Promise<TandemClient> {
  const connection = await Connection.connect({
    ...settings.connectionOptions,
    connectTimeout: CONNECT_TIMEOUT_MS,
  }).catch((cause: unknown) => {
    throw temporalUnreachable(settings.origin, cause);
  });
  const options = { connection, namespace: settings.namespace, dataConverter, ...(identity ? { identity } : {}) };
  const client = new Client(options);
  // A forgotten cluster, or one whose entity was terminated, is not known any more, though Temporal keeps its history.
  const entities = new Client({ ...options, workflow: { queryRejectCondition: 'NOT_OPEN' } });
  const entity = (cluster: string) => entities.workflow.getHandle(clusterWorkflowId(cluster));

  return {
    settings,
    submit: (cluster, request) => requested<OperationRequest>(operate, cluster, request),
    adopt: (cluster, request) => requested<AdoptRequest>(adoptCluster, cluster, request),
    async cancel(cluster, by) {
      return await updated(cluster, () => entity(cluster).executeUpdate(cancelOperation, { args: [by] }));
    },
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
        return await connection.withDeadline(Date.now() + QUERY_DEADLINE_MS, () =>
          client.workflow.getHandle(workflowId).query(operationProgress),
        );
      } catch (error) {
        if (error instanceof WorkflowNotFoundError || isNotYet(error)) return undefined;
        throw error;
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
    async ask<T>(workflowType: string, args: readonly unknown[], shown?: Shown): Promise<T> {
      try {
        const handle = await client.workflow.start(workflowType, {
          workflowId: `${workflowType}/${randomUUID()}`,
          taskQueue: WORKFLOW_QUEUE,
          args: [...args],
          ...(shown ? listed(shown) : {}),
        });
        return (await taken(handle)) as T;
      } catch (error) {
        throw askedFailure(error);
      }
    },
    notAfter: () => new Date(Date.now() + requestValidMs).toISOString(),
    diagnose: (site) => diagnose(connection, settings, site),
    close: () => connection.close(),
  };

  /** Sends a request that no Temporal worker may take after its time: whatever this returns or throws is final. */
  async function requested<Request extends { readonly notAfter: string }>(
    update: UpdateDefinition<Admitted, [Request]>,
    cluster: string,
    request: Omit<Request, 'notAfter'>,
  ): Promise<Admitted> {
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
    try {
      return await connection.withDeadline(deadline, () =>
        client.workflow.executeUpdateWithStart(update, { args, updateId, startWorkflowOperation }),
      );
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) throw refusedUpdate(error);
      // It may have been admitted and the answer lost: look once more, past the time until which it may be admitted.
      return await lastLook(
        () => entity(cluster).getUpdateHandle<Admitted>(updateId).result(),
        deadline,
        cluster,
        settings.origin,
        connection,
        error,
      );
    }
  }

  async function record(cluster: string): Promise<ClusterRecord> {
    try {
      return await readable(cluster, () =>
        connection.withDeadline(Date.now() + QUERY_DEADLINE_MS, () => entity(cluster).query(clusterRecord)),
      );
    } catch (error) {
      if (isDeadline(error)) throw noWorker();
      throw error;
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

  /** The result of a workflow; one that no Temporal worker has begun in time is ended, so that nothing happens later. */
  async function taken(handle: WorkflowHandle): Promise<unknown> {
    const result = handle.result();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => (timer = setTimeout(() => resolve('late'), requestValidMs)));
    try {
      const first = await Promise.race([
        result.then(
          () => 'ended',
          () => 'ended',
        ),
        late,
      ]);
      if (first === 'late' && (await handle.describe()).historyLength <= UNTOUCHED_EVENTS) {
        await handle.terminate('no Temporal worker took it');
        throw noWorker();
      }
      return await result;
    } finally {
      clearTimeout(timer);
    }
  }
}

async function lastLook(
  result: () => Promise<Admitted>,
  deadline: number,
  cluster: string,
  origin: string,
  connection: Connection,
  error: unknown,
): Promise<Admitted> {
  if (!isDeadline(error)) throw temporalUnreachable(origin, error);
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, deadline - Date.now()) + 500));
  try {
    return await connection.withDeadline(Date.now() + 2_000, result);
  } catch (again) {
    if (again instanceof WorkflowUpdateFailedError) throw refusedUpdate(again);
    if (again instanceof WorkflowNotFoundError || isDeadline(again)) throw noWorker();
    throw unknownOutcome(cluster, origin, again);
  }
}

const unknownOutcome = (cluster: string, origin: string, cause: unknown) =>
  new DeployError({
    code: 'UNKNOWN',
    message: `whether the request was carried out could not be read from ${origin}; it may still be`,
    remedy: `See \`tandem status ${cluster}\`.`,
    retryable: true,
    cause,
  });

const listed = ({ summary, cluster, actor, memo }: Shown) => ({
  staticSummary: summary,
  memo,
  typedSearchAttributes: [
    { key: ATTRIBUTES.cluster, value: cluster },
    { key: ATTRIBUTES.actor, value: actor },
  ],
});

const noWorker = () =>
  new DeployError({
    code: 'NO_WORKER',
    message: `no Temporal worker took the request from queue "${WORKFLOW_QUEUE}"; nothing was done and nothing will happen later`,
    remedy: 'Start one: `tandem worker`, or the local stack: `tandem local up`.',
    retryable: true,
  });

const noSiteWorker = () =>
  new DeployError({
    code: 'NO_WORKER',
    message: 'no Temporal worker of the site took the task; nothing was done and nothing will happen later',
    remedy: 'Start one that reaches the hosts: `tandem worker --site SITE`.',
    retryable: true,
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
    if (cause instanceof TimeoutFailure && cause.timeoutType === 'SCHEDULE_TO_START') return noSiteWorker();
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

const codeOf = (error: unknown): unknown =>
  typeof error === 'object' && error !== null && 'code' in error
    ? error.code
    : error instanceof Error
      ? codeOf(error.cause)
      : undefined;

const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const UNAVAILABLE = 14;
/** WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW of Temporal's API. */
const CONTINUED_AS_NEW = 6;
const FAILED_PRECONDITION = 9;

/** A server that sees the end of the time limit before its client does cancels the call. */
const isDeadline = (error: unknown): boolean =>
  error instanceof WorkflowUpdateRPCTimeoutOrCancelledError ||
  codeOf(error) === DEADLINE_EXCEEDED ||
  codeOf(error) === CANCELLED;

/** The server does not answer now. */
const isAway = (error: unknown): boolean => isDeadline(error) || codeOf(error) === UNAVAILABLE;

/** A query of a workflow whose first task has not run yet. */
const isNotYet = (error: unknown): boolean => codeOf(error) === FAILED_PRECONDITION || isDeadline(error);
