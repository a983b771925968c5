import type { HeldLease, Serving } from '../plan/types.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import type { Operation } from './outcomes.ts';

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

/** Who asks for something that is no operation, and why. */
export interface By {
  readonly actor: string;
  readonly reason?: string;
}

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
