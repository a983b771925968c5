import { describe, expect, it } from '@jest/globals';
import { hostNics, nicsOfGpus } from '../../src/plan/nics.ts';
import type { Gpu, HostInventory, Nic } from '../../src/plan/types.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { anInventory } from '../support/inventories.ts';
import { aSpec } from '../support/specs.ts';

const gpus = (count: number, numaNode?: (index: number) => number): Gpu[] =>
  Array.from({ length: count }, (_, index) => ({
    index,
    pci: `0000:${index}`,
    product: 'MI300X',
    ...(numaNode && { numaNode: numaNode(index) }),
  }));

const nics = (...nodes: (number | undefined)[]): Nic[] =>
  nodes.map((numaNode, rail) => ({
    device: `n${rail}`,
    driver: 'd',
    up: true,
    ...(numaNode !== undefined && { numaNode }),
  }));

const devices = (of: Nic[], on: Gpu[], ...indices: number[]) => nicsOfGpus(of, on, indices).map(({ device }) => device);

const sockets = gpus(8, (index) => Math.floor(index / 4));

describe('the NICs of a host', () => {
  const names = (rdma: Partial<ClusterSpec['rdma']>, of: Nic[]) =>
    hostNics(aSpec({ rdma }), { ...inventory, nics: of }).map(({ device }) => device);
  const [inventory] = anInventory(aSpec()).hosts as [HostInventory];
  const mixed = nics(0, 0, 1, 1).map((nic) => ({ ...nic, up: nic.device !== 'n2' }));

  it('are all of it with rdma.devices auto, one whose link is down too: the check names it, no plan leaves it out', () => {
    expect(names({ devices: 'auto' }, mixed)).toEqual(['n0', 'n1', 'n2', 'n3']);
  });

  it('are those that rdma.devices names, up or down, and none that it does not name', () => {
    expect(names({ devices: ['n2', 'n1'] }, mixed)).toEqual(['n1', 'n2']);
  });

  it('are none over tcp', () => {
    expect(names({ transport: 'tcp' }, mixed)).toEqual([]);
  });
});

describe('the NICs of an engine', () => {
  it.each<[string, Nic[], Gpu[], number[], string[]]>([
    [
      'all of a host for all of its GPUs, odd ones too',
      nics(0, 0, 1, 1, 1),
      sockets,
      [0, 1, 2, 3, 4, 5, 6, 7],
      ['n0', 'n1', 'n2', 'n3', 'n4'],
    ],
    [
      'on the socket of its GPUs, whatever their names',
      nics(1, 1, 1, 1, 0, 0, 0, 0),
      sockets,
      [0, 1, 2, 3],
      ['n4', 'n5', 'n6', 'n7'],
    ],
    ['one per GPU where there are as many', nics(0, 0, 0, 0, 1, 1, 1, 1), sockets, [6], ['n6']],
    ['half of a socket’s for half of its GPUs', nics(0, 0, 1, 1), sockets, [0, 1], ['n0']],
    ['shared with the neighbour where there are fewer', nics(0, 0, 1, 1), sockets, [1], ['n0']],
    [
      'several per GPU where there are more',
      nics(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
      sockets,
      [1],
      ['n2', 'n3'],
    ],
    ['those of the other socket where its own has none', nics(1, 1, 1, 1), sockets, [0, 1], ['n0', 'n1']],
    ['by number where a socket is unknown', nics(0, undefined, 1, 1), sockets, [6, 7], ['n3']],
    ['none of a host without any', [], sockets, [0], []],
  ])('are %s', (_, of, on, indices, wanted) => {
    expect(devices(of, on, ...indices)).toEqual(wanted);
  });

  it('never meet those of another engine while there is one per GPU', () => {
    const each = nics(0, 0, 0, 0, 1, 1, 1, 1);
    const given = [
      [0, 1],
      [2, 3],
      [4, 5, 6, 7],
    ].flatMap((run) => devices(each, sockets, ...run));
    expect(given).toEqual(['n0', 'n1', 'n2', 'n3', 'n4', 'n5', 'n6', 'n7']);
  });
});
