import {
  allHandlersFinished,
  ApplicationFailure,
  CancelledFailure,
  CancellationScope,
  ChildWorkflowFailure,
  condition,
  continueAsNew,
  executeChild,
  isCancellation,
  ParentClosePolicy,
  setHandler,
  sleep,
  startChild,
  TerminatedFailure,
  workflowInfo,
  type ChildWorkflowHandle,
  type Workflow,
} from '@temporalio/workflow';
import {
  admitAdoption,
  admitBreaking,
  admitCancel,
  admitForget,
  admitOperation,
  otherRuns,
} from '../src/operations/admission.ts';
import { clusterWorkflowId } from '../src/operations/names.ts';
import type { EndedBy, OperationFailure, OperationResult, Outcome } from '../src/operations/outcomes.ts';
import {
  type ClusterRecord,
  admitted,
  adopted,
  dropped,
  emptyRecord,
  ended,
  endedBy,
  isEmpty,
  recordOf,
  targetOf,
  type Conclusion,
  type Pending,
} from '../src/operations/record.ts';
import type { AdoptRequest, Admitted, BreakRequest, By, OperationRequest } from '../src/operations/requests.ts';
import type { HeldLease } from '../src/plan/types.ts';
import { ATTRIBUTES } from './attributes.ts';
import { handling, refusal, validating } from './failed.ts';
import {
  adoptCluster,
  breakLeasesOf,
  cancelOperation,
  clusterRecord,
  endOperation,
  forceOperation,
  forgetCluster,
  operate,
  type OperationInput,
} from './messages.ts';
import { temporalWithin } from './proxies.ts';
import { code } from '../src/text/markdown.ts';

/** What a run of the entity hands to the next. */
export interface ClusterInput {
  readonly cluster: string;
  readonly record?: ClusterRecord;
  /** An operation that took over: it has its number, and is begun by this run. */
  readonly pending?: Pending;
}

/** How long an entity without any record waits for its first request, which may have been refused. */
const UNUSED = '1 minute';

/**
 * The cluster over time: admits one operation at a time, and one more that takes over from it; runs it as a child, keeps
 * the record, and continues as new after every operation, which is where a new release of Tandem takes over, and where
 * Temporal's cancel of the entity works anew: it works once in a run, and cancels what runs.
 */
export async function cluster({ cluster: name, record, pending }: ClusterInput): Promise<void> {
  if (typeof name !== 'string' || !NAME.test(name) || workflowInfo().workflowId !== clusterWorkflowId(name))
    throw refusal('USAGE', 'this is no record of a cluster', 'Start one by `tandem deploy FILE`.');
  let state = record ? recordOf(record) : emptyRecord(name, workflowInfo().firstExecutionRunId);
  let next = pending;
  let scope: CancellationScope | undefined;
  let child: ChildWorkflowHandle<Workflow> | undefined;
  let cancelAsked = false;
  /** Who breaks leases now: no operation begins meanwhile. */
  let breaking: By | undefined;
  let renew = false;
  let forgotten = false;

  const cancelRunning = () => {
    cancelAsked = true;
    scope?.cancel();
  };
  /** Tells the running operation who ends it. It may end at this very moment. */
  const tell = async (by: EndedBy) => {
    state = endedBy(state, by);
    if (child) await CancellationScope.nonCancellable(() => child!.signal(endOperation, by)).catch(() => {});
  };
  const askToYield = async () => {
    if (!next || !child) return;
    const { deployment, request } = next;
    await tell({
      how: 'take-over',
      actor: request.actor,
      reason: request.reason ?? '',
      at: now(),
      for: deployment,
    });
  };
  const admit = (request: OperationRequest) => {
    if (breaking) throw otherRuns(`leases of ${name} are being broken by ${breaking.actor}`, 'Ask again in a minute.');
    admitOperation(request, state);
  };

  setHandler(clusterRecord, () => state, { description: 'The record: state, deployments, what serves.' });
  setHandler(
    operate,
    handling(async (request: OperationRequest): Promise<Admitted> => {
      const { nextDeployment: deployment } = await quiet(state);
      admit(request); // Another one may have come meanwhile.
      const workflowId = `${request.operation}/${name}/${deployment}`;
      const asked = { request, deployment, workflowId, ...targetOf(request, state)! };
      state = admitted(state, asked, now());
      if (!state.waiting) cancelAsked = false;
      next = asked;
      void askToYield();
      return { deployment, workflowId };
    }),
    { validator: validating(admit), description: 'Ask for an operation on this cluster.' },
  );
  setHandler(
    cancelOperation,
    handling(async ({ actor, reason = '' }: By): Promise<Admitted> => {
      const { deployment, workflowId } = (state.waiting ?? state.running)!;
      const by: EndedBy = { how: 'cancel', actor, reason, at: now() };
      if (state.waiting) {
        state = dropped(state, by);
        next = undefined;
      } else if (!cancelAsked) {
        const told = tell(by); // The signal reaches it before the cancellation.
        cancelRunning();
        await told;
      }
      return { deployment, workflowId };
    }),
    {
      validator: validating((by: By) => admitCancel(by, state)),
      description:
        'Cancel the running operation: it unwinds what it did. Where one waits to take over, that one is dropped.',
    },
  );
  setHandler(
    forceOperation,
    handling(async (by: By): Promise<Admitted> => {
      const { deployment, workflowId } = state.running!;
      state = endedBy(state, { how: 'force', actor: by.actor, reason: by.reason ?? '', at: now() });
      if (child) await temporalWithin(1, `end ${workflowId} by force`).terminateOperation({ workflowId, by });
      else cancelRunning(); // It has not begun.
      return { deployment, workflowId };
    }),
    {
      validator: validating((by: By) => admitCancel(by, state)),
      description: 'End an operation that cannot end by itself; nothing is undone, and the next one converges.',
    },
  );
  setHandler(
    adoptCluster,
    handling((request: AdoptRequest): Admitted => {
      state = adopted(state, request, now());
      renew = true;
      return { deployment: request.lastDeployment, workflowId: workflowInfo().workflowId };
    }),
    {
      validator: validating((request: AdoptRequest) => admitAdoption(request, state)),
      description: 'Take over what hosts show of a cluster whose record was lost.',
    },
  );
  setHandler(
    breakLeasesOf,
    handling(async (request: BreakRequest): Promise<readonly HeldLease[]> => {
      await quiet(state);
      admitBreaking(request, state);
      breaking = request;
      try {
        return await breakAsChild(name, request);
      } finally {
        breaking = undefined;
        renew = true;
      }
    }),
    {
      validator: validating((request: BreakRequest) => {
        if (breaking) throw otherRuns(`leases of ${name} are being broken by ${breaking.actor}`, 'Ask again.');
        admitBreaking(request, state);
      }),
      description: 'Break leases of this cluster that nobody will release.',
    },
  );
  setHandler(
    forgetCluster,
    handling((_by: By) => void (forgotten = true)),
    {
      validator: validating((by: By) => admitForget(by, state)),
      description: 'End this record. Refused while engines are left.',
    },
  );
  // Cancel on the entity means: cancel what runs. The entity itself stays, and goes on in a run that can be cancelled again.
  void CancellationScope.current().cancelRequested.catch(() => {
    cancelRunning();
    renew = true;
  });

  await CancellationScope.nonCancellable(async () => {
    const asked = () => next !== undefined || renew || forgotten;
    if (isEmpty(state)) await condition(asked, UNUSED);
    else await condition(asked);
    if (next) {
      const current = next;
      next = undefined;
      scope = new CancellationScope();
      if (cancelAsked) scope.cancel();
      const begun = async () => {
        child = await startOperation(current, state);
        void askToYield(); // One may have come meanwhile.
        return await child.result();
      };
      const ending = await scope.run(begun).then(concluded, endingOf);
      [scope, child] = [undefined, undefined];
      state = ended(state, current, await settled(ending, current, state), now());
    }
    await condition(allHandlersFinished);
    if (forgotten || (isEmpty(state) && !next && !renew)) return;
    await continueAsNew<typeof cluster>({ cluster: name, record: state, ...(next ? { pending: next } : {}) });
  });
}

/** The names that a spec may have. */
const NAME = /^[a-z][a-z0-9-]{0,39}$/;

const now = () => new Date().toISOString();

/**
 * Waits until nothing acts on the cluster that its record does not know of: what a terminated or reset entity, operation
 * or batch had begun. Gives the next number that nobody ever had. Refused: OPERATION_RUNNING.
 */
async function quiet(state: ClusterRecord): Promise<{ readonly nextDeployment: number }> {
  const { cluster: name, lastDeployment: after } = state;
  for (;;) {
    const { nextDeployment, running, quietAt } = await temporalWithin(1, `what runs of ${name}`).standing({
      cluster: name,
      after,
    });
    const known = [state.running, state.waiting].flatMap((one) => (one ? [one.workflowId] : []));
    const strange = running.find(
      ({ workflowId }) => !known.some((id) => workflowId === id || workflowId.startsWith(`${id}/`)),
    );
    if (strange)
      throw otherRuns(
        `${strange.workflowId} runs since ${strange.since}, and this record of ${name} does not know of it`,
        'Its own record was terminated or reset. Wait for its end, or cancel it in the Temporal UI; then ask again.',
      );
    if (quietAt === '' || state.running) return { nextDeployment };
    await sleep(Math.max(0, Date.parse(quietAt) - Date.now()));
  }
}

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

const breakAsChild = (name: string, request: BreakRequest): Promise<readonly HeldLease[]> =>
  executeChild('breakLeases', {
    workflowId: `breakLeases/${name}/${workflowInfo().runId}`,
    args: [request],
    parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
    typedSearchAttributes: [
      { key: ATTRIBUTES.cluster, value: name },
      { key: ATTRIBUTES.actor, value: request.actor },
    ],
    memo: {
      reason: request.reason,
      host: request.host,
      leases: request.leases.map(({ pci }) => pci).join(','),
    },
    staticSummary: `Break ${request.leases.length} leases of cluster **${name}** on ${request.host}, by ${request.actor}`,
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
  given: request.spec !== undefined,
  serving,
  purge: request.purge ?? false,
  abandon: request.abandon ?? [],
  recorded: serving !== null || deployments.some(({ outcome }) => LEAVING.includes(outcome)),
});

/** How an operation ended, or why it did not say. */
type Ending = Conclusion | { readonly code: 'TERMINATED' | 'INTERNAL'; readonly message: string };

const concluded = (result: unknown): Ending => {
  const { outcome } = result as OperationResult;
  return { outcome, result: result as OperationResult };
};

/** Reads how the child ended from its failure. */
function endingOf(error: unknown): Ending {
  const cause = error instanceof ChildWorkflowFailure ? error.cause : error;
  if (cause instanceof ApplicationFailure && isOperationFailure(cause.details?.[0])) {
    const failure = cause.details[0];
    return { outcome: failure.outcome, failure };
  }
  if (cause instanceof CancelledFailure || isCancellation(error)) return { outcome: 'cancelled' };
  if (cause instanceof TerminatedFailure) return { code: 'TERMINATED', message: 'it was terminated in Temporal' };
  return { code: 'INTERNAL', message: cause instanceof Error ? cause.message : String(cause) };
}

/**
 * What an operation came to, once nothing of it acts any more. One that did not say how it ended is stuck where it had
 * touched a host and refused otherwise; of one that was reset this is known here alone.
 */
async function settled(ending: Ending, { workflowId }: Admitted, { running }: ClusterRecord): Promise<Conclusion> {
  const unsaid = 'code' in ending;
  // It itself: one of which a batch was reset has undone what it did.
  const reset = !unsaid && ending.failure?.endedBy?.how === 'reset';
  const asked = running?.endedBy;
  if (!unsaid && !reset && (ending.outcome !== 'cancelled' || asked)) return ending;
  const { touched, by, quietAt } = await temporalWithin(DAY, `what ${workflowId} came to`).aftermath({
    workflowId,
    entityRun: workflowInfo().runId,
  });
  if (quietAt !== '') await sleep(Math.max(0, Date.parse(quietAt) - Date.now()));
  if (!unsaid && !reset) return { ...ending, endedBy: { how: 'cancel', ...by } };
  const outcome = touched ? 'stuck' : 'refused';
  const forced = unsaid && ending.code === 'TERMINATED' && asked?.how === 'force';
  const who: EndedBy | undefined = forced
    ? asked
    : unsaid && ending.code === 'INTERNAL'
      ? undefined
      : { how: reset ? 'reset' : 'terminate', ...by };
  const message = unsaid ? ending.message : ending.failure!.failed.message;
  return {
    outcome,
    ...(who ? { endedBy: who } : {}),
    failure: {
      outcome,
      failed: {
        step: '',
        host: '',
        code: forced ? 'FORCED' : unsaid ? ending.code : 'RESET',
        message: forced ? 'it was ended by force, without being undone' : message,
        evidence: '',
        remedy: 'Deploy or destroy again: that goes on from what the hosts show.',
      },
      leftBehind: touched ? ['unknown: it could not undo what it had done'] : [],
      difference: [],
      kept: [],
    },
  };
}

/** An unwind may take long; the activity that waits for it heartbeats. In minutes. */
const DAY = 24 * 60;

const isOperationFailure = (value: unknown): value is OperationFailure =>
  typeof value === 'object' && value !== null && 'failed' in value && 'leftBehind' in value;
