import { describe, expect, it } from '@jest/globals';
import { DeployError } from '../../src/errors.ts';
import { isNoop } from '../../src/plan/noop.ts';
import { planCluster } from '../../src/plan/plan.ts';
import type { FoundUnit, HostInventory, Inventory, Lease, Plan } from '../../src/plan/types.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { anInventory, runningInventory, servedBefore } from '../support/inventories.ts';
import { aSpec } from '../support/specs.ts';

type Overrides = NonNullable<Parameters<typeof aSpec>[0]>;

const hosts = (...names: string[]) => [
  ...names.map((name, at) => ({ name, address: `10.0.0.${at + 1}`, gpus: { product: 'MI300X', count: 8 } })),
  { name: 'router-0', address: '10.0.0.200', gpus: { product: 'none', count: 0 } },
];

/** Four hosts of eight GPUs and a router's host; one prefill and one decode engine of eight GPUs unless said otherwise. */
const aFleet = (overrides: Overrides = {}): ClusterSpec =>
  aSpec({ hosts: { list: hosts('a', 'b', 'c', 'd') }, ...overrides });

const replicas = (prefill: number, decode: number, gpus = 8): Overrides => ({
  prefill: { replicas: prefill, gpus: { count: gpus } },
  decode: { replicas: decode, gpus: { count: gpus } },
});

const plan = (spec: ClusterSpec, inventory: Inventory = anInventory(spec), deployment = 1): Plan =>
  planCluster({ spec, inventory, installation: 'ours', deployment, ...servedBefore(deployment) });

/** Plans `after` on the hosts as they are once `before` was deployed. */
function change(before: ClusterSpec, after: ClusterSpec, adjust = (inventory: Inventory) => inventory): Plan {
  const seen = new Map([before, after].flatMap((spec) => anInventory(spec).hosts.map((host) => [host.host, host])));
  return plan(after, adjust(runningInventory(plan(before), { hosts: [...seen.values()] })), 2);
}

const editHosts =
  (edit: (host: HostInventory) => Partial<HostInventory>) =>
  (inventory: Inventory): Inventory => ({
    hosts: inventory.hosts.map((host) => ({ ...host, ...edit(host) })),
  });

const editUnits = (edit: (unit: FoundUnit, host: string) => FoundUnit[]) =>
  editHosts(({ host, found }) => ({ found: found.flatMap((unit) => edit(unit, host)) }));

const where = ({ prefill, decode }: Plan) =>
  Object.fromEntries(
    [...prefill, ...decode].map(({ name, ranks }) => [
      name.replace(/^tandem-tiny-/, ''),
      ranks.map(({ host, gpus }) => `${host}/${gpus[0]!.index}-${gpus.at(-1)!.index}`).join(' '),
    ]),
  );

function refusal(act: () => unknown): DeployError {
  try {
    act();
  } catch (error) {
    if (error instanceof DeployError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('placement', () => {
  it('fills hosts one after the other, prefill first', () => {
    expect(where(plan(aFleet(replicas(2, 3, 4))))).toEqual({
      'prefill-0-1': 'a/0-3',
      'prefill-1-1': 'a/4-7',
      'decode-0-1': 'b/0-3',
      'decode-1-1': 'b/4-7',
      'decode-2-1': 'c/0-3',
    });
  });

  it('keeps a role off the hosts that only the other one may use', () => {
    const spec = aFleet({ decode: { replicas: 2, gpus: { count: 8 }, hosts: ['a', 'b'] }, prefill: { replicas: 2 } });
    expect(where(plan(spec))).toEqual({
      'prefill-0-1': 'c/0-7',
      'prefill-1-1': 'd/0-7',
      'decode-0-1': 'a/0-7',
      'decode-1-1': 'b/0-7',
    });
  });

  it('places large engines before small ones would break up their hosts', () => {
    const spec = aFleet({ prefill: { replicas: 6, gpus: { count: 2 } }, decode: { replicas: 2, gpus: { count: 8 } } });
    expect(where(plan(spec))).toMatchObject({ 'decode-0-1': 'a/0-7', 'decode-1-1': 'b/0-7', 'prefill-5-1': 'd/2-3' });
  });

  it('gives an engine over several hosts the same GPUs on distinct hosts', () => {
    const spec = aFleet({
      prefill: { replicas: 1, hostsPerReplica: 2, gpus: { count: 4 } },
      decode: { gpus: { count: 4 } },
    });
    expect(where(plan(spec))).toEqual({ 'prefill-0-1': 'a/0-3 b/0-3', 'decode-0-1': 'a/4-7' });
  });

  it('takes no GPU that another cluster or installation leases', () => {
    const spec = aFleet();
    const lease = (over: Partial<Lease>): Lease => ({
      pci: '0000:35:00.0',
      cluster: 'other',
      installation: 'ours',
      deployment: 7,
      ...over,
    });
    const leased = editHosts(({ host }) => ({
      leases: { a: [lease({})], b: [lease({ cluster: 'tiny', installation: 'theirs' })] }[host] ?? [],
    }));
    expect(where(plan(spec, leased(anInventory(spec))))).toEqual({ 'prefill-0-1': 'c/0-7', 'decode-0-1': 'd/0-7' });
  });

  it('uses no more GPUs of a host than the spec lends', () => {
    const list = hosts('a').map((host) =>
      host.name === 'a' ? { ...host, gpus: { product: 'MI300X', count: 4 } } : host,
    );
    const spec = aSpec({ hosts: { list }, ...replicas(1, 1, 4) });
    const eight = anInventory(aSpec({ hosts: { list: hosts('a') } }));
    expect(refusal(() => plan(spec, eight)).code).toBe('PLAN_IMPOSSIBLE');
  });

  it('compares GPU products whatever their case', () => {
    const spec = aFleet({ prefill: { gpus: { product: 'mi300x' } } });
    expect(plan(spec).prefill).toHaveLength(1);
  });

  it('leaves a product that could not be read to the check', () => {
    const spec = aFleet();
    const blind = editHosts(({ gpus }) => ({ gpus: gpus.map((gpu) => ({ ...gpu, product: 'unknown' })) }));
    expect(plan(spec, blind(anInventory(spec))).decode).toHaveLength(1);
  });

  it('names every engine without a place, and what stands in its way on each host', () => {
    const spec = aSpec({ hosts: { list: hosts('a', 'b', 'c') }, ...replicas(2, 2) });
    const worse = editHosts(({ host, gpus }) =>
      host === 'b'
        ? { leases: [{ pci: '0000:05:00.0', cluster: 'other', installation: 'theirs', deployment: 3 }] }
        : host === 'c'
          ? { gpus: gpus.map((gpu) => ({ ...gpu, product: 'MI308X' })) }
          : {},
    );
    const error = refusal(() => plan(spec, worse(anInventory(spec))));
    expect(error).toMatchObject({ code: 'PLAN_IMPOSSIBLE', retryable: false });
    const rest = 'b: GPU 0 is leased by cluster other (installation theirs, deployment 3); c: GPU 0 is MI308X';
    expect(error.evidence?.split('\n')).toEqual(
      ['prefill 1', 'decode 0', 'decode 1'].map(
        (engine) => `${engine} needs 8 MI300X GPUs in a row of one host: a: GPU 0 is taken by prefill 0; ${rest}`,
      ),
    );
  });

  it.each<[string, Partial<HostInventory>, string]>([
    ['shows no GPU', { gpus: [] }, 'no GPU could be read'],
    ['has lost a GPU', { gpus: anInventory(aFleet()).hosts[0]!.gpus.slice(0, 7) }, 'GPU 7 is not there (7 of 8 seen)'],
    [
      'has no link up',
      { nics: [{ device: 'bnxt_re0', driver: 'bnxt_re', up: false }] },
      'no RDMA link is up (bnxt_re0)',
    ],
  ])('is impossible on hosts of which every one %s', (_, broken, why) => {
    const spec = aSpec({ hosts: { list: hosts('a', 'b') } });
    const error = refusal(() =>
      plan(spec, editHosts(({ host }) => (host === 'router-0' ? {} : broken))(anInventory(spec))),
    );
    expect(error.code).toBe('PLAN_IMPOSSIBLE');
    expect(error.message).toContain(`prefill 0 needs 8 MI300X GPUs in a row of one host: a: ${why}; b: ${why}`);
  });

  it('names a device of rdma.devices that a host does not have', () => {
    const spec = aSpec({ rdma: { devices: ['bnxt_re0', 'mlx5_0'] } });
    expect(refusal(() => plan(spec)).message).toContain(
      'rdma.devices names mlx5_0, it has bnxt_re0, bnxt_re1, bnxt_re2, bnxt_re3, bnxt_re4, bnxt_re5, bnxt_re6, bnxt_re7',
    );
  });

  it('only warns where a host lists no RDMA device at all, which the check has to judge', () => {
    const spec = aSpec();
    const { warnings, rounds } = plan(spec, editHosts(() => ({ nics: [] }))(anInventory(spec)));
    expect(warnings).toEqual(['prefill 0: no RDMA device was seen on p0', 'decode 0: no RDMA device was seen on d0']);
    expect(rounds).toEqual([]);
  });

  it('refuses an engine and a router that want one port of one address', () => {
    const spec = aSpec({ router: { host: 'p0', port: 30000 } });
    expect(refusal(() => plan(spec))).toMatchObject({
      code: 'PLAN_IMPOSSIBLE',
      evidence: 'router: port 30000 on p0 is also that of prefill 0',
    });
  });

  it('lets them share a port on two addresses of a host', () => {
    const list = hosts('p0', 'd0').map((host) => ({ ...host, fabricAddress: `192.168.0.${host.address.slice(7)}` }));
    const spec = aSpec({ hosts: { list }, router: { host: 'p0', port: 30000 } });
    expect(plan(spec).router.url).toBe('http://10.0.0.1:30000');
    expect(plan(spec).prefill[0]!.url).toBe('http://192.168.0.1:30000');
  });
});

describe('what runs', () => {
  it('stays as it is when the spec says nothing else', () => {
    const again = change(aFleet(replicas(2, 2)), aFleet(replicas(2, 2)));
    expect(isNoop(again)).toBe(true);
    expect(again.rounds).toEqual([]);
    expect(again.pairs).toEqual([]);
    expect(again.images).toEqual([]);
    expect(again.staging).toEqual([]);
    expect(again.decode.map(({ name, action, deployment }) => [name, action, deployment])).toEqual([
      ['tandem-tiny-decode-0-1', 'keep', 1],
      ['tandem-tiny-decode-1-1', 'keep', 1],
    ]);
  });

  it('stays when waiting times change, which say nothing of what an engine is', () => {
    const patient = aFleet({
      engine: { readyTimeoutSeconds: 60, stopTimeoutSeconds: 10 },
      router: { readyTimeoutSeconds: 9 },
    });
    const again = change(aFleet(), patient);
    expect(isNoop(again)).toBe(true);
    expect(again.prefill[0]!.readyTimeoutSeconds).toBe(60);
  });

  it.each([
    ['with the devices on its label', (unit: FoundUnit) => [unit]],
    ['without such a label', ({ nics: _nics, ...unit }: FoundUnit) => [unit]],
  ])('stays when one of its links went down, %s', (_, label) => {
    const down = editHosts(({ nics }) => ({ nics: nics.map((nic) => ({ ...nic, up: nic.device !== 'bnxt_re3' })) }));
    const again = change(aFleet(), aFleet(), (inventory) => down(editUnits(label)(inventory)));
    expect(isNoop(again)).toBe(true);
    expect(again.warnings).toContain('prefill 0 runs with bnxt_re3 on a, whose link is down');
  });

  it('stays when a link that was down at its start came up', () => {
    const spec = aFleet();
    const down = editHosts(({ nics }) => ({ nics: nics.map((nic) => ({ ...nic, up: nic.device !== 'bnxt_re3' })) }));
    const first = plan(spec, down(anInventory(spec)));
    expect(first.prefill[0]!.ranks[0]!.nics).not.toContain('bnxt_re3');
    expect(isNoop(plan(spec, runningInventory(first, anInventory(spec)), 2))).toBe(true);
  });

  it('keeps its place when engines are added, and the new ones take the lowest free indexes', () => {
    const without1 = editUnits((unit) => (unit.role === 'decode' && unit.index === 1 ? [] : [unit]));
    const grown = change(aFleet(replicas(1, 3, 4)), aFleet(replicas(1, 4, 4)), without1);
    expect(where(grown)).toEqual({
      'prefill-0-1': 'a/0-3',
      'decode-0-1': 'a/4-7',
      'decode-1-2': 'b/0-3',
      'decode-2-1': 'b/4-7',
      'decode-3-2': 'c/0-3',
    });
  });

  it('loses the highest indexes when there are too many', () => {
    const shrunk = change(aFleet(replicas(1, 3)), aFleet(replicas(1, 1)));
    expect(shrunk.removals.map(({ name, first, reason }) => [name, first, reason])).toEqual([
      ['tandem-tiny-decode-2-1', false, 'decode.replicas is 1'],
      ['tandem-tiny-decode-1-1', false, 'decode.replicas is 1'],
    ]);
    expect(shrunk.releases.map(({ host, pci }) => [host, pci.length])).toEqual([
      ['c', 8],
      ['d', 8],
    ]);
    expect(shrunk.rounds).toEqual([]);
  });

  it('goes first only when what is started needs its GPUs', () => {
    const turned = change(aFleet(replicas(1, 3)), aFleet(replicas(2, 2)));
    expect(turned.removals).toMatchObject([{ name: 'tandem-tiny-decode-2-1', first: true }]);
    expect(where(turned)['prefill-1-2']).toBe('d/0-7');
    const roomy = change(aFleet(replicas(1, 2)), aFleet(replicas(2, 1)));
    expect(roomy.removals).toMatchObject([{ name: 'tandem-tiny-decode-1-1', first: false }]);
    expect(where(roomy)['prefill-1-2']).toBe('d/0-7');
  });

  it('is replaced in place under a new number once it ended', () => {
    const ended = editUnits((unit) => [{ ...unit, running: unit.role !== 'decode' }]);
    const [decode] = change(aFleet(), aFleet(), ended).decode;
    expect(decode).toMatchObject({
      name: 'tandem-tiny-decode-0-2',
      action: 'replace',
      replaces: ['tandem-tiny-decode-0-1'],
      host: 'b',
      deployment: 2,
    });
    expect(decode!.digest).toBe(plan(aFleet()).decode[0]!.digest);
  });

  it('goes first and comes anew when one of its hosts lost its part', () => {
    const spec = aFleet({ prefill: { hostsPerReplica: 2 } });
    const half = editUnits((unit) => [{ ...unit, running: unit.rank === 0 }]);
    const { prefill, removals } = change(spec, spec, half);
    expect(prefill).toMatchObject([{ action: 'create', name: 'tandem-tiny-prefill-0-2' }]);
    expect(removals).toMatchObject([
      { name: 'tandem-tiny-prefill-0-1', first: true, reason: 'a part of it has ended' },
    ]);
  });

  it('comes back elsewhere when another cluster has taken its GPUs, and its old unit is removed', () => {
    const lost = (inventory: Inventory) =>
      editHosts(({ host, leases }) => ({
        leases:
          host === 'b' ? [{ pci: '0000:05:00.0', cluster: 'other', installation: 'theirs', deployment: 1 }] : leases,
      }))(editUnits((unit) => [{ ...unit, running: unit.role !== 'decode' }])(inventory));
    const again = change(aFleet(), aFleet(), lost);
    expect(again.decode).toMatchObject([{ action: 'replace', replaces: [], host: 'c' }]);
    expect(again.removals).toMatchObject([
      { name: 'tandem-tiny-decode-0-1', reason: 'it ended, and its successor runs elsewhere', parts: [{ host: 'b' }] },
    ]);
  });

  it('stays alone: a left-over unit of the same engine is removed', () => {
    const twice = editUnits((unit) =>
      unit.role === 'prefill'
        ? [unit, { ...unit, name: 'tandem-tiny-prefill-0-9', deployment: 9, running: false }]
        : [unit],
    );
    const again = plan(aFleet(), twice(runningInventory(plan(aFleet()), anInventory(aFleet()))), 10);
    expect(again.prefill).toMatchObject([{ name: 'tandem-tiny-prefill-0-1', action: 'keep' }]);
    expect(again.removals).toMatchObject([{ name: 'tandem-tiny-prefill-0-9', reason: 'left over from deployment 9' }]);
  });

  it.each<[string, Overrides, string]>([
    [
      'a flag',
      { engine: { args: { 'mem-fraction-static': 0.7 } } },
      'its image, flags, environment, mounts, devices or model differ (the host keeps only their digest)',
    ],
    ['its runtime', { engine: { runtime: 'process' } }, 'it runs by docker, engine.runtime is process'],
    ['its GPUs', replicas(1, 1, 4), 'it has 8 GPUs on a, prefill.gpus.count is 4'],
    [
      'its ports',
      { engine: { ports: { http: 31000 } } },
      'it serves http://10.0.0.1:30000, the spec has http://10.0.0.1:31000',
    ],
    ['its hosts', { prefill: { hosts: ['c'] } }, 'a is not open to prefill engines of MI300X'],
    ['its host, taken out of the spec', { hosts: { list: hosts('x', 'b', 'c') } }, 'a is not in hosts.list'],
    ['its span', { prefill: { hostsPerReplica: 2 } }, 'it runs on 1 hosts, prefill.hostsPerReplica is 2'],
    [
      'its devices',
      { rdma: { devices: ['bnxt_re0'] } },
      'its image, flags, environment, mounts, devices or model differ',
    ],
  ])('is not turned into something else by a change of %s', (_, overrides, why) => {
    const error = refusal(() => change(aFleet(), aFleet(overrides)));
    expect(error).toMatchObject({ code: 'CHANGE_REFUSED', retryable: false });
    expect(error.message).toContain(`prefill 0 (tandem-tiny-prefill-0-1): ${why}`);
  });

  it('is refused for all engines that differ at once', () => {
    const error = refusal(() =>
      change(aFleet(replicas(2, 2)), aFleet({ ...replicas(2, 2), engine: { image: 'x:1' } })),
    );
    expect(error.evidence?.split('\n').map((line) => line.slice(0, line.indexOf(' (')))).toEqual([
      'prefill 0',
      'prefill 1',
      'decode 0',
      'decode 1',
    ]);
  });

  it('may differ when it is one that goes anyway', () => {
    const odd = editUnits((unit) => [unit.index === 1 ? { ...unit, digest: 'sha256:other' } : unit]);
    expect(change(aFleet(replicas(1, 2)), aFleet(replicas(1, 1)), odd).removals).toHaveLength(1);
  });
});

describe('units of others', () => {
  it.each([
    ['theirs', 'of installation theirs'],
    ['', 'of unknown origin (no installation label)'],
  ])('of installation "%s" are a conflict that names host, unit and origin', (installation, origin) => {
    const foreign = editUnits((unit) => [unit.role === 'decode' ? { ...unit, installation } : unit]);
    const error = refusal(() => change(aFleet(), aFleet(), foreign));
    expect(error).toMatchObject({ code: 'NAME_CONFLICT', host: 'b', evidence: `b: tandem-tiny-decode-0-1, ${origin}` });
  });

  it.each([
    [7, 'of deployment 7, which is not known here'],
    [2, 'of deployment 2, which is not known here'],
    [0, 'of deployment (no number), which is not known here'],
    [Number.NaN, 'of deployment (no number), which is not known here'],
  ])('numbered %s by this installation, which has given no such number, are one too', (deployment, origin) => {
    const foreign = editUnits((unit) => [unit.role === 'decode' ? { ...unit, deployment } : unit]);
    const error = refusal(() => change(aFleet(), aFleet(), foreign));
    expect(error).toMatchObject({
      code: 'NAME_CONFLICT',
      evidence: `b: tandem-tiny-decode-0-1, ${origin}`,
      remedy: expect.stringContaining('tandem adopt FILE') as unknown,
    });
  });

  it('that have the very name of a planned engine are a conflict, and nothing is planned', () => {
    const spec = aFleet();
    const taken = editHosts(({ host }) => ({
      found:
        host === 'a'
          ? [
              {
                name: 'tandem-tiny-prefill-0-1',
                kind: 'engine',
                runtime: 'docker',
                role: 'prefill',
                index: 0,
                rank: 0,
                gpus: [],
                digest: '',
                deployment: 1,
                installation: '',
                running: true,
              },
            ]
          : [],
    }));
    expect(refusal(() => plan(spec, taken(anInventory(spec))))).toMatchObject({
      code: 'NAME_CONFLICT',
      evidence: 'a: tandem-tiny-prefill-0-1, of unknown origin (no installation label)',
    });
  });

  it('on a host that the spec no longer names need its address from the record', () => {
    const before = aFleet(replicas(1, 2));
    const first = plan(before);
    const after = aSpec({ hosts: { list: hosts('a', 'b') }, ...replicas(1, 1) });
    const inventory = runningInventory(first, anInventory(before));
    const serving = { deployment: 1, hosts: first.hosts };
    expect(refusal(() => plan(after, inventory, 2)).evidence).toBe(
      'c: holds tandem-tiny-decode-1-1 of the cluster, but neither the spec nor the record says how to reach it',
    );
    const known = planCluster({ spec: after, inventory, installation: 'ours', deployment: 2, serving });
    expect(known.hosts.map(({ name, address }) => [name, address])).toContainEqual(['c', '10.0.0.3']);
    expect(known.removals).toMatchObject([{ name: 'tandem-tiny-decode-1-1' }]);
  });
});

/** What a record has of the engines of a plan. */
const enginesIn = ({ prefill, decode }: Plan, generation?: string) =>
  [...prefill, ...decode].map(({ name, kvGeneration }) => ({ name, kvGeneration: generation ?? kvGeneration }));

describe('a unit that was removed by hand', () => {
  const spec = aFleet(replicas(1, 2));
  const first = plan(spec);
  const rows = enginesIn(first);
  const router = first.router.kind === 'managed' ? { name: first.router.name } : {};
  const serving = { deployment: 1, hosts: first.hosts, engines: rows, router };
  const without = (gone: string) =>
    planCluster({
      spec,
      inventory: editUnits((unit) => (unit.name === gone ? [] : [unit]))(runningInventory(first, anInventory(spec))),
      installation: 'ours',
      deployment: 2,
      serving,
    });

  it.each([
    ['tandem-tiny-decode-1-1', 'tandem-tiny-decode-1-2', 'decode engine to start'],
    ['tandem-tiny-router-0-1', 'tandem-tiny-router-0-2', 'router to start'],
  ])('is planned anew, and that %s is gone is said', (gone, anew, what) => {
    const { changes, warnings } = without(gone);
    expect(changes.filter(({ action, kind }) => action !== 'keep' && kind !== 'image' && kind !== 'weights')).toEqual([
      expect.objectContaining({
        action: 'create',
        name: anew,
        reason: `${what}: ${gone} is gone from its hosts, and Tandem did not remove it`,
      }),
    ]);
    expect(warnings).toContain(`${gone} serves by the record and is on no host any more: Tandem did not remove it`);
  });

  it('is not made up where everything is there', () => {
    expect(without('nobody').warnings).toEqual([]);
    expect(isNoop(without('nobody'))).toBe(true);
  });
});

describe('the router', () => {
  it('is replaced with a warning that serving is interrupted when its row differs', () => {
    const changed = change(aFleet(), aFleet({ router: { policy: 'round_robin' } }));
    expect(changed.router).toMatchObject({
      action: 'replace',
      name: 'tandem-tiny-router-0-2',
      replaces: ['tandem-tiny-router-0-1'],
    });
    expect(changed.warnings).toContain(
      'tandem-tiny-router-0-1 is replaced: serving is interrupted until the new router at http://10.0.0.200:30000 lists the engines',
    );
    expect(changed.prefill[0]!.action).toBe('keep');
  });

  it('is replaced without a warning once it ended', () => {
    const ended = editUnits((unit) => [{ ...unit, running: unit.kind !== 'router' }]);
    const again = change(aFleet(), aFleet(), ended);
    expect(again.router).toMatchObject({ action: 'replace', replaces: ['tandem-tiny-router-0-1'] });
    expect(again.warnings).toEqual([]);
  });

  it('that moves is removed where it was', () => {
    const moved = change(aFleet(), aFleet({ router: { host: 'd' } }));
    expect(moved.router).toMatchObject({ action: 'replace', host: 'd', replaces: [] });
    expect(moved.removals).toMatchObject([{ name: 'tandem-tiny-router-0-1', reason: 'router.host is d' }]);
  });

  it('of others is never started or stopped, and ours goes', () => {
    const external = aFleet({ router: { external: { url: 'http://10.9.9.9:30000/', implementation: 'smg' } } });
    const changed = change(aFleet(), external);
    expect(changed.router).toEqual({
      kind: 'external',
      url: 'http://10.9.9.9:30000',
      implementation: 'smg',
      version: '1.13.0',
      pairingKeys: true,
    });
    expect(changed.removals).toMatchObject([{ name: 'tandem-tiny-router-0-1', reason: 'router.external is used' }]);
  });

  it.each([
    ['smg', '1.13.0', true],
    ['smg', '1.11.0', true],
    ['smg', '1.10.0', false],
    ['smg', '2.0.0', true],
    ['sglang-router', '0.3.2', false],
    ['sglang-router', '1.12.0', false],
  ] as const)('%s %s has pairing keys: %s', (implementation, version, pairingKeys) => {
    expect(plan(aFleet({ router: { implementation, version } })).router.pairingKeys).toBe(pairingKeys);
  });

  it('without pairing keys refuses a second KV generation beside engines that serve', () => {
    const spec = aFleet({ router: { implementation: 'sglang-router' } });
    const first = plan(spec);
    const inventory = runningInventory(first, anInventory(spec));
    const serving = { deployment: 1, hosts: [], engines: enginesIn(first, 'kv-000000000000') };
    const error = refusal(() => planCluster({ spec, inventory, installation: 'ours', deployment: 2, serving }));
    expect(error.code).toBe('CHANGE_REFUSED');
    expect(error.message).toBe(
      `the KV generation of tiny would change from kv-000000000000 to ${first.kvGeneration} while tandem-tiny-prefill-0-1, tandem-tiny-decode-0-1 serve, and sglang-router 0.3.2 cannot keep generations apart`,
    );
  });
});

describe('the KV generation', () => {
  const keyless = aFleet({ router: { implementation: 'sglang-router' } });
  const labelled = (kvGeneration: string | undefined) => {
    const label = editUnits(({ kvGeneration: _label, ...unit }) => [
      { ...unit, ...(kvGeneration !== undefined && unit.kind === 'engine' && { kvGeneration }) },
    ]);
    const inventory = label(runningInventory(plan(keyless), anInventory(keyless)));
    return planCluster({ spec: keyless, inventory, installation: 'ours', deployment: 2 });
  };

  it('on the labels of running engines refuses another one at a router without keys, also where no record is', () => {
    const error = refusal(() => labelled('kv-000000000000'));
    expect(error.code).toBe('CHANGE_REFUSED');
    expect(error.message).toContain(`from kv-000000000000 to ${plan(keyless).kvGeneration}`);
  });

  it('on no label, as older releases left it, or on the same one refuses nothing', () => {
    expect(labelled(undefined).prefill[0]!.action).toBe('keep');
    expect(labelled(plan(keyless).kvGeneration).prefill[0]!.action).toBe('keep');
  });

  it('on labels counts for nothing beside the record, which knows what kept engines were given since', () => {
    const inventory = editUnits((unit) => [{ ...unit, kvGeneration: 'kv-000000000000' }])(
      runningInventory(plan(keyless), anInventory(keyless)),
    );
    const serving = { deployment: 1, hosts: [], engines: enginesIn(plan(keyless)) };
    expect(isNoop(planCluster({ spec: keyless, inventory, installation: 'ours', deployment: 2, serving }))).toBe(true);
  });

  it('is no part of what an engine is, and of every engine that is planned', () => {
    const { prefill, decode, kvGeneration } = plan(aFleet());
    expect([...prefill, ...decode].map((engine) => engine.kvGeneration)).toEqual([kvGeneration, kvGeneration]);
    const before = plan(aFleet());
    const after = plan(aFleet({ decode: { image: 'rocm/sgl-dev:v0.5.24' } }));
    expect(after.kvGeneration).not.toBe(before.kvGeneration);
    expect(after.prefill[0]!.digest).toBe(before.prefill[0]!.digest);
  });

  const generation = (overrides: Overrides = {}) => plan(aFleet(overrides)).kvGeneration;

  it('is short and the same for equal specs', () => {
    expect(generation()).toMatch(/^kv-[0-9a-f]{12}$/);
    expect(generation()).toBe(
      generation({ engine: { args: { 'mem-fraction-static': 0.5 } }, prefill: { args: { tp: 4 } } }),
    );
  });

  it.each<[string, Overrides]>([
    ['an image', { engine: { image: 'rocm/sgl-dev:v0.5.24' } }],
    ["one role's image", { decode: { image: 'rocm/sgl-dev:v0.5.24' } }],
    ['the model', { model: { id: 'tandem/other' } }],
    ['its source', { model: { source: 'hf://tandem/tiny-chat@abc' } }],
    ['dtype', { engine: { args: { dtype: 'bfloat16' } } }],
    ['kv-cache-dtype', { engine: { args: { 'kv-cache-dtype': 'fp8_e4m3' } } }],
    ['page-size', { engine: { args: { 'page-size': 64 } } }],
    ['the transfer backend', { rdma: { backend: 'mori' } }],
  ])('changes with %s', (_, overrides) => {
    expect(generation(overrides)).not.toBe(generation());
  });
});

describe('weights', () => {
  const model = (overrides: Overrides['model']) => plan(aFleet({ model: overrides! })).model;

  it('of file:// are read where they lie', () => {
    expect(model({ source: 'file://~/share/tiny/' }).path).toBe('~/share/tiny');
  });

  it.each([
    ['hf://tandem/tiny-chat@0123456789012345678901234567890123456789', '0123456789012345678901234567890123456789', 0],
    ['hf://tandem/tiny-chat@v1', 'v1', 1],
    ['hf://tandem/tiny-chat', 'main', 1],
  ])('of %s have the revision %s', (source, revision, warned) => {
    const { model: found, warnings } = plan(aFleet({ model: { source, dir: '/w' } }));
    expect(found).toEqual({ id: 'tandem/tiny-chat', revision, path: `/w/tandem/tiny-chat/${revision}` });
    expect(warnings).toHaveLength(warned);
  });

  it('of two sources never share a folder', () => {
    const [one, other] = ['rsync://a/m', 'rsync://b/m'].map((source) => model({ source, dir: '/w' }).path);
    expect(one).toMatch(/^\/w\/tandem\/tiny-chat\/source-[0-9a-f]{12}$/);
    expect(one).not.toBe(other);
  });

  it('are kept where they are complete and staged where not', () => {
    const spec = aFleet({ model: { source: 'hf://tandem/tiny-chat@v1' } });
    const staged = editHosts(({ host }) => (host === 'a' ? { weights: ['tandem/tiny-chat/v1'] } : {}));
    const { changes, staging } = plan(spec, staged(anInventory(spec)));
    expect(changes.filter(({ kind }) => kind === 'weights').map(({ action, hosts: at }) => [action, at])).toEqual([
      ['create', ['b']],
      ['keep', ['a']],
    ]);
    expect(staging.map(({ host, copy }) => [host, copy])).toEqual([
      ['a', true],
      ['b', true],
    ]);
  });
});
