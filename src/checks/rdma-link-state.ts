import { type RdmaPort, isUp } from '../facts/rdma-port.ts';
import { type HostCheck, cannotTell, fail, list, pass } from './host-check.ts';
import { LOOK_AT_RDMA, NO_DEVICE, plannedPorts, usesRdma } from './planned-ports.ts';

const WANTED = 'each RDMA device that an engine gets (rdma.devices) should be ACTIVE and LinkUp';

/**
 * Every planned RDMA port is up, on a link layer that is known. One that is down is never left out by itself: the
 * cluster would be slower, and nobody told.
 */
export const rdmaLinkState: HostCheck = {
  name: 'rdma-link-state',
  judge({ rdma }, demand) {
    if (!usesRdma(demand)) return undefined;
    const unread = (why: string) => cannotTell({ what: 'RDMA link state', why, wanted: WANTED, remedy: LOOK_AT_RDMA });
    if (!rdma.value) return unread(rdma.why);
    const ports = plannedPorts(rdma.value, demand);
    if (ports.length === 0) return unread(NO_DEVICE);
    const bad = ports.filter((port) => !isUp(port) || port.linkLayer === 'unknown');
    return bad.length === 0
      ? pass(`${ports.length} of ${ports.length} up, ${WANTED}`)
      : fail(
          `${list(bad.map(shown))}; ${WANTED}`,
          'Check cable, switch port and driver of these ports, or name only the others in rdma.devices.',
        );
  },
};

const shown = ({ device, state, physicalState, linkLayer }: RdmaPort): string =>
  `${device} is ${state ?? 'in no readable state'}${physicalState === undefined ? '' : `/${physicalState}`}${
    linkLayer === 'unknown' ? ' on an unknown link layer' : ''
  }`;
