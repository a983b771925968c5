import { type Gid, ipv4In, isLinkLocal, usableGid } from '../facts/gid.ts';
import type { RdmaPort } from '../facts/rdma-port.ts';
import type { HostDemand } from './demand.ts';
import { type HostCheck, cannotTell, fail, list, pass } from './host-check.ts';
import { LOOK_AT_RDMA, NO_DEVICE, plannedPorts, usesRdma } from './planned-ports.ts';

/** Every planned RoCE port has a RoCE v2 GID with a routable address; InfiniBand routes by its own addresses. */
export const rdmaGid: HostCheck = {
  name: 'rdma-gid',
  judge({ rdma }, demand) {
    if (!usesRdma(demand)) return undefined;
    const wanted = `rdma.gidIndex is ${demand.rdma.gidIndex}, wanted is a RoCE v2 GID with a routable address`;
    const unread = (why: string) => cannotTell({ what: 'The GIDs', why, wanted, remedy: LOOK_AT_RDMA });
    if (!rdma.value) return unread(rdma.why);
    const ports = plannedPorts(rdma.value, demand);
    if (ports.length === 0) return unread(NO_DEVICE);
    const judged = ports.map((port) => ({ port, problem: problemOf(port, demand) }));
    const untold = judged.filter(({ problem }) => problem === 'untold');
    const bad = judged.filter(({ problem }) => problem !== undefined && problem !== 'untold');
    if (bad.length > 0) {
      return fail(
        `${list(bad.map(({ port, problem }) => `${port.device} ${problem!}`))}; ${wanted}`,
        'Give the port’s network interface an IPv4 address, or name the index in rdma.gidIndex.',
      );
    }
    if (untold.length > 0) return unread(`no tool tells those of ${list(untold.map(({ port }) => port.device))}`);
    return pass(`${list(ports.map((port) => shown(port, demand)))}; ${wanted}`);
  },
};

/** What is wrong with a port's GIDs; "untold" when no tool showed them, undefined when nothing is. */
function problemOf({ linkLayer, gids }: RdmaPort, { rdma: { gidIndex } }: HostDemand): string | undefined {
  if (linkLayer === 'InfiniBand') return undefined;
  if (linkLayer !== 'Ethernet') return linkLayer === 'unknown' ? 'has an unknown link layer' : 'untold';
  if (!gids) return 'untold';
  if (gidIndex === 'auto') return usableGid(gids) ? undefined : `has ${summary(gids)}`;
  const chosen = gids.find(({ index }) => index === gidIndex);
  if (!chosen) return `has no GID ${gidIndex}`;
  if (chosen.type !== 'RoCE v2') return `has ${chosen.type} at GID ${gidIndex}`;
  return isLinkLocal(chosen.gid) ? `has a link-local address at GID ${gidIndex}` : undefined;
}

const summary = (gids: readonly Gid[]): string =>
  gids.length === 0 ? 'no GID' : gids.map(({ index, type, gid }) => `GID ${index} ${type} ${gid}`).join(', ');

function shown({ device, linkLayer, gids = [] }: RdmaPort, { rdma: { gidIndex } }: HostDemand): string {
  if (linkLayer === 'InfiniBand') return `${device} is InfiniBand`;
  const gid = gidIndex === 'auto' ? usableGid(gids) : gids.find(({ index }) => index === gidIndex);
  return gid ? `${device} GID ${gid.index} ${ipv4In(gid.gid) ?? gid.gid}` : device;
}
