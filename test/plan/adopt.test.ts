import { describe, expect, it } from '@jest/globals';
import type { DeployError } from '../../src/errors.ts';
import { adoptionOf } from '../../src/plan/adopt.ts';
import { isNoop } from '../../src/plan/noop.ts';
import { planCluster } from '../../src/plan/plan.ts';
import type { FoundUnit, HostInventory, Inventory, Lease } from '../../src/plan/types.ts';
import { specDigest } from '../../src/spec/canonical.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { anInventory, runningInventory } from '../support/inventories.ts';
import { aSpec } from '../support/specs.ts';

const host = (name: string, last: number, count = 8) => ({
  name,
  address: `10.0.0.${last}`,
  gpus: { product: 'MI300X', count },
});
const spec = aSpec({
  hosts: { list: [host('p0', 1), host('d0', 2), host('d1', 3), host('d2', 4), host('router-0', 9, 0)] },
  prefill: { hosts: ['p0'] },
  decode: { replicas: 2, hosts: ['d0', 'd1', 'd2'] },
});
const more: ClusterSpec = { ...spec, decode: { ...spec.decode, replicas: 3 } };

const planOf = (of: ClusterSpec, inventory: Inventory, deployment: number) =>
  planCluster({ spec: of, inventory, installation: 'ours', deployment });
const first = planOf(spec, anInventory(spec), 3);
const running = runningInventory(first, anInventory(spec));

const edit = (inventory: Inventory, of: (host: HostInventory) => Partial<HostInventory>): Inventory => ({
  hosts: inventory.hosts.map((one) => ({ ...one, ...of(one) })),
});
const editUnits = (inventory: Inventory, of: (unit: FoundUnit) => FoundUnit[]) =>
  edit(inventory, ({ found }) => ({ found: found.flatMap(of) }));
const refusal = (act: () => unknown): DeployError => {
  try {
    act();
  } catch (error) {
    return error as DeployError;
  }
  throw new Error('nothing was thrown');
};
const lease = (over: Partial<Lease> = {}): Lease => ({
  pci: '0000:05:00.0',
  cluster: 'tiny',
  installation: 'ours',
  deployment: 7,
  ...over,
});

describe('what is adopted from hosts', () => {
  it('is the installation, its last number and everything that serves, as the record had it', () => {
    expect(adoptionOf({ spec, inventory: running })).toEqual({
      installation: 'ours',
      lastDeployment: 3,
      serving: {
        deployment: 3,
        site: 'default',
        model: 'tandem/tiny-chat',
        specDigest: specDigest(spec),
        engines: [...first.prefill, ...first.decode].map(({ name, kvGeneration, role, url, digest, ranks }) => ({
          name,
          kvGeneration,
          role,
          hosts: ranks.map((rank) => rank.host),
          url,
          digest,
          runtime: 'docker',
        })),
        router: { url: 'http://10.0.0.9:30000', name: 'tandem-tiny-router-0-3', host: 'router-0', runtime: 'process' },
        hosts: first.hosts,
      },
      differs: [],
      strangers: [],
    });
  });

  it('lets the next deploy keep all of it, and start only what is new', () => {
    const { serving, installation, lastDeployment } = adoptionOf({ spec, inventory: running });
    const next = (of: ClusterSpec) =>
      planCluster({ spec: of, inventory: running, installation, deployment: lastDeployment + 1, serving: serving! });
    expect(isNoop(next(spec))).toBe(true);
    expect(next(more).changes.filter(({ kind, action }) => kind === 'engine' && action !== 'keep')).toMatchObject([
      { action: 'create', name: 'tandem-tiny-decode-2-4' },
    ]);
  });

  it('names the hosts of an engine by rank', () => {
    const wide = aSpec({
      prefill: { hostsPerReplica: 2 },
      hosts: { list: [host('b', 1), host('a', 2), host('c', 3), host('router-0', 9, 0)] },
      router: { host: 'router-0' },
    });
    const plan = planOf(wide, anInventory(wide), 1);
    const { serving } = adoptionOf({ spec: wide, inventory: runningInventory(plan, anInventory(wide)) });
    expect(serving!.engines[0]).toMatchObject({
      role: 'prefill',
      hosts: plan.prefill[0]!.ranks.map((rank) => rank.host),
    });
    expect(serving!.engines[0]!.hosts).toHaveLength(2);
  });

  it.each<[string, Inventory, number]>([
    [
      'a unit that ended',
      editUnits(running, (unit) => [
        unit,
        ...(unit.kind === 'router' ? [{ ...unit, name: 'tandem-tiny-decode-1-9', deployment: 9, running: false }] : []),
      ]),
      9,
    ],
    ['a lease', edit(running, ({ host: name, leases }) => ({ leases: name === 'd2' ? [lease()] : leases })), 7],
    [
      'no lease of another cluster or installation',
      edit(running, ({ host: name, leases }) => ({ leases: name === 'd2' ? [lease({ cluster: 'other' })] : leases })),
      3,
    ],
  ])('takes the highest number also from %s', (_, inventory, last) => {
    expect(adoptionOf({ spec, inventory }).lastDeployment).toBe(last);
  });

  it.each<[string, Inventory]>([
    ['leases', edit(running, () => ({ found: [] }))],
    ['ended units', editUnits(running, (unit) => [{ ...unit, running: false }])],
    ['a router', editUnits(running, (unit) => (unit.kind === 'router' ? [unit] : []))],
  ])('serves nothing where only %s are left', (_, inventory) => {
    expect(adoptionOf({ spec, inventory })).toMatchObject({ installation: 'ours', lastDeployment: 3, serving: null });
  });

  it('leaves an engine of which a part ended out of what serves', () => {
    const wide = aSpec({
      prefill: { hostsPerReplica: 2 },
      hosts: { list: [host('a', 1), host('b', 2), host('c', 3), host('router-0', 9, 0)] },
      router: { host: 'router-0' },
    });
    const inventory = editUnits(runningInventory(planOf(wide, anInventory(wide), 1), anInventory(wide)), (unit) => [
      { ...unit, running: unit.rank === 0 },
    ]);
    expect(adoptionOf({ spec: wide, inventory }).serving!.engines.map(({ role }) => role)).toEqual(['decode']);
  });

  it('has the router of the spec where none is on the hosts, and says that a deploy would start it', () => {
    const { serving, differs } = adoptionOf({
      spec,
      inventory: editUnits(running, (unit) => (unit.kind === 'router' ? [] : [unit])),
    });
    expect(serving!.router).toEqual({ url: 'http://10.0.0.9:30000' });
    expect(differs).toEqual(['create router tandem-tiny-router-0-4: router to start']);
  });

  it('has the KV generation of the newest engine, since one that stayed through a change keeps its label', () => {
    const generations = (inventory: Inventory) =>
      new Set(adoptionOf({ spec, inventory }).serving!.engines.map(({ kvGeneration }) => kvGeneration));
    const labelled = editUnits(running, (unit) => [
      unit.index === 1 ? { ...unit, deployment: 5, kvGeneration: 'kv-new' } : { ...unit, kvGeneration: 'kv-old' },
    ]);
    expect(generations(labelled)).toEqual(new Set(['kv-new']));
    const unlabelled = editUnits(running, ({ kvGeneration: _label, ...unit }) => [unit]);
    expect(generations(unlabelled)).toEqual(new Set([first.kvGeneration]));
  });
});

describe('a spec that is not the one that runs', () => {
  it.each<[string, ClusterSpec, string]>([
    ['more engines', more, 'create engine tandem-tiny-decode-2-4: decode engine to start'],
    [
      'fewer engines',
      { ...spec, decode: { ...spec.decode, replicas: 1 } },
      'remove engine tandem-tiny-decode-1-3: decode.replicas is 1',
    ],
    [
      'other flags',
      { ...spec, engine: { ...spec.engine, args: { 'mem-fraction-static': 0.5 } } },
      'prefill 0 (tandem-tiny-prefill-0-3): its image, flags, environment, mounts, devices or model differ (the host keeps only their digest)',
    ],
  ])('by %s is not recorded as serving, and the difference is said', (_, other, line) => {
    const { serving, differs } = adoptionOf({ spec: other, inventory: running });
    expect(serving!.specDigest).toBe('');
    expect(differs).toContain(line);
  });
});

describe('what cannot be adopted', () => {
  const both = edit(running, ({ host: name, leases }) => ({
    leases: name === 'd2' ? [lease({ installation: 'theirs' })] : leases,
  }));

  it('are two installations, unless one is chosen: both are named with what they have', () => {
    expect(refusal(() => adoptionOf({ spec, inventory: both }))).toMatchObject({
      code: 'NAME_CONFLICT',
      message: 'the hosts show 2 installations of cluster tiny: ours, theirs',
      evidence: expect.stringMatching(/^ours: .*d0: tandem-tiny-decode-0-3.*\ntheirs: d2: 1 GPU leased$/) as unknown,
      remedy: expect.stringContaining('--installation') as unknown,
    });
    expect(adoptionOf({ spec, inventory: both, installation: 'ours' })).toMatchObject({ lastDeployment: 3 });
    expect(adoptionOf({ spec, inventory: both, installation: 'theirs' })).toMatchObject({
      lastDeployment: 7,
      serving: null,
      strangers: expect.arrayContaining(['d0: tandem-tiny-decode-0-3, of installation ours']) as unknown,
    });
  });

  it('is an installation of which the hosts show nothing; those that they show are named', () => {
    expect(refusal(() => adoptionOf({ spec, inventory: both, installation: 'gone' }))).toMatchObject({
      code: 'CLUSTER_UNKNOWN',
      message: '5 hosts show nothing of installation gone of cluster tiny; they show installation ours, theirs',
    });
  });

  it.each<[string, Inventory]>([
    ['nothing', anInventory(spec)],
    ['leases of others', edit(anInventory(spec), () => ({ leases: [lease({ cluster: 'other' })] }))],
    [
      'units without the label of an installation',
      editUnits(
        edit(running, () => ({ leases: [] })),
        (unit) => [{ ...unit, installation: '' }],
      ),
    ],
  ])('is a cluster of which the hosts show %s', (_, inventory) => {
    expect(refusal(() => adoptionOf({ spec, inventory }))).toMatchObject({
      code: 'CLUSTER_UNKNOWN',
      message: '5 hosts show nothing of cluster tiny',
    });
  });
});
