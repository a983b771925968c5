import type { HostFacts } from '../facts/host-facts.ts';
import { type Finding, waive } from './check.ts';
import { containerRuntime } from './container-runtime.ts';
import type { HostDemand } from './demand.ts';
import { gpuCount } from './gpu-count.ts';
import { gpuDriver } from './gpu-driver.ts';
import { gpuFree } from './gpu-free.ts';
import { gpuHbm } from './gpu-hbm.ts';
import { gpuPartition } from './gpu-partition.ts';
import { gpuProduct } from './gpu-product.ts';
import type { HostCheck } from './host-check.ts';
import { hostDisk } from './host-disk.ts';
import { hostMemlock } from './host-memlock.ts';
import { iommu } from './iommu.ts';
import { numaBalancing } from './numa-balancing.ts';
import { portFree } from './port-free.ts';
import { RDMA_BANDWIDTH } from './rdma-bandwidth.ts';
import { rdmaDevice } from './rdma-device.ts';
import { rdmaGid } from './rdma-gid.ts';
import { rdmaLinkRate } from './rdma-link-rate.ts';
import { rdmaLinkState } from './rdma-link-state.ts';
import { rdmaProvider } from './rdma-provider.ts';
import { rdmaTransport } from './rdma-transport.ts';
import { rocmVersion } from './rocm-version.ts';
import { toolOutput } from './tool-output.ts';

export { judgeLink } from './rdma-bandwidth.ts';

/** The checks of a host, in the order in which their findings are shown. */
export const HOST_CHECKS: readonly HostCheck[] = [
  gpuDriver,
  rocmVersion,
  gpuCount,
  gpuProduct,
  gpuHbm,
  gpuFree,
  gpuPartition,
  numaBalancing,
  iommu,
  hostMemlock,
  hostDisk,
  containerRuntime,
  portFree,
  rdmaTransport,
  rdmaDevice,
  rdmaLinkState,
  rdmaLinkRate,
  rdmaGid,
  rdmaProvider,
  toolOutput,
];

/** Every name that a finding or `checks.waive` can have. */
export const CHECK_NAMES: readonly string[] = [...HOST_CHECKS.map(({ name }) => name), RDMA_BANDWIDTH];

/** One finding per check that concerns the host; a waived failure warns with its reason. */
export const judgeHost = (facts: HostFacts, demand: HostDemand): Finding[] =>
  HOST_CHECKS.flatMap(({ name, judge }) => {
    const judgement = judge(facts, demand);
    return judgement ? [waive({ check: name, host: demand.host, ...judgement }, demand.waive)] : [];
  });
