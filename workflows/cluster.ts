import {
  allHandlersFinished,
  ApplicationFailure,
  CancelledFailure,
  CancellationScope,
  ChildWorkflowFailure,
  condition,
  continueAsNew,
  isCancellation,
  ParentClosePolicy,
  setHandler,
  startChild,
  workflowInfo,
} from '@temporalio/workflow';
import type { ClusterSpec } from '../src/spec/schema.ts';
import { ATTRIBUTES } from './attributes.ts';
import {
  cancelOperation,
  clusterRecord,
  operate,
  type Admitted,
  type ClusterRecord,
  type ClusterState,
  type DeploymentRecord,
  type OperationFailure,
  type OperationInput,
  type OperationRequest,
  type OperationResult,
  type Outcome,
  type Serving,
} from './messages.ts';

/** Most JSON text that the entity carries in spec bodies, in characters; the oldest are dropped beyond it. */
const SPEC_BUDGET = 1024 * 1024;
/** Deployment records kept; Temporal's own list holds all that its retention allows. */
const RECORDS_KEPT = 500;

/** What a run of the entity hands to the next. */
export interface ClusterInput {
  readonly cluster: string;
  readonly record?: ClusterRecord;
}

interface Pending extends Admitted {
  readonly request: OperationRequest;
  readonly spec: ClusterSpec;
  readonly specDigest: string;
}

/**
 * The cluster over time: admits one operation at a time, runs each as a child, keeps the record, and continues as new
 * after every operation, which is where a new release of Tandem takes over. Cancelling it cancels what runs.
 */
export async function cluster({ cluster: name, record }: ClusterInput): Promise<void> {
  let state: ClusterRecord = record ?? emptyRecord(name, workflowInfo().firstExecutionRunId);
  let pending: Pending | undefined;
  let scope: CancellationScope | undefined;
  let cancelAsked = false;

  const cancelRunning = () => {
    cancelAsked = true;
    scope?.cancel();
  };

  setHandler(clusterRecord, () => state, { description: 'The record: state, deployments, what serves.' });
  setHandler(
    operate,
    (request) => {
      const deployment = lastNumber(state) + 1;
      const workflowId = `${request.operation}/${name}/${deployment}`;
      const { spec, specDigest } = targetOf(request, state)!;
      cancelAsked = false;
      pending = { request, deployment, workflowId, spec, specDigest };
      state = begun(state, pending);
      return { deployment, workflowId };
    },
    { validator: (request) => admit(request, state), description: 'Ask for an operation on this cluster.' },
  );
  setHandler(
    cancelOperation,
    (_by) => {
      const { deployment, workflowId } = state.running!;
      cancelRunning();
      return { deployment, workflowId };
    },
    {
      validator: (_by) => {
        if (state.running) return;
        throw refusal('OPERATION_RUNNING', `no operation runs on ${name}`, `See \`tandem status ${name}\`.`);
      },
      description: 'Cancel the running operation: it unwinds what it did.',
    },
  );
  // Cancel on the entity means: cancel what runs. The entity itself stays.
  void CancellationScope.current().cancelRequested.catch(cancelRunning);

  await CancellationScope.nonCancellable(async () => {
    do {
      await condition(() => pending !== undefined);
      const current = pending!;
      pending = undefined;
      scope = new CancellationScope();
      if (cancelAsked) scope.cancel();
      const conclusion = await scope.run(() => runOperation(current, state)).catch(conclusionOf);
      scope = undefined;
      state = ended(state, current, conclusion);
      await condition(allHandlersFinished);
    } while (pending !== undefined);
    await continueAsNew<typeof cluster>({ cluster: name, record: state });
  });
}

async function runOperation(
  { request, deployment, workflowId, spec, specDigest }: Pending,
  state: ClusterRecord,
): Promise<Conclusion> {
  const input: OperationInput = {
    cluster: state.cluster,
    deployment,
    installation: state.installation,
    operation: request.operation,
    actor: request.actor,
    spec,
    specDigest,
    serving: state.serving,
    purge: request.purge ?? false,
  };
  const child = await startChild(request.operation, {
    workflowId,
    args: [input],
    parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
    cancellationType: 'WAIT_CANCELLATION_COMPLETED',
    typedSearchAttributes: [
      { key: ATTRIBUTES.cluster, value: state.cluster },
      { key: ATTRIBUTES.operation, value: request.operation },
      { key: ATTRIBUTES.deployment, value: deployment },
      { key: ATTRIBUTES.actor, value: request.actor },
      { key: ATTRIBUTES.model, value: spec.model.id },
      { key: ATTRIBUTES.specDigest, value: specDigest },
      { key: ATTRIBUTES.outcome, value: 'running' },
    ],
    memo: { reason: request.reason ?? '', ...request.memo },
    staticSummary: `${request.operation} **${state.cluster}** deployment ${deployment} by ${request.actor}`,
    staticDetails: [
      `Model \`${spec.model.id}\`, ${spec.prefill.replicas} prefill and ${spec.decode.replicas} decode engines.`,
      ...(request.reason ? [`Reason: ${request.reason}`] : []),
      `Spec \`${specDigest}\`.`,
    ].join('\n\n'),
  });
  const result = (await child.result()) as OperationResult;
  return { outcome: result.outcome, result };
}

interface Conclusion {
  readonly outcome: Outcome;
  readonly result?: OperationResult;
  readonly failure?: OperationFailure;
}

/** Reads how the child ended from its failure. Anything unforeseen counts as stuck: it may have left something. */
function conclusionOf(error: unknown): Conclusion {
  const cause = error instanceof ChildWorkflowFailure ? error.cause : error;
  if (cause instanceof ApplicationFailure && isOperationFailure(cause.details?.[0])) {
    const failure = cause.details[0];
    return { outcome: failure.outcome, failure };
  }
  if (cause instanceof CancelledFailure || isCancellation(error)) return { outcome: 'cancelled' };
  const message = cause instanceof Error ? cause.message : String(cause);
  return {
    outcome: 'stuck',
    failure: {
      outcome: 'stuck',
      failed: {
        step: '',
        host: '',
        code: 'INTERNAL',
        message,
        evidence: '',
        remedy: 'Look at the operation in the Temporal UI, then deploy or destroy again.',
      },
      leftBehind: ['unknown: the operation ended without saying'],
    },
  };
}

const isOperationFailure = (value: unknown): value is OperationFailure =>
  typeof value === 'object' && value !== null && 'failed' in value && 'leftBehind' in value;

function admit(request: OperationRequest, state: ClusterRecord): void {
  const { cluster: name, running } = state;
  if (running) {
    throw refusal(
      'OPERATION_RUNNING',
      `${running.operation} (deployment ${running.deployment}) of ${name} runs since ${running.since}, by ${running.by}`,
      `Wait for it (\`tandem status ${name} --watch\`) or end it (\`tandem cancel ${name}\`).`,
    );
  }
  if (Date.now() > Date.parse(request.notAfter)) {
    throw refusal(
      'OPERATION_LATE',
      `the request was valid until ${request.notAfter} and arrived later; nothing was done`,
      'Ask again.',
    );
  }
  if (!targetOf(request, state)) {
    throw refusal(
      'CLUSTER_UNKNOWN',
      `nothing is known of a cluster ${name}`,
      'Deploy it first, or give its spec: `tandem destroy NAME --spec FILE`.',
    );
  }
}

/** The spec an operation aims at: the given one, else the one that serves, else the newest known. */
function targetOf(
  request: OperationRequest,
  state: ClusterRecord,
): { spec: ClusterSpec; specDigest: string } | undefined {
  if (request.spec && request.specDigest) return { spec: request.spec, specDigest: request.specDigest };
  const digests = [state.serving?.specDigest, ...state.deployments.map(({ specDigest }) => specDigest).reverse()];
  const specDigest = digests.find((digest) => digest !== undefined && state.specs[digest] !== undefined);
  return specDigest === undefined ? undefined : { spec: state.specs[specDigest]!, specDigest };
}

const refusal = (code: string, message: string, remedy: string) =>
  ApplicationFailure.create({ type: code, message, nonRetryable: true, details: [{ remedy }] });

const emptyRecord = (name: string, installation: string): ClusterRecord => ({
  cluster: name,
  installation,
  state: 'none',
  running: null,
  serving: null,
  deployments: [],
  specs: {},
});

const lastNumber = ({ deployments }: ClusterRecord): number => deployments.at(-1)?.deployment ?? 0;

function begun(state: ClusterRecord, { request, deployment, workflowId, spec, specDigest }: Pending): ClusterRecord {
  const startedAt = new Date().toISOString();
  const entry: DeploymentRecord = {
    deployment,
    operation: request.operation,
    actor: request.actor,
    reason: request.reason ?? '',
    startedAt,
    outcome: 'running',
    specDigest,
    workflowId,
    leftBehind: [],
  };
  return {
    ...state,
    state: 'deploying',
    running: { operation: request.operation, deployment, by: request.actor, since: startedAt, workflowId },
    deployments: [...state.deployments, entry].slice(-RECORDS_KEPT),
    specs: withinBudget({ ...state.specs, [specDigest]: spec }),
  };
}

function ended(state: ClusterRecord, { deployment }: Pending, { outcome, result, failure }: Conclusion): ClusterRecord {
  const serving = result ? result.serving : state.serving;
  const finished: Partial<DeploymentRecord> = {
    finishedAt: new Date().toISOString(),
    outcome,
    ...(failure ? { failed: failure.failed, leftBehind: failure.leftBehind } : {}),
    ...(result?.measured ? { measured: result.measured } : {}),
  };
  return {
    ...state,
    running: null,
    serving,
    state: stateAfter(outcome, serving, state.deployments),
    deployments: state.deployments.map((entry) =>
      entry.deployment === deployment ? { ...entry, ...finished } : entry,
    ),
  };
}

function stateAfter(outcome: Outcome, serving: Serving | null, before: readonly DeploymentRecord[]): ClusterState {
  if (outcome === 'stuck') return 'stuck';
  if (serving) return 'serving';
  const everServed = outcome === 'succeeded' || before.some((entry) => entry.outcome === 'succeeded');
  return everServed ? 'stopped' : 'none';
}

/** Drops the oldest bodies until the rest fits; insertion order is age, and the newest is always kept. */
function withinBudget(specs: Readonly<Record<string, ClusterSpec>>): Readonly<Record<string, ClusterSpec>> {
  const kept: [string, ClusterSpec][] = [];
  let size = 0;
  for (const [digest, spec] of Object.entries(specs).reverse()) {
    size += JSON.stringify(spec).length;
    if (size > SPEC_BUDGET && kept.length > 0) break;
    kept.unshift([digest, spec]);
  }
  return Object.fromEntries(kept);
}
