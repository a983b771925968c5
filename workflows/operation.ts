import {
  ApplicationFailure,
  CancelledFailure,
  CancellationScope,
  isCancellation,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import { clusterWorkflowId } from '../src/operations/names.ts';
import type { EndedBy, Failed, OperationFailure, OperationResult } from '../src/operations/outcomes.ts';
import type { LogRow, StepName } from '../src/operations/progress.ts';
import { byText } from '../src/plan/order.ts';
import { runForward, runSteps, type Step, type StepState } from '../src/saga/saga.ts';
import { someRows } from '../src/text/some.ts';
import { ATTRIBUTES } from './attributes.ts';
import { eachAt, type Each } from './batch.ts';
import { failedOf } from './failed.ts';
import type { OperationInput } from './messages.ts';
import { Progress } from './progress.ts';
import { activitiesAt, temporalWithin, type Act, type Reach } from './proxies.ts';
import { isTouching } from './stages.ts';
import { isLeft, Superseded, Turn } from './turn.ts';

/** A step of an operation. */
export interface OperationStep extends Step, StepName {
  /**
   * A take-over cuts what this step has under way, and the next plan goes on from what is there. Without it, what is
   * under way is finished: an engine is never left between in the router and out of it.
   */
  readonly cuttable?: boolean;
}

/** What a move of a plan does, and how it is undone. */
export type Work = Omit<OperationStep, keyof StepName>;

/** What a workflow's steps use to run and to be seen. */
export interface Operation {
  /** Runs one step that has no undo and returns what it found. */
  readonly step: <T>(name: string, run: () => Promise<T>) => Promise<T>;
  /** Runs steps in order; on failure unwinds them, and then `afterwards`, which is for looking. */
  saga(steps: readonly OperationStep[], afterwards: () => Promise<void>): Promise<void>;
  /**
   * Runs all steps although some fail; those are left behind. A cancellation or a take-over ends no step half-way: it ends
   * them between two, or waits for the end where `stoppable` is false.
   */
  forward(steps: readonly (Step & StepName)[], options: { readonly stoppable: boolean }): Promise<void>;
  /** The activities of the spec's site. */
  readonly act: Act;
  /** Runs `task` for each item of the running step, counted in the progress; waits for all before it fails. */
  readonly each: Each;
  /** As `each`, for a part of a step that its count leaves out. */
  readonly uncounted: Each;
  readonly findings: Progress['findings'];
  readonly warnings: Progress['warnings'];
  /** Names what could not be dealt with on a host; the operation then ends stuck. */
  readonly left: Progress['left'];
  /** How hosts differ from before: the operation then ends stuck. And what they keep as a cache. */
  readonly compared: Progress['compared'];
  /** What became of the log of a unit that an undo removed. */
  readonly keptLog: Progress['keptLog'];
}

/**
 * Runs `body` as an operation: keeps its progress and its turn, and translates how it ends. A spec that the request brought
 * is parsed first, and `body` gets it with the defaults of this release.
 */
export async function conduct(
  input: OperationInput,
  body: (operation: Operation, input: OperationInput) => Promise<OperationResult>,
): Promise<OperationResult> {
  needEntity(input);
  const progress = new Progress(input);
  const turn = new Turn((by) => progress.endedBy(by));
  try {
    const step = stepIn(progress, turn);
    const spec = input.given
      ? await step('read-spec', () => temporalWithin(1, 'read the spec').parseSpec(input))
      : input.spec;
    const result = await body(operationOf(progress, turn, step, spec), { ...input, spec });
    const { leftBehind, kept } = progress.now;
    if (leftBehind.length > 0)
      throw ApplicationFailure.create({ type: 'UNDO_FAILED', nonRetryable: true, message: leftBehind.join('; ') });
    progress.close({ outcome: result.outcome, ...(result.measured ? { measured: result.measured } : {}) });
    return { ...result, ...(kept.length > 0 ? { kept } : {}) };
  } catch (error) {
    if (turn.state === 'reset') return await endReset(progress, turn.reset);
    return await endFailed(progress, error, input);
  }
}

/** Tells of a step as it goes on. */
const teller = (progress: Progress, turn: Turn) => (step: StepName, state: StepState, error?: unknown) => {
  turn.heed(error);
  progress.reached(step, state, error);
};

function stepIn(progress: Progress, turn: Turn): Operation['step'] {
  const onStep = teller(progress, turn);
  return async (name, run) => {
    progress.add([{ name }]);
    onStep({ name }, 'running');
    try {
      const value = await turn.cuttable(run);
      onStep({ name }, 'done');
      return value;
    } catch (error) {
      onStep({ name }, error instanceof Superseded ? 'cut' : 'failed', error);
      throw error;
    }
  };
}

function operationOf(progress: Progress, turn: Turn, step: Operation['step'], reach: Reach): Operation {
  /** Undoing, or only going forward: a failure on one host keeps no other from its turn. */
  let thorough = false;
  const eachOf = eachAt(reach);
  const onStep = teller(progress, turn);
  const inTurn: Each = (items, task) =>
    eachOf(
      items,
      async (item, act) => {
        turn.needPart();
        await task(item, act);
      },
      { thorough },
    );
  return {
    step,
    async saga(steps, afterwards) {
      progress.add(steps);
      const inItsTurn = steps.map((step) => ({
        ...step,
        run: () => (step.cuttable ? turn.cuttable(step.run) : turn.whole(step.run)),
      }));
      const shield = (unwind: () => Promise<void>) =>
        CancellationScope.nonCancellable(async () => {
          thorough = true;
          await unwind();
          progress.leaveSteps();
          await afterwards();
        });
      await runSteps(inItsTurn, { onStep, isHandedOver: isLeft, shield });
    },
    async forward(steps, { stoppable }) {
      progress.add(steps);
      thorough = true;
      const proceed = () => turn.state !== 'reset' && !(stoppable && turn.state !== 'go');
      if (!(await CancellationScope.nonCancellable(() => runForward(steps, { onStep, proceed })))) turn.end();
    },
    act: activitiesAt(reach),
    each: async (items, task) => {
      const step = progress.current;
      progress.count(step, { done: 0, of: items.length });
      await inTurn(items, async (item, act) => {
        await task(item, act);
        progress.count(step, { done: 1, of: 0 });
      });
    },
    uncounted: inTurn,
    findings: (found) => progress.findings(found),
    warnings: (texts) => progress.warnings(texts),
    left: (host, error) => progress.left(host, error),
    compared: (differences, kept) => progress.compared(differences, kept),
    keptLog: (log) => progress.keptLog(log),
  };
}

/** How an operation ends whose body failed. */
async function endFailed(
  progress: Progress,
  error: unknown,
  { serving }: Pick<OperationInput, 'serving'>,
): Promise<OperationResult> {
  if (isCancellation(error) && !progress.now.endedBy) {
    // Cancelled in Temporal and past the cluster's entity: its own history has who.
    const { by } = await aftermath('who cancelled it');
    if (by.actor) progress.endedBy({ how: 'cancel', ...by });
  }
  const { leftBehind, endedBy, steps, stage, failed } = progress.now;
  const clean = leftBehind.length === 0;
  if (clean && error instanceof Superseded) {
    progress.close({ outcome: 'superseded' });
    return { outcome: 'superseded', serving };
  }
  if (clean && isCancellation(error)) {
    progress.close({ outcome: 'cancelled' });
    throw new CancelledFailure(`cancelled at ${stage}${endedBy ? ` by ${endedBy.actor}` : ''}`);
  }
  const touched = steps.some(({ name, state }) => state !== 'waiting' && isTouching(name));
  const outcome = !clean ? 'stuck' : touched ? 'rolled-back' : 'refused';
  return fail(progress, outcome, failed ?? failedOf(error, stage), isCancellation(error) ? endedBy : undefined);
}

/** How an operation ends that goes on from the past of one that somebody reset; its entity finds out who did. */
async function endReset(progress: Progress, failure: unknown): Promise<never> {
  const { touched, hadEnded } = await aftermath('what the run that was reset had done');
  const by: EndedBy = { how: 'reset', actor: '', reason: '', at: new Date().toISOString() };
  const why = { ...failedOf(failure, progress.now.stage), host: '' };
  return fail(progress, touched && !hadEnded ? 'stuck' : 'refused', why, by);
}

const aftermath = (summary: string) =>
  CancellationScope.nonCancellable(() =>
    temporalWithin(1, summary).aftermath({ workflowId: workflowInfo().workflowId }),
  );

function fail(progress: Progress, outcome: OperationFailure['outcome'], why: Failed, endedBy?: EndedBy): never {
  const failed = withLogs(why, progress.now.logs);
  progress.close({ outcome, failed });
  const { leftBehind, difference, kept } = progress.now;
  throw failureOfOperation({ outcome, failed, leftBehind, difference, kept, ...(endedBy ? { endedBy } : {}) });
}

/** Logs that a failure names; the others are listed with them (`tandem logs NAME --deployment N`). */
const LOGS_NAMED = 3;

/** The failure with where the logs of what was removed are, those that it speaks of first. */
function withLogs(failed: Failed, logs: readonly LogRow[]): Failed {
  if (logs.length === 0) return failed;
  const distance = ({ unit, host }: LogRow) => (failed.message.includes(unit) ? 0 : host === failed.host ? 1 : 2);
  const rows = logs.toSorted((a, b) => distance(a) - distance(b) || byText(a.host, b.host) || byText(a.path, b.path));
  const named = rows.map(({ host, path }) => `${host}: ${path}`);
  return { ...failed, logs: someRows(named, LOGS_NAMED) };
}

/** An operation that its cluster's entity has not admitted would act beside another one. Errors: NOT_ADMITTED. */
export function needEntity({ cluster }: Pick<OperationInput, 'cluster'>): void {
  const { parent } = workflowInfo();
  if (parent?.workflowId === clusterWorkflowId(cluster)) return;
  upsertSearchAttributes([
    { key: ATTRIBUTES.outcome, value: 'refused' },
    { key: ATTRIBUTES.failure, value: 'NOT_ADMITTED' },
  ]);
  throw failureOfOperation({
    outcome: 'refused',
    failed: {
      step: '',
      host: '',
      code: 'NOT_ADMITTED',
      message: `it was not started by ${clusterWorkflowId(cluster)}, which admits one operation at a time; nothing was done`,
      evidence: '',
      remedy: 'Ask for operations by the CLI.',
    },
    leftBehind: [],
    difference: [],
    kept: [],
  });
}

const failureOfOperation = (details: OperationFailure): ApplicationFailure =>
  ApplicationFailure.create({
    type: details.failed.code,
    message: [details.failed.step, details.failed.message].filter(Boolean).join(': '),
    nonRetryable: true,
    details: [details],
  });
