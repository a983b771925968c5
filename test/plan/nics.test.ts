import { describe, expect, it } from '@jest/globals';
import { nicsOfGpus } from '../../src/plan/nics.ts';
import type { Gpu, Nic } from '../../src/plan/types.ts';

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
