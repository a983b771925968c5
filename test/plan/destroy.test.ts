import { describe, expect, it } from '@jest/globals';
import { planDestroy } from '../../src/plan/destroy.ts';
import { planCluster } from '../../src/plan/plan.ts';
import { anInventory, runningInventory } from '../support/inventories.ts';
import { aSpec } from '../support/specs.ts';

const spec = aSpec();
const plan = planCluster({ spec, inventory: anInventory(spec), installation: 'ours', deployment: 1 });
const running = runningInventory(plan, anInventory(spec));
const destroy = (over: Partial<Parameters<typeof planDestroy>[0]> = {}) =>
  planDestroy({ cluster: 'tiny', spec, inventory: running, installation: 'ours', ...over });

describe('destroying', () => {
  it('takes the router first, then decode, then prefill, and every lease', () => {
    const { removals, leases, hosts, strangers, unreachable } = destroy();
    expect(removals.map(({ name, parts }) => [name, parts.map(({ host }) => host)])).toEqual([
      ['tandem-tiny-router-0-1', ['router-0']],
      ['tandem-tiny-decode-0-1', ['d0']],
      ['tandem-tiny-prefill-0-1', ['p0']],
    ]);
    expect(leases).toEqual(plan.leases);
    expect(hosts.map(({ name }) => name)).toEqual(['d0', 'p0', 'router-0']);
    expect([strangers, unreachable]).toEqual([[], []]);
  });

  it('of what is gone already has nothing to do', () => {
    expect(destroy({ inventory: anInventory(spec) })).toEqual({
      removals: [],
      leases: [],
      hosts: [],
      strangers: [],
      unreachable: [],
    });
  });

  it('touches nothing of another installation and names it', () => {
    const { removals, leases, strangers } = destroy({ installation: 'theirs' });
    expect([removals, leases]).toEqual([[], []]);
    expect(strangers).toEqual([
      'd0: tandem-tiny-decode-0-1, of installation ours',
      'p0: tandem-tiny-prefill-0-1, of installation ours',
      'router-0: tandem-tiny-router-0-1, of installation ours',
    ]);
  });

  it('leaves the leases of other clusters', () => {
    const inventory = {
      hosts: running.hosts.map((host) => ({
        ...host,
        leases: host.leases.map((lease) => ({ ...lease, cluster: 'other' })),
      })),
    };
    expect(destroy({ inventory }).leases).toEqual([]);
  });

  it('names hosts that nobody knows how to reach, and reaches those of the record', () => {
    const lost = { name: 'lost', address: '10.9.9.9', gpus: { product: 'MI300X', count: 8 } };
    const larger = aSpec({ hosts: { list: [...spec.hosts.list.filter(({ name }) => name !== 'd0'), lost] } });
    const was = planCluster({ spec: larger, inventory: anInventory(larger), installation: 'ours', deployment: 1 });
    const inventory = runningInventory(was, anInventory(larger));
    expect(destroy({ inventory }).unreachable).toEqual(['lost']);
    const known = destroy({ inventory, knownHosts: was.hosts });
    expect(known.unreachable).toEqual([]);
    expect(known.hosts.map(({ address }) => address)).toContain('10.9.9.9');
  });
});
