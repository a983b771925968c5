import { randomUUID } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/common';
import {
  Client,
  Connection,
  WithStartWorkflowOperation,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
  type WorkflowExecutionInfo,
} from '@temporalio/client';
import type { Finding } from './checks/check.ts';
import { diagnose } from './diagnose.ts';
import { DeployError, ERROR_CODES, type ErrorCode } from './errors.ts';
import { connectionSettings, dataConverter, temporalUnreachable, type ConnectionSettings } from './connection.ts';
import {
  cancelOperation,
  clusterRecord,
  clusterWorkflowId,
  operate,
  operationProgress,
  WORKFLOW_QUEUE,
  type Admitted,
  type ClusterRecord,
  type OperationProgress,
  type OperationRequest,
} from '../workflows/messages.ts';

/** How long a request stays valid when nobody takes it, in milliseconds. */
const REQUEST_VALID_MS = 20_000;
const CONNECT_TIMEOUT_MS = 5_000;
const QUERY_DEADLINE_MS = 10_000;

/** All that the CLI asks of Temporal. Errors: TEMPORAL_UNREACHABLE, NO_WORKER, and the codes of refused Updates. */
export interface TandemClient {
  readonly settings: ConnectionSettings;
  /** Asks for an operation; returns once it is admitted. */
  submit(cluster: string, request: Omit<OperationRequest, 'notAfter'>): Promise<Admitted>;
  /** Cancels the running operation of a cluster. */
  cancel(cluster: string, by: { readonly actor: string; readonly reason?: string }): Promise<Admitted>;
  /** The record of a cluster. Errors: CLUSTER_UNKNOWN. */
  record(cluster: string): Promise<ClusterRecord>;
  /** The names of all clusters that have an entity. */
  clusters(): Promise<readonly string[]>;
  /** Progress of an operation; undefined while it has not begun. */
  progress(workflowId: string): Promise<OperationProgress | undefined>;
  /** Waits for an operation's end; never throws for how it ended. */
  settled(workflowId: string): Promise<void>;
  /** Runs a workflow that only reads, and returns its result. */
  ask<T>(workflowType: string, args: readonly unknown[]): Promise<T>;
  /** Whether the server has what Tandem needs, and a Temporal worker serves workflows and this site. */
  diagnose(site: string): Promise<readonly Finding[]>;
  close(): Promise<void>;
}

export async function connectClient(
  settings: ConnectionSettings = connectionSettings(),
  identity?: string,
): Promise<TandemClient> {
  const connection = await Connection.connect({
    ...settings.connectionOptions,
    connectTimeout: CONNECT_TIMEOUT_MS,
  }).catch((cause: unknown) => {
    throw temporalUnreachable(settings.origin, cause);
  });
  const client = new Client({
    connection,
    namespace: settings.namespace,
    dataConverter,
    ...(identity ? { identity } : {}),
  });
  const entity = (cluster: string) => client.workflow.getHandle(clusterWorkflowId(cluster));

  return {
    settings,
    async submit(cluster, request) {
      const updateId = randomUUID();
      const deadline = Date.now() + REQUEST_VALID_MS;
      const startWorkflowOperation = new WithStartWorkflowOperation('cluster', {
        workflowId: clusterWorkflowId(cluster),
        taskQueue: WORKFLOW_QUEUE,
        args: [{ cluster }],
        workflowIdConflictPolicy: 'USE_EXISTING',
        staticSummary: `Cluster **${cluster}**: its record and its operations`,
      });
      const args: [OperationRequest] = [{ ...request, notAfter: new Date(deadline).toISOString() }];
      try {
        return await connection.withDeadline(deadline, () =>
          client.workflow.executeUpdateWithStart(operate, { args, updateId, startWorkflowOperation }),
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
    },
    async cancel(cluster, by) {
      return await readable(cluster, () =>
        connection.withDeadline(Date.now() + REQUEST_VALID_MS, () =>
          entity(cluster).executeUpdate(cancelOperation, { args: [by] }),
        ),
      );
    },
    async record(cluster) {
      return await readable(cluster, () =>
        connection.withDeadline(Date.now() + QUERY_DEADLINE_MS, () => entity(cluster).query(clusterRecord)),
      );
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
          if (!(error instanceof WorkflowNotFoundError)) return;
          await new Promise((resolve) => setTimeout(resolve, 100)); // Admitted, and the entity is about to start it.
        }
      }
    },
    async ask<T>(workflowType: string, args: readonly unknown[]): Promise<T> {
      try {
        return (await client.workflow.execute(workflowType, {
          workflowId: `${workflowType}/${randomUUID()}`,
          taskQueue: WORKFLOW_QUEUE,
          args: [...args],
        })) as T;
      } catch (error) {
        const cause = error instanceof Error && 'cause' in error ? error.cause : error;
        if (cause instanceof ApplicationFailure) throw fromFailure(cause);
        throw error;
      }
    },
    diagnose: (site) => diagnose(connection, settings, site),
    close: () => connection.close(),
  };

  async function readable<T>(cluster: string, read: () => Promise<T>): Promise<T> {
    try {
      return await read();
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError) throw refusedUpdate(error);
      if (error instanceof WorkflowNotFoundError) throw clusterUnknown(cluster);
      if (isDeadline(error)) throw noWorker();
      throw error;
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
    throw new DeployError({
      code: 'UNKNOWN',
      message: `whether the request was admitted could not be read from ${origin}`,
      remedy: `See \`tandem status ${cluster}\`.`,
      retryable: true,
      cause: again,
    });
  }
}

const noWorker = () =>
  new DeployError({
    code: 'NO_WORKER',
    message: `no Temporal worker took the request from queue "${WORKFLOW_QUEUE}"; nothing was done and nothing will happen later`,
    remedy: 'Start one: `tandem worker`, or the local stack: `tandem local up`.',
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

/** The error that an activity or a validator described. */
function fromFailure(failure: ApplicationFailure): DeployError {
  const details = failure.details?.[0] as { remedy?: string; host?: string; evidence?: string } | undefined;
  return new DeployError({
    code: failure.type && failure.type in ERROR_CODES ? (failure.type as ErrorCode) : 'INTERNAL',
    message: failure.message,
    remedy: details?.remedy ?? '',
    retryable: !failure.nonRetryable,
    ...(details?.host ? { host: details.host } : {}),
    ...(details?.evidence ? { evidence: details.evidence } : {}),
  });
}

const codeOf = (error: unknown): unknown =>
  typeof error === 'object' && error !== null && 'code' in error
    ? error.code
    : error instanceof Error
      ? codeOf(error.cause)
      : undefined;

const DEADLINE_EXCEEDED = 4;
const FAILED_PRECONDITION = 9;

const isDeadline = (error: unknown): boolean =>
  error instanceof WorkflowUpdateRPCTimeoutOrCancelledError || codeOf(error) === DEADLINE_EXCEEDED;

/** A query of a workflow whose first task has not run yet. */
const isNotYet = (error: unknown): boolean => codeOf(error) === FAILED_PRECONDITION || isDeadline(error);
