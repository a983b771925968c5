import type { HeldLease, Serving } from '../plan/types.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import type { Failed } from './outcomes.ts';

/** What is only asked, and the answers: nothing changes by it. */

export interface PlanQuestion {
  readonly spec: ClusterSpec;
  readonly cluster: string;
  readonly installation: string;
  readonly deployment: number;
  readonly serving: Serving | null;
}

/** What of a cluster answers now. */
export interface Health {
  /** By name; null where the engine's host does not answer. */
  readonly engines: Readonly<Record<string, boolean | null>>;
  /** What keeps the router from serving; empty where nothing does, null where its host does not answer. */
  readonly router: string | null;
}

export interface LogsQuestion {
  readonly spec: ClusterSpec;
  readonly serving: Serving | null;
  readonly installation: string;
  /** Only this unit, by its name or as "prefill-0" or "router". */
  readonly unit?: string;
  /** Only what this deployment made, and then what was kept when an undo removed it too. */
  readonly deployment?: number;
  readonly tailLines: number;
}

/** Every lease on the hosts of a spec, by host and address; hosts that could not be read are named. */
export interface LeaseList {
  readonly leases: readonly LeaseRow[];
  readonly unread: readonly Failed[];
}

/** A lease as `lease list` shows it. */
export interface LeaseRow extends HeldLease {
  readonly host: string;
  /** The index that HIP counts by; null where the host's GPUs could not be read, or have none of this address. */
  readonly gpu: number | null;
}

export interface HostLogs {
  readonly names: readonly string[];
  /** By unit and host, without secrets; what cannot be read says so in its place. */
  readonly logs: Readonly<Record<string, string>>;
}
