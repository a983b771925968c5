import {
  ApplicationFailure,
  CancellationScope,
  ChildWorkflowFailure,
  executeChild,
  isCancellation,
  ParentClosePolicy,
  sleep,
  TerminatedFailure,
  workflowInfo,
} from '@temporalio/workflow';
import { each } from '../src/saga/saga.ts';
import { ATTRIBUTES } from './attributes.ts';
import { failedOf, hostIn, refusal } from './failed.ts';
import type { Failed } from '../src/operations/outcomes.ts';
import { activitiesAt, temporalWithin, type Act, type Reach } from './proxies.ts';
import { HEARTBEAT_SECONDS } from './stages.ts';

/**
 * A fan-out over more items than this runs in children of its own, so that no history of an operation grows with the
 * number of hosts: an activity is at least three events, a child of BATCH activities as well.
 */
const BATCH_ABOVE = 100;
const BATCH = 50;
/** Activities that an operation itself has under way. */
const FAN_OUT = 50;
/** Activities that one batch has under way. */
const LANES = 10;

/** An activity and its input, as data. */
interface Call {
  readonly name: string;
  readonly input: unknown;
  readonly options: Parameters<Act>[0];
}

/** How a call ended; `value` goes missing on its way where the activity returns none. */
type Answer =
  | { readonly end: 'done'; readonly value?: unknown }
  | { readonly end: 'failed'; readonly failed: Failed }
  /** Another one of the batch had failed before. */
  | { readonly end: 'not-begun' };

export interface BatchInput {
  readonly reach: Reach;
  readonly calls: readonly Call[];
  /** A failure keeps no other call from being made. */
  readonly thorough: boolean;
}

/** Runs some of an operation's activities, and tells of each how it ended. */
export async function batch({ reach, calls, thorough }: BatchInput): Promise<readonly Answer[]> {
  const { parent, workflowId } = workflowInfo();
  if (!parent || !workflowId.startsWith(`${parent.workflowId}/batch-`))
    throw refusal('NOT_ADMITTED', 'no operation started this batch; nothing was done', 'Ask by the CLI.');
  const act = activitiesAt(reach);
  const answers: Answer[] = calls.map(() => ({ end: 'not-begun' }));
  const run = async (index: number) => {
    const { name, input, options } = calls[index]!;
    try {
      answers[index] = { end: 'done', value: await invoke(act(options), name, input) };
    } catch (error) {
      if (!isCancellation(error)) answers[index] = { end: 'failed', failed: failedOf(error, '') };
      throw error;
    }
  };
  try {
    await each([...calls.keys()], LANES, run, { thorough });
  } catch (error) {
    const failures = error instanceof AggregateError ? error.errors : [error];
    const cancelled: unknown = failures.find((one) => isCancellation(one));
    if (cancelled !== undefined) throw cancelled;
  }
  return answers;
}

/** Runs a task for each item, bounded, with activities that are fit for so many; waits for all before it fails. */
export type Each = <T>(
  items: readonly T[],
  task: (item: T, act: Act) => Promise<void>,
  options?: { readonly thorough?: boolean },
) => Promise<void>;

/** The fan-out of one workflow: directly, or by batches where the items are many. */
export function eachAt(reach: Reach): Each {
  const direct = activitiesAt(reach);
  const batched = batchedAt(reach);
  return (items, task, { thorough = false } = {}) =>
    items.length > BATCH_ABOVE
      ? each(items, items.length, (item) => task(item, batched(thorough)), { thorough }) // The batches bound them.
      : each(items, FAN_OUT, (item) => task(item, direct), { thorough });
}

/** Activities whose calls, made at the same moment, go to batches. One for each workflow, since it numbers them. */
function batchedAt({ site, hosts: { ssh }, reads }: Reach): (thorough: boolean) => Act {
  let waiting: Waiting[] = [];
  let batches = 0;
  const flush = (thorough: boolean) => {
    const calls = waiting;
    waiting = [];
    for (let from = 0; from < calls.length; from += BATCH) void send(calls.slice(from, from + BATCH), thorough);
  };
  const send = async (some: readonly Waiting[], thorough: boolean) => {
    try {
      batches += 1;
      const reach: Reach = { site, hosts: { ssh: { retrySeconds: ssh.retrySeconds } }, ...(reads ? { reads } : {}) };
      const answers = await runBatch(batches, { reach, thorough, calls: some.map(({ call }) => call) });
      if (answers.some((answer) => answer.end === 'failed' && answer.failed.code === 'RESET')) await untilQuiet();
      // Failures first: what was not begun fails only because of them.
      some.forEach(({ reject }, index) => {
        const answer = answers[index]!;
        if (answer.end === 'failed') reject(failureOf(answer.failed));
      });
      some.forEach(({ resolve, reject }, index) => {
        const answer = answers[index]!;
        if (answer.end === 'done') resolve(answer.value);
        else reject(notBegun());
      });
    } catch (error) {
      for (const { reject } of some) reject(error);
    }
  };
  return (thorough) => (options) =>
    new Proxy({} as ReturnType<Act>, {
      get: (_, name: string) => (input: unknown) =>
        new Promise((resolve, reject) => {
          waiting.push({ call: { name, input, options }, resolve, reject });
          if (waiting.length === 1) void Promise.resolve().then(() => flush(thorough));
        }),
    });
}

interface Waiting {
  readonly call: Call;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** One that was terminated has failed in every call: which of them were made, nobody can tell any more. */
function runBatch(number: number, input: BatchInput): Promise<readonly Answer[]> {
  const workflowId = `${workflowInfo().workflowId}/batch-${number}`;
  return executeChild(batch, {
    workflowId,
    args: [input],
    parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
    cancellationType: 'WAIT_CANCELLATION_COMPLETED',
    typedSearchAttributes: clusterAttribute(),
    staticSummary: `${input.calls[0]!.options.summary} and ${input.calls.length - 1} more`,
  }).catch(async (error: unknown) => {
    if (!(error instanceof ChildWorkflowFailure && error.cause instanceof TerminatedFailure)) throw error;
    const [{ actor, reason }] = await Promise.all([whoTerminated(workflowId), untilQuiet()]);
    const failed: Failed = {
      step: '',
      host: '',
      code: 'TERMINATED',
      message: `${workflowId} was terminated in Temporal${actor && ` by ${actor}`}${reason && `: ${reason}`}`,
      evidence: '',
      remedy: 'Run the operation again.',
    };
    // What is left behind is named by host; a failure that ends the operation is no host's.
    const at = ({ input: one }: Call) => (input.thorough ? hostIn(one) : '');
    return input.calls.map((call) => ({ end: 'failed', failed: { ...failed, host: at(call) } }));
  });
}

const whoTerminated = (workflowId: string) =>
  CancellationScope.nonCancellable(() =>
    temporalWithin(1, `who terminated ${workflowId}`).whoTerminated({ workflowId }),
  );

/** A batch of an operation belongs to its cluster too; one of a read to none. */
function clusterAttribute() {
  const value = workflowInfo().typedSearchAttributes.get(ATTRIBUTES.cluster);
  return value === undefined ? [] : [{ key: ATTRIBUTES.cluster, value }];
}

/** Activities of a batch that was terminated or reset go on until their heartbeat is refused: nothing is undone beside them. */
const untilQuiet = (): Promise<void> => CancellationScope.nonCancellable(() => sleep(`${HEARTBEAT_SECONDS} seconds`));

const invoke = (activities: ReturnType<Act>, name: string, input: unknown): Promise<unknown> =>
  (activities as unknown as Record<string, (input: unknown) => Promise<unknown>>)[name]!(input);

const failureOf = ({ code, message, host, evidence, remedy }: Failed) =>
  ApplicationFailure.create({ type: code, message, nonRetryable: true, details: [{ host, evidence, remedy }] });

const notBegun = () =>
  ApplicationFailure.create({
    type: 'COMMAND_FAILED',
    nonRetryable: true,
    message: 'not begun, since another one of its batch had failed',
  });
