import type { ClusterSpec } from '../spec/schema.ts';
import { byDevice, groupBy } from './order.ts';
import type { Gpu, HostInventory, Nic } from './types.ts';

/** The RDMA devices of a host that Tandem may use: none over tcp, else those of `rdma.devices`, in rail order. */
export function hostNics({ rdma }: ClusterSpec, inventory: HostInventory): readonly Nic[] {
  if (rdma.transport === 'tcp') return [];
  const { devices } = rdma;
  const wanted = devices === 'auto' ? inventory.nics : inventory.nics.filter(({ device }) => devices.includes(device));
  return wanted.toSorted((a, b) => byDevice(a.device, b.device));
}

/**
 * The devices that belong to these GPUs. It depends on the host alone, never on which other engines are there or
 * which links are up, so that an engine keeps its devices while its neighbours come and go. All GPUs have all
 * devices; fewer have their share of those on their NUMA node, one device never split where there is one per GPU.
 */
export function nicsOfGpus(nics: readonly Nic[], gpus: readonly Gpu[], indices: readonly number[]): readonly Nic[] {
  if (gpus.every(({ index }) => indices.includes(index))) return nics;
  const nodeKnown = [...gpus, ...nics].every(({ numaNode }) => numaNode !== undefined);
  const gpusByNode = groupBy(gpus, ({ numaNode }) => (nodeKnown ? numaNode : 0));
  const nicsByNode = groupBy(nics, ({ numaNode }) => (nodeKnown ? numaNode : 0));
  const mine = new Set<Nic>();
  for (const [node, peers] of gpusByNode) {
    const own = nicsByNode.get(node) ?? nics; // A node without a device reaches those of the other socket.
    peers.forEach(({ index }, at) => {
      if (indices.includes(index)) share(own, at, peers.length).forEach((nic) => mine.add(nic));
    });
  }
  return nics.filter((nic) => mine.has(nic));
}

/** The part of `items` that the member `at` of `of` gets: disjoint where there are enough, else one shared by few. */
function share<T>(items: readonly T[], at: number, of: number): readonly T[] {
  if (items.length === 0) return [];
  if (items.length < of) return [items[Math.floor((at * items.length) / of)]!];
  return items.slice(Math.floor((at * items.length) / of), Math.floor(((at + 1) * items.length) / of));
}
