import {
  ActivityFailure,
  ApplicationFailure,
  CancelledFailure,
  CancellationScope,
  isCancellation,
  setCurrentDetails,
  setHandler,
  TimeoutFailure,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import type { FailureDetails } from '../activities/failure.ts';
import type { Finding } from '../src/checks/check.ts';
import { each, runForward, runSteps, type Step, type StepState } from '../src/saga/saga.ts';
import { ATTRIBUTES } from './attributes.ts';
import { describeProgress } from './details.ts';
import {
  operationProgress,
  type Failed,
  type OperationFailure,
  type OperationInput,
  type OperationProgress,
  type OperationResult,
  type StepProgress,
} from './messages.ts';

/** Hosts, engines or pairs handled at a time within one step. */
const FAN_OUT = 50;
/** Longest search attribute value for a failure, in characters. */
const FAILURE_LIMIT = 200;

/** What a workflow's steps use to run and to be seen. */
export interface Operation {
  /** Runs one step that has no undo and returns what it found. */
  step<T>(name: string, run: () => Promise<T>): Promise<T>;
  /** Runs a step table; on failure unwinds it. */
  saga(steps: readonly Step[]): Promise<void>;
  /**
   * Runs a step table to its end although steps fail; those are left behind. A cancellation ends no step half-way: it
   * ends the table between two, or waits for its end where `cancellable` is false.
   */
  forward(steps: readonly Step[], options: { readonly cancellable: boolean }): Promise<void>;
  /** Runs `task` for each item of the running step, bounded, counted in the progress; waits for all before it fails. */
  readonly each: <T>(items: readonly T[], task: (item: T) => Promise<void>) => Promise<void>;
  findings(findings: readonly Finding[]): void;
  warnings(texts: readonly string[]): void;
  /** Names what could not be dealt with on a host; the operation then ends stuck. */
  readonly left: (host: string, error: unknown) => void;
  /** Image ids by reference, as the fetch step found them. */
  readonly images: Record<string, string>;
}

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
    warnings: [],
    leftBehind: [],
  };
  const update = (change: Partial<OperationProgress>) => {
    progress = { ...progress, ...change };
    setCurrentDetails(describeProgress(progress));
  };
  const change = (name: string, next: Partial<StepProgress>) =>
    update({ steps: progress.steps.map((step) => (step.name === name ? { ...step, ...next } : step)) });
  setHandler(operationProgress, () => progress, { description: 'Steps, findings and outcome so far.' });

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
        leftBehind: [...progress.leftBehind, leftOf(error, name)],
        failed: progress.failed ?? failedOf(error, name),
      });
  };
  const enter = (stage: string) => {
    update({ stage });
    upsertSearchAttributes([{ key: ATTRIBUTES.stage, value: stage }]);
  };

  const operation: Operation = {
    async step(name, run) {
      add([name]);
      onStep(name, 'running');
      try {
        const value = await run();
        onStep(name, 'done');
        return value;
      } catch (error) {
        onStep(name, 'failed', error);
        throw error;
      }
    },
    async saga(steps) {
      add(steps.map(({ name }) => name));
      await runSteps(steps, { onStep, shield: (unwind) => CancellationScope.nonCancellable(unwind) });
    },
    async forward(steps, { cancellable }) {
      add(steps.map(({ name }) => name));
      const proceed = () => !(cancellable && root.consideredCancelled);
      await CancellationScope.nonCancellable(async () => {
        await runForward(steps, { onStep, proceed });
      });
      if (!proceed()) throw new CancelledFailure('cancelled between two steps');
    },
    async each(items, task) {
      const step = current;
      change(step, { done: 0, of: items.length });
      let done = 0;
      await each(items, FAN_OUT, async (item) => {
        await task(item);
        done += 1;
        change(step, { done });
      });
    },
    findings: (found) => update({ findings: [...progress.findings, ...found] }),
    warnings: (texts) => update({ warnings: [...progress.warnings, ...texts] }),
    left: (host, error) => {
      const why = failedOf(error, progress.stage);
      update({
        leftBehind: [...progress.leftBehind, `${host}: not reached, whatever it holds is still there (${why.message})`],
        failed: progress.failed ?? { ...why, host: why.host || host },
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
    return result;
  } catch (error) {
    const { leftBehind } = progress;
    if (leftBehind.length === 0 && isCancellation(error)) {
      close({ outcome: 'cancelled' });
      throw new CancelledFailure(`cancelled at ${progress.stage}`);
    }
    const outcome = leftBehind.length > 0 ? 'stuck' : 'rolled-back';
    const failed = progress.failed ?? failedOf(error, progress.stage);
    close({ outcome, failed });
    const details: OperationFailure = { outcome, failed, leftBehind };
    throw ApplicationFailure.create({
      type: failed.code,
      message: `${failed.step}: ${failed.message}`,
      nonRetryable: true,
      details: [details],
    });
  }
}

/** Reads a failure as people need it: at which step, on which host, what, and what to do. */
export function failedOf(error: unknown, step: string): Failed {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof TimeoutFailure) {
    return cause.timeoutType === 'SCHEDULE_TO_START'
      ? failed(
          step,
          'NO_WORKER',
          'no Temporal worker of this site took the task',
          'Start one: `tandem worker --site SITE`.',
        )
      : failed(
          step,
          'COMMAND_TIMEOUT',
          `the activity did not end within its limit (${cause.message})`,
          'Look at the host and at the Temporal worker, then run the operation again.',
        );
  }
  if (cause instanceof ApplicationFailure) {
    const details = cause.details?.[0] as Partial<FailureDetails> | undefined;
    return {
      step,
      host: details?.host ?? '',
      code: cause.type ?? 'INTERNAL',
      message: cause.message,
      evidence: details?.evidence ?? '',
      remedy: details?.remedy ?? '',
    };
  }
  const message = cause instanceof Error ? cause.message : String(cause);
  return failed(step, isCancellation(error) ? 'CANCELLED' : 'INTERNAL', message, 'Run the operation again.');
}

const failed = (step: string, code: string, message: string, remedy: string): Failed => ({
  step,
  host: '',
  code,
  message,
  evidence: '',
  remedy,
});

function leftOf(error: unknown, step: string): string {
  const { host, message } = failedOf(error, step);
  return host && !message.includes(host) ? `${step}: ${host}: ${message}` : `${step}: ${message}`;
}
