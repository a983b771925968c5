import type { FoundUnit, HostInventory, Inventory, Lease, Plan, PlanInput } from '../../src/plan/types.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';

/** The inventory that healthy, empty hosts of a spec would show: as many Broadcom NICs as GPUs, half of each on either socket. */
export function anInventory(spec: ClusterSpec): Inventory {
  return {
    hosts: spec.hosts.list
      .map(({ name, gpus }, host): HostInventory => {
        const socket = (at: number): number => (at < gpus.count / 2 ? 0 : 1);
        return {
          host: name,
          gpus: Array.from({ length: gpus.count }, (_, index) => ({
            index,
            pci: `0000:${(5 + 16 * index).toString(16).padStart(2, '0')}:00.0`,
            product: gpus.product,
            numaNode: socket(index),
          })),
          nics: Array.from({ length: gpus.count }, (_, rail) => ({
            device: `bnxt_re${rail}`,
            driver: 'bnxt_re',
            up: true,
            rateGbps: 400,
            gidIndex: 3,
            address: `192.${168 + (host >> 8)}.${host & 255}.${rail + 1}`,
            numaNode: socket(rail),
          })),
          providerLibraries:
            gpus.count > 0 ? [{ driver: 'bnxt_re', path: '/usr/lib64/libibverbs/libbnxt_re-rdmav34.so' }] : [],
          leases: [],
          found: [],
          weights: [],
        };
      })
      .toSorted((a, b) => (a.host < b.host ? -1 : 1)),
  };
}

/** The record before a deployment: all earlier ones ended well, and nothing moved to other hosts. */
export const servedBefore = (deployment: number): Pick<PlanInput, 'serving'> =>
  deployment === 1 ? {} : { serving: { deployment: deployment - 1, hosts: [] } };

/** The same hosts with everything of a plan running, leased and staged, and nothing else of the cluster there. */
export function runningInventory(plan: Plan, inventory: Inventory): Inventory {
  const { cluster, installation, model, router } = plan;
  const engines = [...plan.prefill, ...plan.decode];
  return {
    hosts: inventory.hosts.map((host): HostInventory => {
      const found: FoundUnit[] = engines.flatMap(
        ({ name, runtime, role, index, digest, deployment, url, ranks, kvGeneration }) =>
          ranks
            .filter((rank) => rank.host === host.host)
            .map(({ rank, gpus, nics }) => ({
              name,
              kind: 'engine',
              runtime,
              role,
              index,
              rank,
              gpus: gpus.map((gpu) => gpu.index),
              nics,
              digest,
              deployment,
              installation,
              ...(rank === 0 && { url }),
              kvGeneration,
              running: true,
            })),
      );
      if (router.kind === 'managed' && router.host === host.host) {
        const { name, runtime, digest, deployment, url } = router;
        found.push({
          name,
          kind: 'router',
          runtime,
          role: 'router',
          index: 0,
          rank: 0,
          gpus: [],
          digest,
          deployment,
          installation,
          url,
          running: true,
        });
      }
      const owners = new Map(
        engines.flatMap(({ deployment, ranks }) =>
          ranks
            .filter((rank) => rank.host === host.host)
            .flatMap(({ gpus }) =>
              gpus.map(({ pci }): [string, Lease] => [pci, { pci, cluster, installation, deployment }]),
            ),
        ),
      );
      const others = host.leases.filter((lease) => lease.cluster !== cluster);
      const folder = `${model.id}/${model.revision}`;
      const staged = engines.some(({ ranks }) => ranks.some((rank) => rank.host === host.host));
      return {
        ...host,
        found,
        leases: [...others, ...owners.values()],
        weights: staged && !host.weights.includes(folder) ? [...host.weights, folder] : host.weights,
      };
    }),
  };
}
