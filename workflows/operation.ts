import {
  ApplicationFailure,
  CancelledFailure,
  CancellationScope,
  isCancellation,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
  workflowInfo,
} from '@temporalio/workflow';
import type { Finding } from '../src/checks/check.ts';
import type { Difference } from '../src/facts/host-picture.ts';
import { byText } from '../src/plan/order.ts';
import type { LogOutcome } from '../activities/kept-logs.ts';
import { runForward, runSteps, type Step, type StepState } from '../src/saga/saga.ts';
import { someRows } from '../src/text/some.ts';
import { ATTRIBUTES } from './attributes.ts';
import { eachAt, type Each } from './batch.ts';
import { describeProgress } from './details.ts';
import { failedOf, leftOf } from './failed.ts';
import { endOperation, operationProgress, type OperationInput } from './messages.ts';
import { clusterWorkflowId } from '../src/operations/names.ts';
import type { EndedBy, Failed, OperationFailure, OperationResult } from '../src/operations/outcomes.ts';
import {
  isSameStep,
  type StepName,
  type LogRow,
  type OperationProgress,
  type StepProgress,
} from '../src/operations/progress.ts';
import { activitiesAt, temporalWithin, type Act } from './proxies.ts';
import { isTouching } from './stages.ts';

/** Rows of one kind that progress and record hold: a thousand hosts must not make them unreadable. */
const ROWS_MAX = 200;
/** Longest search attribute value for a failure, in characters. */
const FAILURE_LIMIT = 200;

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
  step<T>(name: string, run: () => Promise<T>): Promise<T>;
  /** Runs a step table; on failure unwinds it, and then `afterwards`, which is for looking. */
  saga(steps: readonly OperationStep[], afterwards: () => Promise<void>): Promise<void>;
  /**
   * Runs a step table to its end although steps fail; those are left behind. A cancellation or a take-over ends no step
   * half-way: it ends the table between two, or waits for its end where `stoppable` is false.
   */
  forward(steps: readonly (Step & StepName)[], options: { readonly stoppable: boolean }): Promise<void>;
  /** The activities of the spec's site. */
  readonly act: Act;
  /** Runs `task` for each item of the running step, counted in the progress; waits for all before it fails. */
  readonly each: Each;
  /** As `each`, for a part of a step that its count leaves out. */
  readonly uncounted: Each;
  findings(findings: readonly Finding[]): void;
  warnings(texts: readonly string[]): void;
  /** Names what could not be dealt with on a host; the operation then ends stuck. */
  readonly left: (host: string, error: unknown) => void;
  /** How hosts differ from before: the operation then ends stuck. And what they keep as a cache. */
  compared(differences: readonly Difference[], kept: readonly string[]): void;
  /** What became of the log of a unit that an undo removed. */
  keptLog(log: Omit<LogRow, 'path'> & LogOutcome): void;
  /** Image ids by reference, as the fetch step found them. */
  readonly images: Record<string, string>;
}

/** Thrown where an operation ends because another one takes over. */
class Superseded extends Error {}

/**
 * Runs `body` as an operation: keeps its progress, its search attributes and details, and translates how it ends. A spec
 * that the request brought is parsed first, and `body` gets it with the defaults of this release.
 */
export async function conduct(
  input: OperationInput,
  body: (operation: Operation, input: OperationInput) => Promise<OperationResult>,
): Promise<OperationResult> {
  needEntity(input);
  const root = CancellationScope.current();
  let progress: OperationProgress = {
    cluster: input.cluster,
    operation: input.operation,
    deployment: input.deployment,
    actor: input.actor,
    outcome: 'running',
    stage: '',
    steps: [],
    findings: [],
    findingsInAll: 0,
    warnings: [],
    leftBehind: [],
    difference: [],
    kept: [],
    logs: [],
  };
  const update = (change: Partial<OperationProgress>) => {
    progress = { ...progress, ...change };
    setCurrentDetails(describeProgress(progress));
  };
  const change = (changed: StepName, next: Partial<StepProgress>) =>
    update({ steps: progress.steps.map((step) => (isSameStep(step, changed) ? { ...step, ...next } : step)) });
  setHandler(operationProgress, () => progress, { description: 'Steps, findings and outcome so far.' });

  /** Whether another operation waits; it counts only in steps that can end for it. */
  let yielding = false;
  let yields = false;
  /** Undoing, or only going forward: a failure on one host keeps no other from its turn. */
  let thorough = false;
  let cut: CancellationScope | undefined;
  /** Whether this run goes on from the past of one that somebody reset: it does nothing more. */
  let reset: { readonly failure: unknown } | undefined;
  setHandler(
    endOperation,
    (by) => {
      if (!isEndedBy(by)) return; // A signal of another release, or of nobody that Tandem knows.
      update({ endedBy: by });
      if (by.how !== 'take-over') return;
      update({ warnings: [...progress.warnings, `deployment ${by.for} by ${by.actor} waits to take over`] });
      yielding = true;
      cut?.cancel();
    },
    { description: 'Somebody ends this operation. Sent by its cluster: of a take-over, it starts nothing more.' },
  );
  const needTurn = () => {
    if (yielding) throw new Superseded('another operation takes over');
  };
  const cuttable = async <T>(run: () => Promise<T>): Promise<T> => {
    needTurn();
    cut = new CancellationScope();
    try {
      return await cut.run(run);
    } catch (error) {
      if (!root.consideredCancelled) needTurn();
      throw error;
    } finally {
      cut = undefined;
    }
  };
  /** Finishes what is under way; `each` begins nothing more. */
  const whole = async (run: () => Promise<void>): Promise<void> => {
    needTurn();
    yields = true;
    await run().finally(() => (yields = false));
  };

  const add = (steps: readonly StepName[]) => {
    const waiting = steps.map(({ stage, name }): StepProgress => ({
      ...(stage === undefined ? {} : { stage }),
      name,
      state: 'waiting',
      done: 0,
      of: 0,
    }));
    update({ steps: [...progress.steps, ...waiting] });
  };
  /** The step whose parts `each` counts; the stage stays at what failed while steps are undone. */
  let current: StepName = { name: '' };
  const onStep = (step: StepName, reached: StepState, error?: unknown) => {
    const { name } = step;
    const now = new Date().toISOString();
    const state = reached === 'failed' && isCancellation(error) ? 'cancelled' : reached;
    if (isReset(error)) reset ??= { failure: error };
    if (state === 'running') enter(name);
    const begins = state === 'running' || state === 'undoing';
    if (begins) current = step;
    change(step, {
      state,
      ...(state === 'running' ? { startedAt: now } : { finishedAt: now }),
      ...(begins ? { done: 0, of: 0 } : {}),
    });
    if (state === 'failed' && !progress.failed) update({ failed: failedOf(error, name) });
    if (state === 'stuck')
      update({
        leftBehind: [...progress.leftBehind, ...leftOf(error, name)],
        failed: progress.failed ?? failedOf(error, name),
      });
  };
  const enter = (stage: string) => {
    update({ stage });
    upsertSearchAttributes([{ key: ATTRIBUTES.stage, value: stage }]);
  };

  const step: Operation['step'] = async (name, run) => {
    add([{ name }]);
    onStep({ name }, 'running');
    try {
      const value = await cuttable(run);
      onStep({ name }, 'done');
      return value;
    } catch (error) {
      onStep({ name }, isHandedOver(error) ? 'cut' : 'failed', error);
      throw error;
    }
  };
  /** Begins no more items once another operation waits for this step. */
  const inTurn =
    (eachOf: Each): Each =>
    (items, task) =>
      eachOf(
        items,
        async (item, act) => {
          if (yields) needTurn();
          await task(item, act);
        },
        { thorough },
      );
  const operationOn = (spec: OperationInput['spec'], eachOf = eachAt(spec)): Operation => ({
    step,
    async saga(steps, afterwards) {
      add(steps);
      const yieldable = steps.map((step) => ({
        ...step,
        run: () => (step.cuttable ? cuttable(step.run) : whole(step.run)),
      }));
      const shield = (unwind: () => Promise<void>) =>
        CancellationScope.nonCancellable(async () => {
          thorough = true;
          await unwind();
          current = { name: '' }; // Looking is no step: the stage stays at what failed.
          await afterwards();
        });
      const leaves = (failure: unknown) => isHandedOver(failure) || isReset(failure);
      await runSteps(yieldable, { onStep, isHandedOver: leaves, shield });
    },
    async forward(steps, { stoppable }) {
      add(steps);
      const proceed = () => !reset && !(stoppable && (root.consideredCancelled || yielding));
      thorough = true;
      if (await CancellationScope.nonCancellable(() => runForward(steps, { onStep, proceed }))) return;
      if (reset) throw reset.failure;
      if (root.consideredCancelled) throw new CancelledFailure('cancelled between two steps');
      needTurn();
    },
    act: activitiesAt(spec),
    each: async (items, task) => {
      const part = current;
      const counted = (count: Pick<StepProgress, 'done' | 'of'>) => {
        const { done = 0, of = 0 } = progress.steps.find((step) => isSameStep(step, part)) ?? {};
        change(part, { done: done + count.done, of: of + count.of });
      };
      counted({ done: 0, of: items.length });
      await inTurn(eachOf)(items, async (item, act) => {
        await task(item, act);
        counted({ done: 1, of: 0 });
      });
    },
    uncounted: inTurn(eachOf),
    findings: (found) => {
      const worth = found.filter(({ verdict }) => verdict !== 'pass');
      update({
        findings: [...progress.findings, ...worth].slice(0, ROWS_MAX),
        findingsInAll: progress.findingsInAll + found.length,
      });
    },
    warnings: (texts) => update({ warnings: [...progress.warnings, ...texts] }),
    left: (host, error) => {
      const why = failedOf(error, progress.stage);
      update({
        leftBehind: [...progress.leftBehind, `${host}: not reached, whatever it holds is still there (${why.message})`],
        failed: progress.failed ?? { ...why, host: why.host || host },
      });
    },
    compared: (differences, kept) => {
      const named = differences.map(
        ({ host, kind, what, change: how }) => `${host}: ${how === 'left' ? 'there now' : 'gone'}: ${kind} ${what}`,
      );
      update({
        kept: someRows(kept, ROWS_MAX),
        difference: differences.slice(0, ROWS_MAX),
        leftBehind: [...progress.leftBehind, ...someRows(named, ROWS_MAX)],
      });
    },
    keptLog: ({ host, unit, ...log }) => {
      if ('path' in log) update({ logs: [...progress.logs, { host, unit, path: log.path }].slice(0, ROWS_MAX) });
      else update({ warnings: [...progress.warnings, `${host}: the log of ${unit} could not be kept: ${log.lost}`] });
    },
    images: {},
  });

  const close = (end: Partial<OperationProgress> & Pick<OperationProgress, 'outcome'>) => {
    update(end);
    const { failed, endedBy } = progress;
    const who = ENDED_BY_SOMEBODY[end.outcome];
    const failure = who ? `${who} ${endedBy?.actor ?? ''}` : failed ? `${failed.code} ${failed.host}` : '';
    upsertSearchAttributes([
      { key: ATTRIBUTES.outcome, value: end.outcome },
      { key: ATTRIBUTES.failure, value: failure.trim().slice(0, FAILURE_LIMIT) || null },
    ]);
  };
  const fail = (outcome: OperationFailure['outcome'], why: Failed, endedBy?: EndedBy): never => {
    const failed = withLogs(why, progress.logs);
    close({ outcome, failed });
    const { leftBehind, difference, kept } = progress;
    throw failureOfOperation({ outcome, failed, leftBehind, difference, kept, ...(endedBy ? { endedBy } : {}) });
  };

  try {
    const spec = input.given
      ? await step('read-spec', () => temporalWithin(1, 'read the spec').parseSpec(input))
      : input.spec;
    const result = await body(operationOn(spec), { ...input, spec });
    if (progress.leftBehind.length > 0)
      throw ApplicationFailure.create({
        type: 'UNDO_FAILED',
        nonRetryable: true,
        message: progress.leftBehind.join('; '),
      });
    close({ outcome: result.outcome, ...(result.measured ? { measured: result.measured } : {}) });
    return { ...result, ...(progress.kept.length > 0 ? { kept: progress.kept } : {}) };
  } catch (error) {
    if (reset) {
      const { workflowId } = workflowInfo();
      const { touched, hadEnded } = await CancellationScope.nonCancellable(() =>
        temporalWithin(1, 'what the run that was reset had done').aftermath({ workflowId }),
      );
      const outcome = touched && !hadEnded ? 'stuck' : 'refused';
      // Its entity finds out by whom.
      const by: EndedBy = { how: 'reset', actor: '', reason: '', at: new Date().toISOString() };
      return fail(outcome, { ...failedOf(reset.failure, progress.stage), host: '' }, by);
    }
    if (isCancellation(error) && !progress.endedBy) {
      // Cancelled in Temporal and past the cluster's entity: its own history has who.
      const { by } = await CancellationScope.nonCancellable(() =>
        temporalWithin(1, 'who cancelled it').aftermath({ workflowId: workflowInfo().workflowId }),
      );
      if (by.actor) update({ endedBy: { how: 'cancel', ...by } });
    }
    const { leftBehind, endedBy } = progress;
    if (leftBehind.length === 0 && isHandedOver(error)) {
      close({ outcome: 'superseded' });
      return { outcome: 'superseded', serving: input.serving };
    }
    if (leftBehind.length === 0 && isCancellation(error)) {
      close({ outcome: 'cancelled' });
      throw new CancelledFailure(`cancelled at ${progress.stage}${endedBy ? ` by ${endedBy.actor}` : ''}`);
    }
    const touched = progress.steps.some(({ name, state }) => state !== 'waiting' && isTouching(name));
    const outcome = leftBehind.length > 0 ? 'stuck' : touched ? 'rolled-back' : 'refused';
    return fail(
      outcome,
      progress.failed ?? failedOf(error, progress.stage),
      isCancellation(error) ? endedBy : undefined,
    );
  }
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

/** What TandemFailure says of an operation that did as somebody else wanted. */
const ENDED_BY_SOMEBODY: Partial<Record<OperationProgress['outcome'], string>> = {
  cancelled: 'CANCELLED',
  superseded: 'SUPERSEDED',
};

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

/** Whether an activity was refused because this very run goes on from the past of another one. */
function isReset(error: unknown): boolean {
  const { runId, originalExecutionRunId: original } = workflowInfo();
  return error !== undefined && runId !== original && failedOf(error, '').code === 'RESET';
}

const isEndedBy = (value: unknown): value is EndedBy =>
  typeof value === 'object' && value !== null && 'how' in value && 'actor' in value && typeof value.actor === 'string';

const isHandedOver = (failure: unknown): boolean => failure instanceof Superseded;
