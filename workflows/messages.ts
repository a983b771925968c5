import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { Finding } from '../src/checks/check.ts';
import type { Difference } from '../src/facts/host-picture.ts';
import type { HeldLease } from '../src/drivers/types.ts';
import type { Serving } from '../src/plan/types.ts';
import type { StepState } from '../src/saga/saga.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';

/** Names and types that workflows and their clients share. */
export type { Serving };

export const WORKFLOW_QUEUE = 'tandem';
export const activityQueue = (site: string): string => `tandem-${site}`;
/** Reads and the question who is there have a queue of their own: a busy site answers them too. */
export const readQueue = (site: string): string => `tandem-${site}-reads`;
export const clusterWorkflowId = (cluster: string): string => `cluster/${cluster}`;

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

/** What a person or a Schedule asks of a cluster. */
export interface OperationRequest {
  readonly operation: Operation;
  /** What the cluster is to be; of destroy only needed where the entity has no record. */
  readonly spec?: ClusterSpec;
  readonly specDigest?: string;
  readonly actor: string;
  readonly reason?: string;
  /** ISO 8601. Delivered later than this, the request is refused. */
  readonly notAfter: string;
  /** Where the spec came from, for the audit: path, commit, ticket. */
  readonly memo?: Readonly<Record<string, string>>;
  /** destroy: also remove weights that no lease on the host uses. */
  readonly purge?: boolean;
  /** Asks a running operation to yield instead of being refused; this one follows it. */
  readonly takeOver?: boolean;
  /** Hosts that are gone for ever, by name: what they hold is named and given up. */
  readonly abandon?: readonly string[];
}

export interface Admitted {
  readonly deployment: number;
  readonly workflowId: string;
}

/** Asks the cluster entity for an operation; completes as soon as it is admitted. Refused: OPERATION_RUNNING, OPERATION_LATE, CLUSTER_UNKNOWN. */
export const operate = defineUpdate<Admitted, [OperationRequest]>('operate');

/** Who asks for something that is no operation, and why. */
export interface By {
  readonly actor: string;
  readonly reason?: string;
}

/** Asks the running operation to end: it unwinds what it did. Refused: NOTHING_RUNNING. */
export const cancelOperation = defineUpdate<Admitted, [By]>('cancel');

/** Ends an operation that cannot end by itself, undoing nothing; the next one converges. Refused: NOTHING_RUNNING. */
export const forceOperation = defineUpdate<Admitted, [By]>('force');

/** Tells a running operation who ends it, and how; of a take-over also for which deployment. */
export const endOperation = defineSignal<[EndedBy]>('end');

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

/** Breaks leases of this cluster that nobody will release. Refused: OPERATION_RUNNING, OPERATION_LATE, CHANGE_REFUSED. */
export const breakLeasesOf = defineUpdate<readonly HeldLease[], [BreakRequest]>('breakLeases');

export interface BreakRequest {
  readonly spec: ClusterSpec;
  readonly host: string;
  /** As they were seen, all of one cluster; one that changed since stays. */
  readonly leases: readonly HeldLease[];
  readonly actor: string;
  readonly reason: string;
  readonly force: boolean;
  /** ISO 8601. */
  readonly notAfter: string;
}

/**
 * Gives the entity the record that `adoption` read from the hosts: its installation, its last number and what serves.
 * Refused: OPERATION_RUNNING, OPERATION_LATE, CHANGE_REFUSED where the entity has a serving cluster of its own.
 */
export const adoptCluster = defineUpdate<Admitted, [AdoptRequest]>('adopt');

export interface AdoptRequest extends Adoption {
  readonly spec: ClusterSpec;
  readonly specDigest: string;
  readonly actor: string;
  readonly reason?: string;
  /** ISO 8601. */
  readonly notAfter: string;
}

/** What hosts show of a cluster whose record was lost. */
export interface Adoption {
  /** Whose labels the units carry; the entity goes on under this name, since labels never change. */
  readonly installation: string;
  /** The highest deployment number on any unit or lease. */
  readonly lastDeployment: number;
  /** Null where only leases or ended units are left. */
  readonly serving: Serving | null;
}

/** Ends the entity of a destroyed cluster, and its record with it. Refused: OPERATION_RUNNING, CHANGE_REFUSED while engines are left. */
export const forgetCluster = defineUpdate<void, [By]>('forget');

export const clusterRecord = defineQuery<ClusterRecord>('record');
export const operationProgress = defineQuery<OperationProgress>('progress');

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

export interface DeploymentRecord {
  readonly deployment: number;
  readonly operation: Operation;
  readonly actor: string;
  readonly reason: string;
  readonly startedAt: string;
  readonly finishedAt?: string;
  readonly outcome: Outcome;
  readonly specDigest: string;
  readonly workflowId: string;
  readonly failed?: Failed;
  /** Who ended it before its own end. */
  readonly endedBy?: EndedBy;
  readonly leftBehind: readonly string[];
  /** How the hosts differ from before, or from nothing after a destroy; named in `leftBehind` too. */
  readonly difference?: readonly Difference[];
  /** Images and complete weights that stay on the hosts as a cache. */
  readonly kept?: readonly string[];
  /** Hosts that were given up, with what the record knew to be on them. */
  readonly abandoned?: readonly string[];
  readonly measured?: Measured;
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

export interface RunningOperation {
  readonly operation: Operation;
  readonly deployment: number;
  readonly by: string;
  /** ISO 8601. */
  readonly since: string;
  readonly workflowId: string;
  /** Who ends it, and how; of several the last. */
  readonly endedBy?: EndedBy;
}

export interface ClusterRecord {
  readonly cluster: string;
  readonly installation: string;
  readonly state: ClusterState;
  readonly running: RunningOperation | null;
  /** One that takes over, until the running one has yielded. */
  readonly waiting: RunningOperation | null;
  readonly serving: Serving | null;
  /** Oldest first. */
  readonly deployments: readonly DeploymentRecord[];
  /** Distinct spec bodies by digest; the oldest are dropped when the record passes its budget. */
  readonly specs: Readonly<Record<string, ClusterSpec>>;
  /** Digests of bodies that were dropped: no rollback goes there. */
  readonly droppedSpecs: readonly string[];
  /** The highest number given to a deployment, here or by a lost record. */
  readonly lastDeployment: number;
}

/** What the child workflow of an operation is given. */
export interface OperationInput {
  readonly cluster: string;
  readonly deployment: number;
  readonly installation: string;
  readonly operation: Operation;
  readonly actor: string;
  readonly spec: ClusterSpec;
  readonly specDigest: string;
  /** Whether the request brought the spec: then it is parsed in full before anything else. The record's own was. */
  readonly given: boolean;
  readonly serving: Serving | null;
  readonly purge: boolean;
  /** Hosts that are gone for ever, by name. */
  readonly abandon: readonly string[];
  /** False where the entity has no record: a destroy then takes what the hosts show of the one installation there. */
  readonly recorded: boolean;
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

export interface StepProgress {
  readonly name: string;
  readonly state: StepState | 'waiting';
  /** Parts done and in all, as in 3 of 5 engines. */
  readonly done: number;
  readonly of: number;
  /** ISO 8601, by the workflow's clock. */
  readonly startedAt?: string;
  readonly finishedAt?: string;
}
