import type { Finding } from '../checks/check.ts';
import type { Difference } from '../facts/host-picture.ts';
import type { StepState } from '../saga/saga.ts';
import type { EndedBy, Failed, Measured, Operation, Outcome } from './outcomes.ts';

/** What an operation shows while it runs. */

export interface OperationProgress {
  readonly cluster: string;
  readonly operation: Operation;
  readonly deployment: number;
  readonly actor: string;
  readonly outcome: Outcome;
  readonly stage: string;
  readonly steps: readonly StepProgress[];
  /** Those that did not pass, some hundred at most; of the rest the number is told. */
  readonly findings: readonly Finding[];
  readonly findingsInAll: number;
  readonly warnings: readonly string[];
  readonly failed?: Failed;
  readonly endedBy?: EndedBy;
  readonly leftBehind: readonly string[];
  readonly difference: readonly Difference[];
  readonly kept: readonly string[];
  /** Logs of units that were removed while undoing. */
  readonly logs: readonly LogRow[];
  readonly measured?: Measured;
}

/** Where the last lines of a unit are that is not there any more. */
export interface LogRow {
  readonly host: string;
  readonly unit: string;
  readonly path: string;
}

/** A step by its names: in a plan with several stages a move comes more than once. */
export interface StepName {
  /** The plan's stage whose move it is; absent of what comes before the plan, and of a destroy. */
  readonly stage?: string;
  readonly name: string;
}

export const isSameStep = (a: StepName, b: StepName): boolean => a.name === b.name && a.stage === b.stage;

export interface StepProgress extends StepName {
  readonly state: StepState | 'waiting';
  /** Parts done and in all, as in 3 of 5 engines. */
  readonly done: number;
  readonly of: number;
  /** ISO 8601, by the workflow's clock. */
  readonly startedAt?: string;
  readonly finishedAt?: string;
}
