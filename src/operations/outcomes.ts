import type { Difference } from '../facts/host-picture.ts';
import type { Serving } from '../plan/types.ts';

/** What an operation is, and how it ends. */

export type Operation = 'deploy' | 'scale' | 'upgrade' | 'rollback' | 'repair' | 'destroy';

/** The operations that this release carries out. */
export const OPERATIONS: readonly Operation[] = ['deploy', 'destroy'];

/** `refused`: it ended before it touched anything. */
export type Outcome =
  | 'running'
  | 'succeeded'
  | 'unchanged'
  | 'refused'
  | 'rolled-back'
  | 'cancelled'
  | 'superseded'
  | 'frozen'
  | 'skipped'
  | 'stuck';

export type ClusterState = 'none' | 'deploying' | 'serving' | 'degraded' | 'stopped' | 'stuck';

/** Why an operation ended as it did. */
export interface Failed {
  readonly step: string;
  readonly host: string;
  readonly code: string;
  readonly message: string;
  readonly evidence: string;
  readonly remedy: string;
  /** Where the last lines of what was removed are kept, "host: path"; of many the first, and their number. */
  readonly logs?: readonly string[];
}

/** Who ended an operation before its own end. `how` says what it was to do: unwind, yield, or nothing any more. */
export interface EndedBy {
  readonly how: 'cancel' | 'take-over' | 'force' | 'terminate' | 'reset';
  /** Empty where Temporal does not say. */
  readonly actor: string;
  readonly reason: string;
  /** ISO 8601. */
  readonly at: string;
  /** The deployment that takes over. */
  readonly for?: number;
}

/** What acceptance measured through the router, in milliseconds and tokens per second. */
export interface Measured {
  readonly requests: number;
  readonly ttftMs: Percentiles;
  readonly itlMs: Percentiles;
  readonly tokensPerSecond: number;
}

export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

/** How an operation that did not fail ended. */
export interface OperationResult {
  readonly outcome: Extract<Outcome, 'succeeded' | 'unchanged' | 'superseded'>;
  readonly serving: Serving | null;
  readonly measured?: Measured;
  readonly kept?: readonly string[];
  /** Hosts that were given up, with what the record knows to be on them. */
  readonly abandoned?: readonly string[];
}

/** `details[0]` of the failure with which an operation ends. */
export interface OperationFailure {
  readonly outcome: Extract<Outcome, 'refused' | 'rolled-back' | 'stuck'>;
  readonly failed: Failed;
  /** Who made it end, where it failed to undo what it had done. */
  readonly endedBy?: EndedBy;
  readonly leftBehind: readonly string[];
  readonly difference: readonly Difference[];
  readonly kept: readonly string[];
}
