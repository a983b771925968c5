import type { Gpu, HostInventory, Nic } from '../plan/types.ts';
import { ipv4In, usableGid } from './gid.ts';
import type { GpuRecord } from './gpu-record.ts';
import type { HostFacts } from './host-facts.ts';
import { type RdmaPort, isUp, onePerDevice } from './rdma-port.ts';

/** What the planner may count on: rows without free bytes, temperatures or times. Empty where a fact could not be read. */

/** The GPUs of a host, by the index that HIP counts by. A GPU without a readable address cannot be leased: left out. */
export const gpusOf = ({ gpus }: HostFacts): readonly Gpu[] =>
  (gpus.value ?? []).flatMap((gpu) =>
    gpu.bdf === undefined
      ? []
      : [
          {
            index: gpu.index,
            pci: pciOf(gpu.bdf, gpu),
            product: gpu.product ?? 'unknown',
            ...(gpu.numaNode === undefined ? {} : { numaNode: gpu.numaNode }),
          },
        ],
  );

/** "0000:05:00.0", with "-3" for the partition 3 of a GPU that is partitioned. */
const pciOf = (bdf: string, { computePartition, partitionId }: GpuRecord): string =>
  ['DPX', 'TPX', 'QPX', 'CPX'].includes(computePartition ?? '') || (partitionId ?? 0) > 0
    ? `${bdf}-${partitionId ?? 0}`
    : bdf;

/** The RDMA devices of a host; one with several ports is the first of them that is up. */
export const nicsOf = ({ rdma }: HostFacts): readonly Nic[] => [...onePerDevice(rdma.value ?? []).values()].map(nicOf);

function nicOf(port: RdmaPort): Nic {
  const gid = usableGid(port.gids ?? []);
  const address = gid && ipv4In(gid.gid);
  return {
    device: port.device,
    driver: port.driver ?? 'unknown',
    up: isUp(port),
    ...(port.rateGbps === undefined ? {} : { rateGbps: port.rateGbps }),
    ...(gid === undefined ? {} : { gidIndex: gid.index }),
    ...(address === undefined ? {} : { address }),
    ...(port.numaNode === undefined ? {} : { numaNode: port.numaNode }),
  };
}

/** The provider libraries found on a host. */
export const providerLibrariesOf = ({ providerLibraries }: HostFacts): HostInventory['providerLibraries'] =>
  providerLibraries.value ?? [];
