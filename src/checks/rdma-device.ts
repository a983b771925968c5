import { type HostCheck, cannotTell, fail, list, pass } from './host-check.ts';
import { LOOK_AT_RDMA, namedDevices, usesRdma } from './planned-ports.ts';

/** The RDMA devices that the spec or the plan names exist; with `rdma.devices: auto` there is at least one. */
export const rdmaDevice: HostCheck = {
  name: 'rdma-device',
  judge({ rdma }, demand) {
    if (!usesRdma(demand)) return undefined;
    const named = namedDevices(demand);
    const wanted = `rdma.devices is ${demand.rdma.devices === 'auto' ? 'auto' : list(demand.rdma.devices)}`;
    if (!rdma.value) return cannotTell({ what: 'RDMA devices', why: rdma.why, wanted, remedy: LOOK_AT_RDMA });
    const found = [...new Set(rdma.value.map(({ device }) => device))];
    const missing = (named ?? []).filter((device) => !found.includes(device));
    return missing.length === 0
      ? pass(`${found.length} found: ${list(found)}; ${wanted}`)
      : fail(
          `${list(missing)} not among ${list(found)}; ${wanted}`,
          'Correct rdma.devices, or load the driver of the missing device.',
        );
  },
};
