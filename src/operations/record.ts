import type { Difference } from '../facts/host-picture.ts';
import type { Serving } from '../plan/types.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import type {
  ClusterState,
  EndedBy,
  Failed,
  Measured,
  Operation,
  OperationFailure,
  OperationResult,
  Outcome,
} from './outcomes.ts';
import type { Admitted, AdoptRequest, OperationRequest } from './requests.ts';

/** What a cluster's record is, and what it says after each thing that happens to it: its entity keeps the result. */

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

/** Most JSON text that a record holds, in characters. */
export const RECORD_BUDGET = 1024 * 1024;

export const emptyRecord = (cluster: string, installation: string): ClusterRecord => ({
  cluster,
  installation,
  state: 'none',
  running: null,
  waiting: null,
  serving: null,
  deployments: [],
  specs: {},
  droppedSpecs: [],
  lastDeployment: 0,
});

/** A record that an older release wrote. */
export const recordOf = (record: ClusterRecord): ClusterRecord => ({
  ...emptyRecord(record.cluster, record.installation),
  ...record,
});

/** Nothing was ever admitted here. */
export const isEmpty = ({ lastDeployment, deployments }: ClusterRecord): boolean =>
  lastDeployment === 0 && deployments.length === 0;

/** An operation that was admitted: what it aims at is fixed then. */
export interface Pending extends Admitted {
  readonly request: OperationRequest;
  readonly spec: ClusterSpec;
  readonly specDigest: string;
}

/** How an operation ended. */
export interface Conclusion {
  readonly outcome: Outcome;
  readonly result?: OperationResult;
  readonly failure?: OperationFailure;
  /** Who ended it, where that is not what the running operation was told. */
  readonly endedBy?: EndedBy;
}

/** It has its number; it runs, or waits until the running one has yielded. */
export function admitted(
  state: ClusterRecord,
  { request, deployment, workflowId, spec, specDigest }: Pending,
  now: string,
): ClusterRecord {
  const entry: DeploymentRecord = {
    deployment,
    operation: request.operation,
    actor: request.actor,
    reason: request.reason ?? '',
    startedAt: now,
    outcome: 'running',
    specDigest,
    workflowId,
    leftBehind: [],
  };
  const operation = { operation: request.operation, deployment, by: request.actor, since: now, workflowId };
  return withinBudget({
    ...state,
    state: 'deploying',
    ...(state.running ? { waiting: operation } : { running: operation }),
    deployments: [...state.deployments, entry],
    // Last, since insertion order is age.
    specs: { ...without(state.specs, specDigest), [specDigest]: spec },
    droppedSpecs: state.droppedSpecs.filter((digest) => digest !== specDigest),
    lastDeployment: deployment,
  });
}

/** It ended; one that waited for it runs from now on. */
export function ended(
  state: ClusterRecord,
  { deployment }: Admitted,
  { outcome, result, failure, endedBy: told }: Conclusion,
  now: string,
): ClusterRecord {
  const serving = result ? result.serving : state.serving;
  const { failed, leftBehind = [], difference = [], kept = [] } = failure ?? {};
  const by = told ?? (ENDED_BY_SOMEBODY.includes(outcome) ? state.running?.endedBy : failure?.endedBy);
  const facts = result
    ? { difference: [], kept: result.kept ?? [], abandoned: result.abandoned ?? [] }
    : { difference, kept };
  const finished: Partial<DeploymentRecord> = {
    finishedAt: now,
    outcome,
    leftBehind,
    ...(failed ? { failed } : {}),
    ...(by ? { endedBy: by } : {}),
    ...withoutEmpty(facts),
    ...(result?.measured ? { measured: result.measured } : {}),
  };
  const deployments = state.deployments.map((entry) =>
    entry.deployment === deployment ? { ...entry, ...finished } : entry,
  );
  return withinBudget({
    ...state,
    running: state.waiting,
    waiting: null,
    serving,
    state: state.waiting ? 'deploying' : stateAfter(serving, deployments),
    deployments,
  });
}

/** Outcomes of an operation that did as somebody else wanted. */
const ENDED_BY_SOMEBODY: readonly Outcome[] = ['cancelled', 'superseded'];

/** Somebody ends the running operation; whether it still can be ended is seen at its end. */
export const endedBy = (state: ClusterRecord, by: EndedBy): ClusterRecord =>
  state.running ? { ...state, running: { ...state.running, endedBy: by } } : state;

/** One that waited is dropped before it began. */
export const dropped = (state: ClusterRecord, by: EndedBy): ClusterRecord => ({
  ...state,
  waiting: null,
  deployments: state.deployments.map((entry) =>
    entry.deployment === state.waiting?.deployment
      ? { ...entry, outcome: 'cancelled', finishedAt: by.at, endedBy: by }
      : entry,
  ),
});

/** The record as the hosts show it: the deployment that left what is there, under the installation that made it. */
export function adopted(
  state: ClusterRecord,
  { installation, lastDeployment, serving, spec, specDigest, actor, reason }: AdoptRequest,
  now: string,
): ClusterRecord {
  const entry: DeploymentRecord = {
    deployment: lastDeployment,
    operation: 'deploy',
    actor,
    reason: `adopted from what the hosts show${reason ? `: ${reason}` : ''}`,
    startedAt: now,
    finishedAt: now,
    outcome: serving ? 'succeeded' : 'stuck',
    specDigest,
    workflowId: '',
    leftBehind: serving ? [] : ['units or leases of a deployment that does not serve'],
  };
  return withinBudget({
    ...state,
    installation,
    serving,
    state: serving ? 'serving' : 'stuck',
    deployments: [...state.deployments.filter(({ deployment }) => deployment !== lastDeployment), entry].toSorted(
      (a, b) => a.deployment - b.deployment,
    ),
    specs: { ...without(state.specs, specDigest), [specDigest]: spec },
    droppedSpecs: state.droppedSpecs.filter((digest) => digest !== specDigest),
    lastDeployment: Math.max(state.lastDeployment, lastDeployment),
  });
}

/** The spec an operation aims at: the given one, else the one that serves, else the newest known. */
export function targetOf(
  request: Pick<OperationRequest, 'spec' | 'specDigest'>,
  state: ClusterRecord,
): { readonly spec: ClusterSpec; readonly specDigest: string } | undefined {
  if (request.spec && request.specDigest) return { spec: request.spec, specDigest: request.specDigest };
  const digests = [state.serving?.specDigest, ...state.deployments.map(({ specDigest }) => specDigest).reverse()];
  const specDigest = digests.find((digest) => digest !== undefined && state.specs[digest] !== undefined);
  return specDigest === undefined ? undefined : { spec: state.specs[specDigest]!, specDigest };
}

/** Outcomes that say what is on the hosts; after the others is there what was there before. */
const SETTLING: readonly Outcome[] = ['succeeded', 'unchanged', 'superseded', 'frozen', 'stuck'];

function stateAfter(serving: Serving | null, deployments: readonly DeploymentRecord[]): ClusterState {
  if (deployments.findLast(({ outcome }) => SETTLING.includes(outcome))?.outcome === 'stuck') return 'stuck';
  if (isHandedOver(deployments)) return 'degraded';
  if (serving) return 'serving';
  return deployments.some((entry) => entry.outcome === 'succeeded') ? 'stopped' : 'none';
}

/** Whether something that a superseded operation began is on the hosts and nobody has finished it since. */
function isHandedOver(deployments: readonly DeploymentRecord[]): boolean {
  const settled = deployments.findLastIndex(({ outcome }) => outcome === 'succeeded' || outcome === 'unchanged');
  return deployments.slice(settled + 1).some(({ outcome }) => outcome === 'superseded');
}

/**
 * The record within its budget: old spec bodies go first and are named, then what old deployments tell beyond who, what
 * and how it ended. No deployment is ever dropped.
 */
export function withinBudget(state: ClusterRecord, budget = RECORD_BUDGET): ClusterRecord {
  let size = JSON.stringify(state).length;
  if (size <= budget) return state;
  const needed = new Set([state.serving?.specDigest, Object.keys(state.specs).at(-1)]);
  const going: string[] = [];
  for (const [digest, spec] of Object.entries(state.specs)) {
    if (size <= budget) break;
    if (needed.has(digest)) continue;
    going.push(digest);
    size -= JSON.stringify(spec).length; // Its name only moves.
  }
  const specs = Object.fromEntries(Object.entries(state.specs).filter(([digest]) => !going.includes(digest)));
  const deployments = state.deployments.map((entry) => {
    if (size <= budget || entry.outcome === 'running') return entry;
    const short = brief(entry);
    size -= JSON.stringify(entry).length - JSON.stringify(short).length;
    return short;
  });
  return { ...state, specs, deployments, droppedSpecs: [...state.droppedSpecs, ...going] };
}

/** A deployment without its evidence and figures. */
function brief(told: DeploymentRecord): DeploymentRecord {
  const { failed, difference: _, kept: __, measured: ___, ...entry } = told;
  return { ...entry, ...(failed ? { failed: { ...failed, evidence: '' } } : {}) };
}

const without = <T>(all: Readonly<Record<string, T>>, key: string): Record<string, T> =>
  Object.fromEntries(Object.entries(all).filter(([name]) => name !== key));

const withoutEmpty = <T extends Record<string, readonly unknown[]>>(lists: T): Partial<T> =>
  Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0)) as Partial<T>;
