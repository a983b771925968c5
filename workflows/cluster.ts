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
  type ChildWorkflowHandle,
  type Workflow,
} from '@temporalio/workflow';
import { admitAdoption, admitCancel, admitForget, admitOperation } from './admission.ts';
import { ATTRIBUTES } from './attributes.ts';
import {
  adoptCluster,
  cancelOperation,
  clusterRecord,
  forgetCluster,
  operate,
  yieldOperation,
  type ClusterRecord,
  type OperationFailure,
  type OperationInput,
  type OperationResult,
  type Outcome,
} from './messages.ts';
import { admitted, adopted, dropped, emptyRecord, ended, targetOf, type Conclusion, type Pending } from './record.ts';
import { code } from '../src/text/markdown.ts';

/** What a run of the entity hands to the next. */
export interface ClusterInput {
  readonly cluster: string;
  readonly record?: ClusterRecord;
}

/**
 * The cluster over time: admits one operation at a time, and one more that takes over from it; runs each as a child,
 * keeps the record, and continues as new after every operation, which is where a new release of Tandem takes over.
 * Cancelling it cancels what runs.
 */
export async function cluster({ cluster: name, record }: ClusterInput): Promise<void> {
  let state = record ?? emptyRecord(name, workflowInfo().firstExecutionRunId);
  let next: Pending | undefined;
  let scope: CancellationScope | undefined;
  let child: ChildWorkflowHandle<Workflow> | undefined;
  let cancelAsked = false;
  let renew = false;
  let forgotten = false;

  const cancelRunning = () => {
    cancelAsked = true;
    scope?.cancel();
  };
  /** Tells the running operation who waits for it. It may end at this very moment. */
  const askToYield = async () => {
    if (!child || !next) return;
    const { deployment, request } = next;
    const to = { deployment, actor: request.actor };
    await CancellationScope.nonCancellable(() => child!.signal(yieldOperation, to)).catch(() => {});
  };

  setHandler(clusterRecord, () => state, { description: 'The record: state, deployments, what serves.' });
  setHandler(
    operate,
    (request) => {
      const deployment = state.lastDeployment + 1;
      const workflowId = `${request.operation}/${name}/${deployment}`;
      next = { request, deployment, workflowId, ...targetOf(request, state)! };
      if (!state.running) cancelAsked = false;
      state = admitted(state, next, now());
      void askToYield();
      return { deployment, workflowId };
    },
    { validator: (request) => admitOperation(request, state), description: 'Ask for an operation on this cluster.' },
  );
  setHandler(
    cancelOperation,
    (_by) => {
      const { deployment, workflowId } = (state.waiting ?? state.running)!;
      if (state.waiting) {
        next = undefined;
        state = dropped(state, now());
      } else cancelRunning();
      return { deployment, workflowId };
    },
    {
      validator: (_by) => admitCancel(state),
      description:
        'Cancel the running operation: it unwinds what it did. Where one waits to take over, that one is dropped.',
    },
  );
  setHandler(
    adoptCluster,
    (request) => {
      state = adopted(state, request, now());
      renew = true;
      return { deployment: request.lastDeployment, workflowId: workflowInfo().workflowId };
    },
    {
      validator: (request) => admitAdoption(request, state),
      description: 'Take over what hosts show of a cluster whose record was lost.',
    },
  );
  setHandler(forgetCluster, (_by) => void (forgotten = true), {
    validator: (_by) => admitForget(state),
    description: 'End this record. Refused while engines are left.',
  });
  // Cancel on the entity means: cancel what runs. The entity itself stays.
  void CancellationScope.current().cancelRequested.catch(cancelRunning);

  await CancellationScope.nonCancellable(async () => {
    do {
      await condition(() => next !== undefined || renew || forgotten);
      for (; next !== undefined; cancelAsked = false) {
        const current = next;
        next = undefined;
        scope = new CancellationScope();
        if (cancelAsked) scope.cancel();
        const begun = async () => {
          child = await startOperation(current, state);
          void askToYield(); // One may have come meanwhile.
          return await child.result();
        };
        const conclusion = await scope.run(begun).then(concluded, conclusionOf);
        [scope, child] = [undefined, undefined];
        state = ended(state, current, conclusion, now());
      }
      await condition(allHandlersFinished);
    } while (next !== undefined);
    if (!forgotten) await continueAsNew<typeof cluster>({ cluster: name, record: state });
  });
}

const now = () => new Date().toISOString();

const startOperation = (
  { request, deployment, workflowId, spec, specDigest }: Pending,
  state: ClusterRecord,
): Promise<ChildWorkflowHandle<Workflow>> =>
  startChild(request.operation, {
    workflowId,
    args: [inputOf({ request, deployment, spec, specDigest }, state)],
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
    staticSummary: `${request.operation} **${state.cluster}** deployment ${deployment} by ${code(request.actor)}`,
    staticDetails: [
      `Model ${code(spec.model.id)}, ${spec.prefill.replicas} prefill and ${spec.decode.replicas} decode engines.`,
      ...(request.reason ? [`Reason: ${code(request.reason)}`] : []),
      `Spec ${code(specDigest)}.`,
    ].join('\n\n'),
  });

/** Outcomes after which something of this record's own may be on hosts. */
const LEAVING: readonly Outcome[] = ['succeeded', 'superseded', 'frozen', 'stuck'];

const inputOf = (
  { request, deployment, spec, specDigest }: Omit<Pending, 'workflowId'>,
  { cluster: name, installation, serving, deployments }: ClusterRecord,
): OperationInput => ({
  cluster: name,
  deployment,
  installation,
  operation: request.operation,
  actor: request.actor,
  spec,
  specDigest,
  serving,
  purge: request.purge ?? false,
  abandon: request.abandon ?? [],
  recorded: serving !== null || deployments.some(({ outcome }) => LEAVING.includes(outcome)),
});

const concluded = (result: unknown): Conclusion => {
  const { outcome } = result as OperationResult;
  return { outcome, result: result as OperationResult };
};

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
      difference: [],
      kept: [],
    },
  };
}

const isOperationFailure = (value: unknown): value is OperationFailure =>
  typeof value === 'object' && value !== null && 'failed' in value && 'leftBehind' in value;
