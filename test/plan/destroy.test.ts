import { describe, expect, it } from '@jest/globals';
import { planDestroy } from '../../src/plan/destroy.ts';
import { planCluster } from '../../src/plan/plan.ts';
import type { FoundUnit, Inventory } from '../../src/plan/types.ts';
import { anInventory, runningInventory } from '../support/inventories.ts';
import { aSpec } from '../support/specs.ts';

const spec = aSpec();
const plan = planCluster({ spec, inventory: anInventory(spec), installation: 'ours', deployment: 1 });
const running = runningInventory(plan, anInventory(spec));
const destroy = (over: Partial<Parameters<typeof planDestroy>[0]> = {}) =>
  planDestroy({ cluster: 'tiny', inventory: running, installation: 'ours', ...over });
const units = (of: (unit: FoundUnit) => FoundUnit): Inventory => ({
  hosts: running.hosts.map((host) => ({ ...host, found: host.found.map(of) })),
});

describe('destroying', () => {
  it('takes the router first, then decode, then prefill, and every lease', () => {
    const { removals, leases, strangers } = destroy();
    expect(removals.map(({ name, parts }) => [name, parts.map(({ host }) => host)])).toEqual([
      ['tandem-tiny-router-0-1', ['router-0']],
      ['tandem-tiny-decode-0-1', ['d0']],
      ['tandem-tiny-prefill-0-1', ['p0']],
    ]);
    expect(leases).toEqual(plan.leases);
    expect(strangers).toEqual([]);
  });

  it('of what is gone already has nothing to do', () => {
    expect(destroy({ inventory: anInventory(spec) })).toEqual({
      installation: 'ours',
      removals: [],
      leases: [],
      strangers: [],
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

  it('touches nothing of a deployment that this installation has not given yet, nor without a number, and names it', () => {
    const odd = units((unit) =>
      unit.role === 'decode'
        ? { ...unit, deployment: 9 }
        : unit.role === 'prefill'
          ? { ...unit, deployment: Number.NaN }
          : unit,
    );
    const { removals, strangers } = destroy({ inventory: odd, deployment: 5 });
    expect(removals.map(({ name }) => name)).toEqual(['tandem-tiny-router-0-1']);
    expect(strangers).toEqual([
      'd0: tandem-tiny-decode-0-1, of deployment 9, which is not known here',
      'p0: tandem-tiny-prefill-0-1, of deployment (no number), which is not known here',
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
});

describe('destroying without a record', () => {
  const lost = (inventory: Inventory) => destroy({ inventory, installation: undefined });

  it('takes everything of the one installation that the hosts show, of every number', () => {
    const late = units((unit) => ({ ...unit, deployment: 99 }));
    const { installation, removals, leases, strangers } = lost(late);
    expect(installation).toBe('ours');
    expect(removals.map(({ name }) => name)).toEqual([
      'tandem-tiny-router-0-1',
      'tandem-tiny-decode-0-1',
      'tandem-tiny-prefill-0-1',
    ]);
    expect([leases, strangers]).toEqual([plan.leases, []]);
  });

  it('takes leases of which no unit is left', () => {
    const inventory = { hosts: running.hosts.map((host) => ({ ...host, found: [] })) };
    expect(lost(inventory)).toMatchObject({ installation: 'ours', removals: [], leases: plan.leases });
  });

  it.each<[string, Inventory]>([
    ['units', units((unit) => (unit.role === 'decode' ? { ...unit, installation: 'theirs' } : unit))],
    [
      'leases',
      {
        hosts: running.hosts.map((host) => ({
          ...host,
          leases: host.leases.map((lease) => (host.host === 'd0' ? { ...lease, installation: 'theirs' } : lease)),
        })),
      },
    ],
  ])('is refused naming both where %s show two installations', (_, inventory) => {
    expect(() => lost(inventory)).toThrow(
      expect.objectContaining({
        code: 'NAME_CONFLICT',
        message: 'the hosts show 2 installations of cluster tiny: ours, theirs',
        evidence: expect.stringMatching(/^ours: .*\ntheirs: .*d0: /) as unknown,
      }),
    );
  });

  it('touches nothing without the label of an installation, and names it', () => {
    const bare = units((unit) => ({ ...unit, installation: '' }));
    const inventory = { hosts: bare.hosts.map((host) => ({ ...host, leases: [] })) };
    const { installation, removals, strangers } = lost(inventory);
    expect([installation, removals]).toEqual(['', []]);
    expect(strangers).toHaveLength(3);
    expect(strangers[0]).toBe('d0: tandem-tiny-decode-0-1, of unknown origin (no installation label)');
  });

  it('has nothing to do where the hosts show nothing', () => {
    expect(lost(anInventory(spec))).toMatchObject({ installation: '', removals: [], leases: [], strangers: [] });
  });
});
