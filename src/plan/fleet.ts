import type { ClusterSpec, HostSpec } from '../spec/schema.ts';
import { hostNics, nicsOfGpus } from './nics.ts';
import type { Gpu, HostInventory, Lease, Nic, Role } from './types.ts';

/** The hosts of the spec as the planner sees them: what was asked for beside what is there. */
export interface FleetHost {
  readonly name: string;
  readonly spec: HostSpec;
  readonly inventory: HostInventory;
  /** GPUs that the spec lends to Tandem: the first `gpus.count` that are there. */
  readonly gpus: readonly Gpu[];
  readonly nics: readonly Nic[];
  /** Leases of other clusters and installations, by PCI address. */
  readonly foreignLeases: ReadonlyMap<string, Lease>;
}

export type Fleet = ReadonlyMap<string, FleetHost>;

/** In the order of the spec's list, whatever the inventory's is. */
export function fleetOf(spec: ClusterSpec, hosts: readonly HostInventory[], installation: string): Fleet {
  const inventories = new Map(hosts.map((inventory) => [inventory.host, inventory]));
  return new Map(
    spec.hosts.list.map((host): [string, FleetHost] => {
      const inventory = inventories.get(host.name) ?? nothing(host.name);
      const foreign = inventory.leases.filter(
        (lease) => lease.cluster !== spec.name || lease.installation !== installation,
      );
      return [
        host.name,
        {
          name: host.name,
          spec: host,
          inventory,
          gpus: inventory.gpus.filter(({ index }) => index < host.gpus.count).toSorted((a, b) => a.index - b.index),
          nics: hostNics(spec, inventory),
          foreignLeases: new Map(foreign.map((lease) => [lease.pci, lease])),
        },
      ];
    }),
  );
}

const nothing = (host: string): HostInventory => ({
  host,
  gpus: [],
  nics: [],
  providerLibraries: [],
  leases: [],
  found: [],
  weights: [],
});

/** Hosts that a role may use by name and product, as the spec has them. */
export const mayUse = (spec: ClusterSpec, role: Role, { name, spec: host }: FleetHost): boolean =>
  (spec[role].hosts?.includes(name) ?? true) &&
  host.gpus.count > 0 &&
  sameProduct(host.gpus.product, spec[role].gpus.product);

/** "unknown" passes: the check gpu-product says why it could not be read, and fails. */
export const isProduct = (gpu: Gpu, product: string): boolean =>
  gpu.product === 'unknown' || sameProduct(gpu.product, product);

const sameProduct = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

/** The RDMA devices of a run of GPUs: all that belong to them, and those of them that are up. */
export function devicesOf(
  { nics, gpus }: FleetHost,
  run: readonly number[],
): { all: readonly Nic[]; up: readonly Nic[] } {
  const all = nicsOfGpus(nics, gpus, run);
  return { all, up: all.filter(({ up }) => up) };
}
