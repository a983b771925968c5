import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { EndedBy, Operation } from '../src/operations/outcomes.ts';
import type { OperationProgress } from '../src/operations/progress.ts';
import type { ClusterRecord } from '../src/operations/record.ts';
import type { Admitted, AdoptRequest, BreakRequest, By, OperationRequest } from '../src/operations/requests.ts';
import type { HeldLease, Serving } from '../src/plan/types.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';

/** The messages that workflows take, by name, and what an operation is started with. */

/** Asks the cluster entity for an operation; completes as soon as it is admitted. Refused: OPERATION_RUNNING, OPERATION_LATE, CLUSTER_UNKNOWN. */
export const operate = defineUpdate<Admitted, [OperationRequest]>('operate');

/** Asks the running operation to end: it unwinds what it did. Refused: NOTHING_RUNNING. */
export const cancelOperation = defineUpdate<Admitted, [By]>('cancel');

/** Ends an operation that cannot end by itself, undoing nothing; the next one converges. Refused: NOTHING_RUNNING. */
export const forceOperation = defineUpdate<Admitted, [By]>('force');

/** Tells a running operation who ends it, and how; of a take-over also for which deployment. */
export const endOperation = defineSignal<[EndedBy]>('end');

/** Breaks leases of this cluster that nobody will release. Refused: OPERATION_RUNNING, OPERATION_LATE, CHANGE_REFUSED. */
export const breakLeasesOf = defineUpdate<readonly HeldLease[], [BreakRequest]>('breakLeases');

/**
 * Gives the entity the record that `adoption` read from the hosts: its installation, its last number and what serves.
 * Refused: OPERATION_RUNNING, OPERATION_LATE, CHANGE_REFUSED where the entity has a serving cluster of its own.
 */
export const adoptCluster = defineUpdate<Admitted, [AdoptRequest]>('adopt');

/** Ends the entity of a destroyed cluster, and its record with it. Refused: OPERATION_RUNNING, CHANGE_REFUSED while engines are left. */
export const forgetCluster = defineUpdate<void, [By]>('forget');

export const clusterRecord = defineQuery<ClusterRecord>('record');
export const operationProgress = defineQuery<OperationProgress>('progress');

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
