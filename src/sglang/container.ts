import type { ContainerPlan } from '../plan/types.ts';
import type { ClusterSpec } from '../spec/schema.ts';

/** Where libibverbs looks for provider libraries in the images of rocm/sgl-dev and rocm/sglang, which are Ubuntu's. */
const PROVIDER_FOLDER = '/usr/lib/x86_64-linux-gnu/libibverbs';

/** The container of one rank. `modelPath` is mounted read-only at the same path, and provider libraries of the host where the image looks for them. */
export function engineContainer(
  spec: ClusterSpec,
  { image, modelPath, providerLibraries }: { image: string; modelPath: string; providerLibraries: readonly string[] },
): ContainerPlan {
  const { engine, rdma } = spec;
  const provided = providerLibraries.map((path) => ({
    source: path,
    target: `${PROVIDER_FOLDER}/${path.slice(path.lastIndexOf('/') + 1)}`,
    readOnly: true,
  }));
  return {
    image,
    // A host without RDMA has no such device, and Docker refuses to start with a device that is not there.
    devices: engine.devices.filter((device) => rdma.transport === 'rdma' || device !== '/dev/infiniband'),
    groups: engine.groups,
    capabilities: engine.capabilities,
    securityOptions: engine.securityOptions,
    privileged: engine.privileged,
    ulimits: engine.ulimits,
    mounts: [{ source: modelPath, target: modelPath, readOnly: true }, ...provided, ...engine.mounts],
    hostIpc: engine.hostIpc,
    shmSizeGiB: engine.shmSizeGiB,
  };
}

/** The container of a router, which needs nothing of the host but its network. */
export const routerContainer = (image: string): ContainerPlan => ({
  image,
  devices: [],
  groups: [],
  capabilities: [],
  securityOptions: [],
  privileged: false,
  ulimits: {},
  mounts: [],
  hostIpc: false,
  shmSizeGiB: 1,
});
