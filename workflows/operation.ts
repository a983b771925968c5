import {
  ApplicationFailure,
  CancelledFailure,
  CancellationScope,
  isCancellation,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import type { Finding } from '../src/checks/check.ts';
import type { Difference } from '../src/facts/host-picture.ts';
import { runForward, runSteps, type Step, type StepState } from '../src/saga/saga.ts';
import { ATTRIBUTES } from './attributes.ts';
import { eachAt, type Each } from './batch.ts';
import { describeProgress } from './details.ts';
import { failedOf, leftOf } from './failed.ts';
import {
  operationProgress,
  yieldOperation,
  type OperationFailure,
  type OperationInput,
  type OperationProgress,
  type OperationResult,
  type StepProgress,
} from './messages.ts';
import { activitiesAt, type Act } from './proxies.ts';

/** Rows of one kind that progress and record hold: a thousand hosts must not make them unreadable. */
const ROWS_MAX = 200;
/** Longest search attribute value for a failure, in characters. */
const FAILURE_LIMIT = 200;

/** A step of an operation. */
export interface OperationStep extends Step {
  /**
   * A take-over cuts what this step has under way, and the next plan goes on from what is there. Without it, what is
   * under way is finished: an engine is never left between in the router and out of it.
   */
  readonly cuttable?: boolean;
}

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
  forward(steps: readonly Step[], options: { readonly stoppable: boolean }): Promise<void>;
  /** The activities of the spec's site. */
  readonly act: Act;
  /** Runs `task` for each item of the running step, counted in the progress; waits for all before it fails. */
  readonly each: Each;
  findings(findings: readonly Finding[]): void;
  warnings(texts: readonly string[]): void;
  /** Names what could not be dealt with on a host; the operation then ends stuck. */
  readonly left: (host: string, error: unknown) => void;
  /** How hosts differ from before: the operation then ends stuck. And what they keep as a cache. */
  compared(differences: readonly Difference[], kept: readonly string[]): void;
  /** Image ids by reference, as the fetch step found them. */
  readonly images: Record<string, string>;
}

/** Thrown where an operation ends because another one takes over. */
class Superseded extends Error {}

/** Runs `body` as an operation: keeps its progress, its search attributes and details, and translates how it ends. */
export async function conduct(
  input: OperationInput,
  body: (operation: Operation) => Promise<OperationResult>,
): Promise<OperationResult> {
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
  };
  const update = (change: Partial<OperationProgress>) => {
    progress = { ...progress, ...change };
    setCurrentDetails(describeProgress(progress));
  };
  const change = (name: string, next: Partial<StepProgress>) =>
    update({ steps: progress.steps.map((step) => (step.name === name ? { ...step, ...next } : step)) });
  setHandler(operationProgress, () => progress, { description: 'Steps, findings and outcome so far.' });

  /** Whether another operation waits; it counts only in steps that can end for it. */
  let yielding = false;
  let yields = false;
  /** Undoing, or only going forward: a failure on one host keeps no other from its turn. */
  let thorough = false;
  let cut: CancellationScope | undefined;
  setHandler(
    yieldOperation,
    ({ deployment, actor }) => {
      update({ warnings: [...progress.warnings, `deployment ${deployment} by ${actor} waits to take over`] });
      yielding = true;
      cut?.cancel();
    },
    { description: 'Another operation takes over: start nothing more and end, undoing nothing.' },
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

  const add = (names: readonly string[]) => {
    const waiting = names.map((name): StepProgress => ({ name, state: 'waiting', done: 0, of: 0 }));
    update({ steps: [...progress.steps, ...waiting] });
  };
  /** The step whose parts `each` counts; the stage stays at what failed while steps are undone. */
  let current = '';
  const onStep = (name: string, state: StepState, error?: unknown) => {
    const now = new Date().toISOString();
    if (state === 'running') enter(name);
    if (state === 'running' || state === 'undoing') current = name;
    change(name, { state, ...(state === 'running' ? { startedAt: now } : { finishedAt: now }) });
    if (state === 'failed' && !progress.failed && !isCancellation(error)) update({ failed: failedOf(error, name) });
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

  const eachOf = eachAt(input.spec);
  const operation: Operation = {
    async step(name, run) {
      add([name]);
      onStep(name, 'running');
      try {
        const value = await cuttable(run);
        onStep(name, 'done');
        return value;
      } catch (error) {
        onStep(name, isHandedOver(error) ? 'cut' : 'failed', error);
        throw error;
      }
    },
    async saga(steps, afterwards) {
      add(steps.map(({ name }) => name));
      const yieldable = steps.map((step) => ({
        ...step,
        run: () => (step.cuttable ? cuttable(step.run) : whole(step.run)),
      }));
      const shield = (unwind: () => Promise<void>) =>
        CancellationScope.nonCancellable(async () => {
          thorough = true;
          await unwind();
          current = ''; // Looking is no step: the stage stays at what failed.
          await afterwards();
        });
      await runSteps(yieldable, { onStep, isHandedOver, shield });
    },
    async forward(steps, { stoppable }) {
      add(steps.map(({ name }) => name));
      const proceed = () => !(stoppable && (root.consideredCancelled || yielding));
      thorough = true;
      if (await CancellationScope.nonCancellable(() => runForward(steps, { onStep, proceed }))) return;
      if (root.consideredCancelled) throw new CancelledFailure('cancelled between two steps');
      needTurn();
    },
    act: activitiesAt(input.spec),
    async each(items, task) {
      const step = current;
      change(step, { done: 0, of: items.length });
      let done = 0;
      const counted = async (item: (typeof items)[number], act: Act) => {
        if (yields) needTurn();
        await task(item, act);
        done += 1;
        change(step, { done });
      };
      await eachOf(items, counted, { thorough });
    },
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
        kept: someOf(kept),
        difference: differences.slice(0, ROWS_MAX),
        leftBehind: [...progress.leftBehind, ...someOf(named)],
      });
    },
    images: {},
  };

  const close = (change_: Partial<OperationProgress> & Pick<OperationProgress, 'outcome'>) => {
    update(change_);
    const { failed } = progress;
    upsertSearchAttributes([
      { key: ATTRIBUTES.outcome, value: change_.outcome },
      {
        key: ATTRIBUTES.failure,
        value: failed ? `${failed.code} ${failed.host}`.trim().slice(0, FAILURE_LIMIT) : null,
      },
    ]);
  };

  try {
    const result = await body(operation);
    if (progress.leftBehind.length > 0)
      throw ApplicationFailure.create({
        type: 'UNDO_FAILED',
        nonRetryable: true,
        message: progress.leftBehind.join('; '),
      });
    close({ outcome: result.outcome, ...(result.measured ? { measured: result.measured } : {}) });
    return { ...result, ...(progress.kept.length > 0 ? { kept: progress.kept } : {}) };
  } catch (error) {
    const { leftBehind, difference, kept } = progress;
    if (leftBehind.length === 0 && isHandedOver(error)) {
      close({ outcome: 'superseded' });
      return { outcome: 'superseded', serving: input.serving };
    }
    if (leftBehind.length === 0 && isCancellation(error)) {
      close({ outcome: 'cancelled' });
      throw new CancelledFailure(`cancelled at ${progress.stage}`);
    }
    const outcome = leftBehind.length > 0 ? 'stuck' : 'rolled-back';
    const failed = progress.failed ?? failedOf(error, progress.stage);
    close({ outcome, failed });
    const details: OperationFailure = { outcome, failed, leftBehind, difference, kept };
    throw ApplicationFailure.create({
      type: failed.code,
      message: `${failed.step}: ${failed.message}`,
      nonRetryable: true,
      details: [details],
    });
  }
}

const someOf = (rows: readonly string[]): readonly string[] =>
  rows.length > ROWS_MAX ? [...rows.slice(0, ROWS_MAX), `and ${rows.length - ROWS_MAX} more`] : rows;

const isHandedOver = (failure: unknown): boolean => failure instanceof Superseded;
