import { DeployError } from '../errors.ts';
import { specDigest } from '../spec/canonical.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import { kvGeneration } from './digest.ts';
import { type FoundGroup, foundGroups, installationsOn, isOwn, onlyInstallation, strangers } from './found.ts';
import { hostRef } from './host-ref.ts';
import { modelPlan } from './model.ts';
import { isNoop } from './noop.ts';
import { byText } from './order.ts';
import { planCluster } from './plan.ts';
import { externalRouter, routerRow } from './router-row.ts';
import type { Inventory, Role, Serving } from './types.ts';

/** What the hosts show of a cluster whose record was lost: all that a new record can know. */
export interface FoundCluster {
  /** Whose labels the units carry. */
  readonly installation: string;
  /** The highest deployment number on any unit or lease. */
  readonly lastDeployment: number;
  /**
   * Null where no engine runs: only leases or ended units are left. Its `specDigest` is empty where the given spec is not
   * the one that runs, since labels do not say which one is.
   */
  readonly serving: Serving | null;
  /** In what the given spec differs from what runs, a line each; empty when it is the spec that runs. */
  readonly differs: readonly string[];
  /** Units with the cluster's label that another installation made: left alone, "host: unit, …". */
  readonly strangers: readonly string[];
}

/**
 * Reads from labels and leases what an installation of the spec's cluster has on the hosts; `installation` chooses
 * among several. Errors: CLUSTER_UNKNOWN where the hosts show nothing of it, NAME_CONFLICT where they show two.
 */
export function adoptionOf({
  spec,
  inventory,
  installation: chosen,
}: {
  readonly spec: ClusterSpec;
  readonly inventory: Inventory;
  readonly installation?: string;
}): FoundCluster {
  const shown = installationsOn(spec.name, inventory);
  const installation = chosen ?? onlyInstallation(spec.name, inventory);
  if (installation === undefined || !shown.has(installation)) throw nothingOf(spec.name, inventory, shown, chosen);

  const owner = { installation };
  const own: Inventory = {
    hosts: inventory.hosts.map((host) => ({ ...host, found: host.found.filter((unit) => isOwn(unit, owner)) })),
  };
  const groups = foundGroups(own);
  const numbers = [
    0,
    ...groups.map(({ deployment }) => deployment),
    ...own.hosts.flatMap(({ leases }) =>
      leases
        .filter((lease) => lease.cluster === spec.name && lease.installation === installation)
        .map(({ deployment }) => deployment),
    ),
  ];
  const lastDeployment = Math.max(...numbers);
  const serving = servingOf(spec, groups, lastDeployment);
  const differs = differences(spec, own, installation, lastDeployment, serving);
  return {
    installation,
    lastDeployment,
    serving: serving && { ...serving, specDigest: differs.length === 0 ? specDigest(spec) : '' },
    differs,
    strangers: strangers(inventory, owner),
  };
}

/** What runs, without the digest of a spec; null where no engine runs. */
function servingOf(
  spec: ClusterSpec,
  groups: readonly FoundGroup[],
  lastDeployment: number,
): Omit<Serving, 'specDigest'> | null {
  const model = modelPlan(spec);
  const newestFirst = groups.toSorted((a, b) => b.deployment - a.deployment || byText(a.name, b.name));
  const engines = newestFirst.filter(({ kind, running }) => kind === 'engine' && running);
  if (engines.length === 0) return null;
  // An engine that stayed through a change keeps the label it was started with, so the newest one is right.
  const labelled = engines.find((engine) => engine.kvGeneration !== undefined);
  const generation = labelled?.kvGeneration ?? kvGeneration(spec, model);
  const routers = newestFirst.filter(({ kind }) => kind === 'router');
  const router = routers.find(({ running }) => running) ?? routers[0];
  const holding = new Set(
    [...engines, ...(router ? [router] : [])].flatMap(({ parts }) => parts.map(({ host }) => host)),
  );
  return {
    deployment: lastDeployment,
    site: spec.site,
    model: model.id,
    engines: engines.toSorted(byRoleAndIndex).map(({ name, role, parts, url, digest, runtime }) => ({
      name,
      kvGeneration: generation,
      role: role as Role,
      hosts: parts.map(({ host }) => host),
      url: url ?? '',
      digest,
      runtime,
    })),
    router: router
      ? { url: router.url ?? '', name: router.name, host: router.parts[0]!.host, runtime: router.runtime }
      : { url: urlOfRouter(spec) },
    hosts: spec.hosts.list
      .filter(({ name }) => holding.has(name))
      .map((host) => hostRef(spec, host))
      .toSorted((a, b) => byText(a.name, b.name)),
  };
}

const byRoleAndIndex = (a: FoundGroup, b: FoundGroup): number => byText(b.role, a.role) || a.index - b.index;

/** Where no router is on the hosts: the one that the spec would have. */
const urlOfRouter = (spec: ClusterSpec): string =>
  externalRouter(spec)?.url ?? ('host' in spec.router ? routerRow(spec, spec.router).url : '');

/** What a deploy of the spec would change, as the planner says it. A plan that is refused differs by its reasons. */
function differences(
  spec: ClusterSpec,
  inventory: Inventory,
  installation: string,
  lastDeployment: number,
  serving: Omit<Serving, 'specDigest'> | null,
): readonly string[] {
  try {
    const plan = planCluster({
      spec,
      inventory,
      installation,
      deployment: lastDeployment + 1,
      ...(serving && { serving }),
    });
    if (isNoop(plan)) return [];
    return plan.changes
      .filter(({ action }) => action !== 'keep')
      .map(({ action, kind, name, reason }) => `${action} ${kind} ${name}: ${reason}`);
  } catch (error) {
    if (!(error instanceof DeployError)) throw error;
    return error.evidence?.split('\n') ?? [error.message];
  }
}

function nothingOf(
  cluster: string,
  { hosts }: Inventory,
  shown: ReadonlyMap<string, readonly string[]>,
  chosen: string | undefined,
): DeployError {
  const others = [...shown.keys()];
  return new DeployError({
    code: 'CLUSTER_UNKNOWN',
    message: `${hosts.length} hosts show nothing of ${chosen === undefined ? '' : `installation ${chosen} of `}cluster ${cluster}${others.length > 0 ? `; they show installation ${others.join(', ')}` : ''}`,
    remedy:
      others.length > 0
        ? 'Give one of those by --installation.'
        : `Check name and hosts.list of the spec; where nothing runs, \`tandem deploy\` makes ${cluster}.`,
    retryable: false,
  });
}
