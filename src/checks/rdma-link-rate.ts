import { type HostCheck, cannotTell, fail, list, pass } from './host-check.ts';
import { LOOK_AT_RDMA, NO_DEVICE, plannedPorts, usesRdma } from './planned-ports.ts';

/** Every planned RDMA port runs at `rdma.minLinkGbps` or more. */
export const rdmaLinkRate: HostCheck = {
  name: 'rdma-link-rate',
  judge({ rdma }, demand) {
    if (!usesRdma(demand)) return undefined;
    const { minLinkGbps } = demand.rdma;
    const wanted = `rdma.minLinkGbps is ${minLinkGbps}`;
    const unread = (why: string) => cannotTell({ what: 'RDMA link rate', why, wanted, remedy: LOOK_AT_RDMA });
    if (!rdma.value) return unread(rdma.why);
    const ports = plannedPorts(rdma.value, demand);
    if (ports.length === 0) return unread(NO_DEVICE);
    const slow = ports.filter(({ rateGbps }) => rateGbps !== undefined && rateGbps < minLinkGbps);
    if (slow.length > 0) {
      const remedy = 'Check cable and speed of the switch port, or name only the fast devices in rdma.devices.';
      return fail(
        `${list(slow.map(({ device, rateGbps }) => `${device} runs at ${rateGbps!} Gb/s`))}; ${wanted}`,
        remedy,
      );
    }
    const untold = ports.filter(({ rateGbps }) => rateGbps === undefined);
    if (untold.length > 0) return unread(`no tool tells that of ${list(untold.map(({ device }) => device))}`);
    return pass(
      `${list([...new Set(ports.map(({ rateGbps }) => rateGbps!))])} Gb/s on ${ports.length} devices, ${wanted}`,
    );
  },
};
