import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { DeployError } from '../../src/errors.ts';
import { isNoop } from '../../src/plan/noop.ts';
import { planCluster } from '../../src/plan/plan.ts';
import type { EnginePlan, Inventory, Plan } from '../../src/plan/types.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { anInventory, runningInventory, servedBefore } from '../support/inventories.ts';
import { aSpec } from '../support/specs.ts';

const role = fc.record({
  replicas: fc.integer({ min: 1, max: 5 }),
  hostsPerReplica: fc.constantFrom(1, 1, 1, 2),
  gpus: fc.record({ count: fc.constantFrom(1, 2, 4, 8), product: fc.constantFrom('MI300X', 'MI300X', 'MI325X') }),
});

const aHost = fc.record({ product: fc.constantFrom('MI300X', 'MI300X', 'MI325X'), count: fc.constantFrom(4, 8, 8) });

const aCluster = fc
  .record({ prefill: role, decode: role, machines: fc.array(aHost, { minLength: 1, maxLength: 8 }) })
  .map(({ prefill, decode, machines }) =>
    aSpec({
      hosts: {
        list: [
          ...machines.map((gpus, at) => ({ name: `h${at}`, address: `10.0.0.${at + 1}`, gpus })),
          { name: 'router-0', address: '10.0.0.200', gpus: { product: 'none', count: 0 } },
        ],
      },
      prefill,
      decode,
    }),
  );

/** What the hosts may show: some links down, some GPUs leased by others, fewer NICs than GPUs. */
const aWorld = fc
  .record({
    spec: aCluster,
    down: fc.array(fc.nat(7), { maxLength: 2 }),
    leased: fc.array(fc.tuple(fc.nat(7), fc.nat(7)), { maxLength: 3 }),
    nics: fc.constantFrom(8, 8, 4, 2),
  })
  .map(({ spec, down, leased, nics }) => ({
    spec,
    inventory: {
      hosts: anInventory(spec).hosts.map((host, at) => ({
        ...host,
        nics: host.nics.slice(0, nics).map((nic, rail) => ({ ...nic, up: !down.includes(rail) })),
        leases: leased
          .filter(([on]) => on === at)
          .flatMap(([, gpu]) => host.gpus.slice(gpu, gpu + 1))
          .map(({ pci }) => ({ pci, cluster: 'other', installation: 'theirs', deployment: 1 })),
      })),
    },
  }));

const planOf = (spec: ClusterSpec, inventory: Inventory, deployment = 1): Plan | DeployError => {
  try {
    return planCluster({ spec, inventory, installation: 'ours', deployment, ...servedBefore(deployment) });
  } catch (error) {
    if (error instanceof DeployError) return error;
    throw error;
  }
};

const engines = ({ prefill, decode }: Plan): readonly EnginePlan[] => [...prefill, ...decode];

/** What an engine is and where, without who made it and what happens to it. */
const rows = (plan: Plan) =>
  engines(plan).map(({ action: _action, proven: _proven, replaces: _replaces, ...row }) => row);

const repeated = (items: readonly string[]): string[] => items.filter((item, at) => items.indexOf(item) !== at);

/** A name, or with "*" before it the end of one. */
const isNamed = (name: string, wanted: string): boolean =>
  wanted.startsWith('*') ? name.endsWith(wanted.slice(1)) : name === wanted;

const check = <T>(arbitrary: fc.Arbitrary<T>, holds: (world: T) => void) =>
  fc.assert(fc.property(arbitrary, holds), { numRuns: 150 });

describe('any plan', () => {
  it('gives no GPU and no port twice, and takes none that another cluster leases', () => {
    let planned = 0;
    check(aWorld, ({ spec, inventory }) => {
      const plan = planOf(spec, inventory);
      if (plan instanceof DeployError) return;
      planned += 1;
      const ranks = engines(plan).flatMap((engine) => engine.ranks);
      const gpus = ranks.flatMap(({ host, gpus: run }) => run.map(({ pci }) => `${host}/${pci}`));
      expect(repeated(gpus)).toEqual([]);
      expect(repeated(ranks.flatMap(({ host, ports }) => ports.map((port) => `${host}:${port}`)))).toEqual([]);
      const foreign = inventory.hosts.flatMap(({ host, leases }) => leases.map(({ pci }) => `${host}/${pci}`));
      expect(gpus.filter((gpu) => foreign.includes(gpu))).toEqual([]);
    });
    expect(planned).toBeGreaterThan(20);
  });

  it('gives no NIC to two engines, unless it says so', () => {
    check(aWorld, ({ spec, inventory }) => {
      const plan = planOf(spec, inventory);
      if (plan instanceof DeployError) return;
      const ranks = engines(plan).flatMap((engine) => engine.ranks);
      const twice = repeated(ranks.flatMap(({ host, nics }) => nics.map((nic) => `${host}/${nic}`)));
      expect(plan.warnings.filter((text) => text.includes(' shares '))).toHaveLength(twice.length);
    });
  });

  it('gives each engine NICs of its own where a host has one for every GPU', () => {
    check(aCluster, (spec) => {
      const plan = planOf(spec, anInventory(spec));
      if (plan instanceof DeployError) return;
      const ranks = engines(plan).flatMap((engine) => engine.ranks);
      expect(repeated(ranks.flatMap(({ host, nics }) => nics.map((nic) => `${host}/${nic}`)))).toEqual([]);
      expect(ranks.every(({ gpus, nics }) => gpus.length === nics.length)).toBe(true);
    });
  });

  it('places every engine as the spec asks, or names the ones that have no place', () => {
    let impossible = 0;
    check(aWorld, ({ spec, inventory }) => {
      const plan = planOf(spec, inventory);
      if (plan instanceof DeployError) {
        impossible += 1;
        expect(plan.code).toBe('PLAN_IMPOSSIBLE');
        expect(plan.evidence).toMatch(/^(prefill|decode) \d+ needs \d+ \S+ GPUs in a row of .+: .+/);
        return;
      }
      for (const name of ['prefill', 'decode'] as const) {
        const { replicas, hostsPerReplica, gpus } = spec[name];
        expect(plan[name].map(({ index }) => index)).toEqual([...Array(replicas).keys()]);
        for (const { ranks } of plan[name]) {
          expect(new Set(ranks.map(({ host }) => host)).size).toBe(hostsPerReplica);
          for (const rank of ranks) {
            const first = rank.gpus[0]!.index;
            expect(first % gpus.count).toBe(0);
            expect(rank.gpus.map(({ index }) => index - first)).toEqual([...Array(gpus.count).keys()]);
          }
        }
      }
    });
    expect(impossible).toBeGreaterThan(20);
  });

  it('is the same byte for byte, however the inventory and the keys of the spec are ordered', () => {
    const shuffled = aWorld.chain(({ spec, inventory }) =>
      fc
        .record({
          hosts: fc.shuffledSubarray([...inventory.hosts], { minLength: inventory.hosts.length }),
          backwards: fc.boolean(),
        })
        .map(({ hosts, backwards }) => ({
          spec,
          inventory,
          other: {
            hosts: hosts.map((host) =>
              backwards
                ? {
                    ...host,
                    gpus: host.gpus.toReversed(),
                    nics: host.nics.toReversed(),
                    leases: host.leases.toReversed(),
                  }
                : host,
            ),
          },
        })),
    );
    check(shuffled, ({ spec, inventory, other }) => {
      const flags = { 'mem-fraction-static': 0.8, 'trust-remote-code': true };
      const args = (order: string[]) =>
        Object.fromEntries(order.map((name) => [name, flags[name as keyof typeof flags]])) as typeof flags;
      const one = { ...spec, engine: { ...spec.engine, args: args(['mem-fraction-static', 'trust-remote-code']) } };
      const two = { ...spec, engine: { ...spec.engine, args: args(['trust-remote-code', 'mem-fraction-static']) } };
      const text = (plan: Plan | DeployError) => (plan instanceof DeployError ? plan.message : JSON.stringify(plan));
      expect(text(planOf(two, other))).toBe(text(planOf(one, inventory)));
    });
  });

  it('has nothing to do once everything in it runs, in whatever order the hosts list their units', () => {
    check(aWorld, ({ spec, inventory }) => {
      const plan = planOf(spec, inventory);
      if (plan instanceof DeployError) return;
      const running = runningInventory(plan, inventory).hosts.map((host) => ({
        ...host,
        found: host.found.toReversed(),
      }));
      const again = planCluster({
        spec,
        inventory: { hosts: running },
        installation: 'ours',
        deployment: 2,
        ...servedBefore(2),
      });
      expect(again.changes.filter(({ action }) => action !== 'keep')).toEqual([]);
      expect(isNoop(again)).toBe(true);
      expect(rows(again)).toEqual(rows(plan));
    });
  });

  it('says of each thing once when it is done, and in an order in which it can be', () => {
    const changed = fc.record({ world: aWorld, prefill: fc.nat(3), decode: fc.nat(3), ended: fc.nat(9) });
    let changes = 0;
    check(changed, ({ world: { spec, inventory }, prefill, decode, ended }) => {
      const first = planOf(spec, inventory);
      if (first instanceof DeployError) return;
      const running = runningInventory(first, inventory).hosts.map((host) => ({
        ...host,
        found: host.found.map((unit, at) => ({ ...unit, running: unit.running && at !== ended })),
      }));
      const wanted = {
        ...spec,
        prefill: { ...spec.prefill, replicas: prefill + 1 },
        decode: { ...spec.decode, replicas: decode + 1 },
      };
      const plan = planOf(wanted, { hosts: running }, 2);
      if (plan instanceof DeployError) return;
      changes += 1;
      const moves = plan.stages.flatMap(({ name: stage, moves: own }) => own.map((move) => ({ stage, ...move })));
      const at = (name: string, about: string) =>
        moves.flatMap((move, place) => (isNamed(move.name, name) && move.on.includes(about) ? [place] : []));
      expect(repeated(moves.map(({ stage, name }) => `${stage} ${name}`))).toEqual([]);
      for (const { name, host, role: of, action } of engines(plan)) {
        if (action === 'keep') continue;
        const places = [
          at('lease-gpus', host),
          at('check-rocm', host),
          at(`start-${of}`, name),
          at('wire-router', name),
        ];
        expect([...places, at('accept', name)].map((found) => found.length)).toEqual([1, 1, 1, 1, 1]);
        expect(places.flat()).toEqual(places.flat().toSorted((a, b) => a - b));
      }
      const start = moves.findIndex(({ name }) => name === 'start-prefill');
      for (const { name, first: early } of plan.removals) {
        const places = [at('*-unwire', name), at('*-stop', name), at('remove-old', name)];
        expect(places.map((found) => found.length)).toEqual([1, 1, 1]);
        expect(places.flat()).toEqual(places.flat().toSorted((a, b) => a - b));
        expect(places[1]![0]! < start).toBe(early);
      }
      // What serves is touched by nothing before all is prepared, and what is for good comes last.
      expect(plan.stages.map(({ name }) => name)).toEqual(['prepare', 'change', 'tidy']);
    });
    expect(changes).toBeGreaterThan(20);
  });

  it('comes back to the same rows after scaling up and down again', () => {
    const scaled = fc.record({ world: aWorld, prefill: fc.nat(3), decode: fc.nat(3) });
    let scalings = 0;
    check(scaled, ({ world: { spec, inventory }, prefill, decode }) => {
      const first = planOf(spec, inventory);
      if (first instanceof DeployError) return;
      const larger = {
        ...spec,
        prefill: { ...spec.prefill, replicas: spec.prefill.replicas + prefill },
        decode: { ...spec.decode, replicas: spec.decode.replicas + decode },
      };
      const up = planOf(larger, runningInventory(first, inventory), 2);
      if (up instanceof DeployError) return;
      scalings += 1;
      const down = planCluster({
        spec,
        inventory: runningInventory(up, inventory),
        installation: 'ours',
        deployment: 3,
        ...servedBefore(3),
      });
      expect(rows(down)).toEqual(rows(first));
      expect(down.removals).toHaveLength(prefill + decode);
      expect(down.removals.every(({ index, role: of }) => of !== 'router' && index >= spec[of].replicas)).toBe(true);
    });
    expect(scalings).toBeGreaterThan(10);
  });
});

describe('any rounds', () => {
  it('test every link that a first deploy adds exactly once, with no NIC twice in a round', () => {
    check(aWorld, ({ spec, inventory }) => {
      const plan = planOf(spec, inventory);
      if (plan instanceof DeployError) return;
      for (const { tests } of plan.rounds) {
        expect(
          repeated(
            tests.flatMap(({ source, target }) => [source, target].map(({ host, device }) => `${host}/${device}`)),
          ),
        ).toEqual([]);
        expect(repeated(tests.map(({ target, port }) => `${target.host}:${port}`))).toEqual([]);
      }
      const tested = plan.rounds.flatMap(({ tests }) => tests);
      expect(
        repeated(tested.map(({ source, target }) => `${source.host}/${source.device}>${target.host}/${target.device}`)),
      ).toEqual([]);
      const ends = (of: readonly EnginePlan[]) => new Set(of.flatMap(({ ranks }) => ranks.map(({ host }) => host)));
      const wanted = [...ends(plan.prefill)].flatMap((source) =>
        [...ends(plan.decode)].filter((target) => target !== source).map((target) => `${source}>${target}`),
      );
      expect([...new Set(tested.map(({ source, target }) => `${source.host}>${target.host}`))].toSorted()).toEqual(
        wanted.toSorted(),
      );
    });
  });
});

describe('a plan of 1,000 hosts', () => {
  const list = Array.from({ length: 1000 }, (_, at) => ({
    name: `h${at}`,
    address: `10.1.${at >> 8}.${at & 255}`,
    gpus: { product: 'MI300X', count: 8 },
  }));
  const spec = aSpec({
    hosts: { list: [...list, { name: 'router-0', address: '10.0.0.200', gpus: { product: 'none', count: 0 } }] },
    prefill: { replicas: 400 },
    decode: { replicas: 600 },
    model: { source: 'hf://tandem/tiny-chat@v1' },
  });

  it('fits a payload and has nothing to do once it runs', () => {
    const plan = planCluster({ spec, inventory: anInventory(spec), installation: 'ours', deployment: 1 });
    const text = JSON.stringify(plan);
    const compressed = gzipSync(text).length;
    console.info(
      `plan of 1,000 hosts: ${text.length} bytes, ${compressed} compressed, ${plan.rounds.length} rounds of ${plan.rounds.flatMap(({ tests }) => tests).length} tests`,
    );
    expect(compressed).toBeLessThan(512 * 1024);
    expect([plan.prefill.length, plan.decode.length]).toEqual([400, 600]);
    expect(
      isNoop(
        planCluster({
          spec,
          inventory: runningInventory(plan, anInventory(spec)),
          installation: 'ours',
          deployment: 2,
          ...servedBefore(2),
        }),
      ),
    ).toBe(true);
  });
});
