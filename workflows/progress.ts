import { isCancellation, setCurrentDetails, setHandler, upsertSearchAttributes } from '@temporalio/workflow';
import type { LogOutcome } from '../activities/kept-logs.ts';
import type { Finding } from '../src/checks/check.ts';
import type { Difference } from '../src/facts/host-picture.ts';
import type { EndedBy } from '../src/operations/outcomes.ts';
import {
  isSameStep,
  type LogRow,
  type OperationProgress,
  type StepName,
  type StepProgress,
} from '../src/operations/progress.ts';
import type { StepState } from '../src/saga/saga.ts';
import { someRows } from '../src/text/some.ts';
import { ATTRIBUTES } from './attributes.ts';
import { describeProgress } from './details.ts';
import { failedOf, leftOf } from './failed.ts';
import { operationProgress, type OperationInput } from './messages.ts';

/** Rows of one kind that progress and record hold: a thousand hosts must not make them unreadable. */
const ROWS_MAX = 200;
/** Longest search attribute value for a failure, in characters. */
const FAILURE_LIMIT = 200;

/** What an operation has come to, as its query, its details in the Temporal UI and its search attributes show it. */
export class Progress {
  #now: OperationProgress;
  /** The step whose parts are counted. The stage stays at what failed while steps are undone. */
  #current: StepName = NO_STEP;

  constructor({ cluster, operation, deployment, actor }: OperationInput) {
    this.#now = {
      cluster,
      operation,
      deployment,
      actor,
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
    setHandler(operationProgress, () => this.#now, { description: 'Steps, findings and outcome so far.' });
  }

  get now(): OperationProgress {
    return this.#now;
  }

  get current(): StepName {
    return this.#current;
  }

  /** Steps that come; more may be added. */
  add(steps: readonly StepName[]): void {
    const waiting = steps.map(({ stage, name }): StepProgress => ({
      ...(stage === undefined ? {} : { stage }),
      name,
      state: 'waiting',
      done: 0,
      of: 0,
    }));
    this.#update({ steps: [...this.#now.steps, ...waiting] });
  }

  /** A step came to a state. */
  reached(step: StepName, reached: StepState, error?: unknown): void {
    const { name } = step;
    const now = new Date().toISOString();
    const state = reached === 'failed' && isCancellation(error) ? 'cancelled' : reached;
    if (state === 'running') {
      this.#update({ stage: name });
      upsertSearchAttributes([{ key: ATTRIBUTES.stage, value: name }]);
    }
    const begins = state === 'running' || state === 'undoing';
    if (begins) this.#current = step;
    this.#change(step, {
      state,
      ...(state === 'running' ? { startedAt: now } : { finishedAt: now }),
      ...(begins ? { done: 0, of: 0 } : {}),
    });
    if (state === 'failed' && !this.#now.failed) this.#update({ failed: failedOf(error, name) });
    if (state === 'stuck')
      this.#update({
        leftBehind: [...this.#now.leftBehind, ...leftOf(error, name)],
        failed: this.#now.failed ?? failedOf(error, name),
      });
  }

  /** What is done from now on is no step's: looking, after an unwind. */
  leaveSteps(): void {
    this.#current = NO_STEP;
  }

  /** More parts of a step, done and in all. */
  count(step: StepName, { done: more, of: inAll }: Pick<StepProgress, 'done' | 'of'>): void {
    const { done = 0, of = 0 } = this.#now.steps.find((other) => isSameStep(other, step)) ?? {};
    this.#change(step, { done: done + more, of: of + inAll });
  }

  findings(found: readonly Finding[]): void {
    const worth = found.filter(({ verdict }) => verdict !== 'pass');
    this.#update({
      findings: [...this.#now.findings, ...worth].slice(0, ROWS_MAX),
      findingsInAll: this.#now.findingsInAll + found.length,
    });
  }

  warnings(texts: readonly string[]): void {
    this.#update({ warnings: [...this.#now.warnings, ...texts] });
  }

  left(host: string, error: unknown): void {
    const why = failedOf(error, this.#now.stage);
    this.#update({
      leftBehind: [...this.#now.leftBehind, `${host}: not reached, whatever it holds is still there (${why.message})`],
      failed: this.#now.failed ?? { ...why, host: why.host || host },
    });
  }

  compared(differences: readonly Difference[], kept: readonly string[]): void {
    const named = differences.map(
      ({ host, kind, what, change: how }) => `${host}: ${how === 'left' ? 'there now' : 'gone'}: ${kind} ${what}`,
    );
    this.#update({
      kept: someRows(kept, ROWS_MAX),
      difference: differences.slice(0, ROWS_MAX),
      leftBehind: [...this.#now.leftBehind, ...someRows(named, ROWS_MAX)],
    });
  }

  keptLog({ host, unit, ...log }: Omit<LogRow, 'path'> & LogOutcome): void {
    if ('path' in log) this.#update({ logs: [...this.#now.logs, { host, unit, path: log.path }].slice(0, ROWS_MAX) });
    else this.warnings([`${host}: the log of ${unit} could not be kept: ${log.lost}`]);
  }

  endedBy(by: EndedBy): void {
    this.#update({ endedBy: by });
    if (by.how === 'take-over') this.warnings([`deployment ${by.for} by ${by.actor} waits to take over`]);
  }

  /** How it ended; nothing comes after it. */
  close(end: Partial<OperationProgress> & Pick<OperationProgress, 'outcome'>): void {
    this.#update(end);
    const { failed, endedBy } = this.#now;
    const who = ENDED_BY_SOMEBODY[end.outcome];
    const failure = who ? `${who} ${endedBy?.actor ?? ''}` : failed ? `${failed.code} ${failed.host}` : '';
    upsertSearchAttributes([
      { key: ATTRIBUTES.outcome, value: end.outcome },
      { key: ATTRIBUTES.failure, value: failure.trim().slice(0, FAILURE_LIMIT) || null },
    ]);
  }

  #change(changed: StepName, next: Partial<StepProgress>): void {
    this.#update({
      steps: this.#now.steps.map((step) => (isSameStep(step, changed) ? { ...step, ...next } : step)),
    });
  }

  #update(change: Partial<OperationProgress>): void {
    this.#now = { ...this.#now, ...change };
    setCurrentDetails(describeProgress(this.#now));
  }
}

const NO_STEP: StepName = { name: '' };

/** What TandemFailure says of an operation that did as somebody else wanted. */
const ENDED_BY_SOMEBODY: Partial<Record<OperationProgress['outcome'], string>> = {
  cancelled: 'CANCELLED',
  superseded: 'SUPERSEDED',
};
