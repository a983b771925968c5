import { foundGroups, isOwn, onlyInstallation, strangers } from './found.ts';
import { byText } from './order.ts';
import { removal } from './removals.ts';
import { releasePlans } from './supplies.ts';
import type { Inventory, LeasePlan, RemovalPlan } from './types.ts';

/** Everything of a cluster that goes when it is destroyed, and what is left alone. */
export interface DestroyPlan {
  /** Whose units and leases these are; empty where the hosts show none and no record says. */
  readonly installation: string;
  /** The router first, so that no request meets a half-gone cluster, then decode, then prefill. */
  readonly removals: readonly RemovalPlan[];
  readonly leases: readonly LeasePlan[];
  /** Units with the cluster's label of another installation, of an unknown deployment or origin, "host: unit, …": never touched. */
  readonly strangers: readonly string[];
}

const ORDER = { router: 0, decode: 1, prefill: 2 } as const;

/**
 * What of this installation's cluster is on the hosts; empty when nothing is left, so a repeat is harmless. Without an
 * installation, which is a lost record, it is the one that the hosts show. Errors: NAME_CONFLICT where they show two.
 */
export function planDestroy({
  cluster,
  inventory,
  installation: recorded,
  deployment,
}: {
  readonly cluster: string;
  readonly inventory: Inventory;
  readonly installation?: string | undefined;
  /** The number of this operation: units of later ones are left alone. */
  readonly deployment?: number | undefined;
}): DestroyPlan {
  const installation = recorded ?? onlyInstallation(cluster, inventory) ?? '';
  const owner = { installation, ...(recorded !== undefined && deployment !== undefined && { deployment }) };
  const own = {
    hosts: inventory.hosts.map((host) => ({ ...host, found: host.found.filter((unit) => isOwn(unit, owner)) })),
  };
  const removals = foundGroups(own)
    .toSorted((a, b) => ORDER[a.role] - ORDER[b.role] || b.index - a.index || byText(a.name, b.name))
    .map((unit) => removal(unit, true, `${cluster} is destroyed`));
  const leases = releasePlans({ name: cluster }, inventory, installation, []);
  return { installation, removals, leases, strangers: strangers(inventory, owner) };
}
