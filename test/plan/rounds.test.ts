import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { colourEdges } from '../../src/plan/edge-colouring.ts';
import { planCluster } from '../../src/plan/plan.ts';
import type { Inventory, LinkTest, Plan } from '../../src/plan/types.ts';
import { anInventory, runningInventory, servedBefore } from '../support/inventories.ts';
import { aSpec } from '../support/specs.ts';

type Overrides = NonNullable<Parameters<typeof aSpec>[0]>;

const aFleet = (
  prefill: number,
  decode: number,
  { rdma = {}, decodeGpus = 8 }: { rdma?: Overrides['rdma']; decodeGpus?: number } = {},
) =>
  aSpec({
    hosts: {
      list: [
        ...Array.from({ length: prefill }, (_, at) => ({
          name: `p${at}`,
          address: `10.0.1.${at}`,
          gpus: { product: 'MI300X', count: 8 },
        })),
        ...Array.from({ length: decode }, (_, at) => ({
          name: `d${at}`,
          address: `10.0.2.${at}`,
          gpus: { product: 'MI325X', count: decodeGpus },
        })),
        { name: 'router-0', address: '10.0.0.3', gpus: { product: 'none', count: 0 } },
      ],
    },
    prefill: { replicas: prefill },
    decode: { replicas: decode, gpus: { product: 'MI325X', count: decodeGpus } },
    rdma: rdma!,
  });

const planOf = (spec: ReturnType<typeof aSpec>, inventory: Inventory = anInventory(spec), deployment = 1): Plan =>
  planCluster({ spec, inventory, installation: 'ours', deployment, ...servedBefore(deployment) });

const all = ({ rounds }: Plan): readonly LinkTest[] => rounds.flatMap(({ tests }) => tests);
const hostPairs = (plan: Plan): string[] => [
  ...new Set(all(plan).map(({ source, target }) => `${source.host}>${target.host}`)),
];

describe('rounds of a first deploy', () => {
  it.each([
    [1, 1],
    [2, 3],
    [5, 2],
    [8, 8],
    [3, 7],
  ])('of %i prefill and %i decode hosts are as many as the larger role has hosts', (prefill, decode) => {
    const plan = planOf(aFleet(prefill, decode));
    expect(plan.rounds).toHaveLength(Math.max(prefill, decode));
    expect(all(plan)).toHaveLength(prefill * decode * 8);
    expect(hostPairs(plan)).toHaveLength(prefill * decode);
  });

  it('join rail to rail, each on a port of its own, with the address and GID that were found', () => {
    const [first, , , , , , , last] = all(planOf(aFleet(1, 1)));
    expect(first).toEqual({
      source: { host: 'p0', device: 'bnxt_re0', gidIndex: 3, address: '192.168.0.1' },
      target: { host: 'd0', device: 'bnxt_re0', gidIndex: 3, address: '192.168.1.1' },
      port: 18515,
      minGbps: 360,
    });
    expect(last).toMatchObject({ source: { device: 'bnxt_re7' }, target: { device: 'bnxt_re7' }, port: 18522 });
  });

  it('ask for 90 % of the slower port unless the spec asks for more or less', () => {
    const spec = aFleet(1, 1);
    const slow = {
      hosts: anInventory(spec).hosts.map((host) =>
        host.host === 'd0' ? { ...host, nics: host.nics.map((nic) => ({ ...nic, rateGbps: 200 })) } : host,
      ),
    };
    expect(all(planOf(spec, slow))[0]!.minGbps).toBe(180);
    expect(all(planOf(aFleet(1, 1, { rdma: { minGbps: 42 } }), slow))[0]!.minGbps).toBe(42);
    const unread = {
      hosts: slow.hosts.map((host) => ({ ...host, nics: host.nics.map(({ rateGbps: _rate, ...nic }) => nic) })),
    };
    expect(all(planOf(spec, unread))[0]!.minGbps).toBe(90);
  });

  it('use the GID index and the port base of the spec', () => {
    const [test] = all(planOf(aFleet(1, 1, { rdma: { gidIndex: 1, testPort: 19000 } })));
    expect(test).toMatchObject({ source: { gidIndex: 1 }, target: { gidIndex: 1 }, port: 19000 });
  });

  it('reach every NIC of the end that has more, in more rounds', () => {
    const plan = planOf(aFleet(1, 1, { decodeGpus: 4 }));
    expect(plan.rounds.map(({ tests }) => tests.length)).toEqual([4, 4]);
    expect(new Set(all(plan).map(({ source }) => source.device)).size).toBe(8);
  });

  it('leave out pairs on one host, whose caches never cross the network', () => {
    const shared = aSpec({
      hosts: {
        list: ['a', 'b'].map((name, at) => ({ name, address: `10.0.0.${at}`, gpus: { product: 'MI300X', count: 8 } })),
      },
      prefill: { replicas: 2, gpus: { count: 4 } },
      decode: { replicas: 2, gpus: { count: 4 } },
      router: { host: 'a', port: 40000 },
    });
    const half = planOf({
      ...shared,
      prefill: { ...shared.prefill, replicas: 1 },
      decode: { ...shared.decode, replicas: 1 },
    });
    expect(half.decode[0]!.host).toBe('a');
    expect(half.rounds).toEqual([]);
    expect(hostPairs(planOf(shared))).toEqual(['a>b']);
  });

  it('are none over tcp, which is said', () => {
    const plan = planOf(aFleet(1, 1, { rdma: { transport: 'tcp' } }));
    expect(plan.rounds).toEqual([]);
    expect(plan.warnings).toEqual(['rdma.transport is tcp: KV caches travel slowly, and no link is measured']);
  });
});

describe('coverage', () => {
  it('is all up to 64 pairs of hosts', () => {
    expect(planOf(aFleet(8, 8)).warnings).toEqual([]);
  });

  it.each<[string, number, number, Overrides['rdma']]>([
    ['above 64 pairs', 10, 12, {}],
    ['where the spec asks for it', 6, 7, { coverage: 'sampled' }],
    ['for very unlike roles', 2, 40, {}],
  ])('is at least four partners per host %s', (_, prefill, decode, rdma) => {
    const plan = planOf(aFleet(prefill, decode, { rdma }));
    const pairs = hostPairs(plan);
    const partners = (host: string) => pairs.filter((pair) => pair.split('>').includes(host)).length;
    for (let at = 0; at < prefill; at += 1) expect(partners(`p${at}`)).toBeGreaterThanOrEqual(Math.min(4, decode));
    for (let at = 0; at < decode; at += 1) expect(partners(`d${at}`)).toBeGreaterThanOrEqual(Math.min(4, prefill));
    if (prefill >= 4) expect(pairs.length).toBeLessThanOrEqual(4 * (prefill + decode));
    expect(plan.warnings).toEqual(
      prefill < 4
        ? []
        : [`${pairs.length} of ${prefill * decode} pairs of hosts are measured: a sample of four partners per host`],
    );
  });

  it('samples the pairs of acceptance likewise', () => {
    const { pairs } = planOf(aFleet(10, 12));
    for (let at = 0; at < 12; at += 1)
      expect(pairs.filter(({ decode }) => decode === `tandem-tiny-decode-${at}-1`).length).toBeGreaterThanOrEqual(4);
    expect(pairs.length).toBeLessThan(120);
    expect(planOf(aFleet(3, 5)).pairs).toHaveLength(15);
  });
});

describe('rounds of a change', () => {
  /** Adds a decode engine to a running 2:2 cluster. */
  const grown = (rdma: Overrides['rdma'] = {}) => {
    const before = aFleet(2, 3, { rdma });
    const smaller = { ...before, decode: { ...before.decode, replicas: 2 } };
    return planOf(before, runningInventory(planOf(smaller), anInventory(before)), 2);
  };

  it('leave alone what serves, and say which hosts', () => {
    const plan = grown();
    expect(plan.rounds).toEqual([]);
    expect(plan.warnings).toEqual([
      'links of new engines to p0, p1 are not measured, since these hosts serve; rdma.measureServing: true measures them and disturbs them',
    ]);
  });

  it('measure just the new links with rdma.measureServing', () => {
    const plan = grown({ measureServing: true });
    expect(hostPairs(plan).toSorted()).toEqual(['p0>d2', 'p1>d2']);
    expect(plan.warnings).toEqual([]);
  });

  it('join new engines with each other', () => {
    const before = aFleet(2, 2);
    const smaller = {
      ...before,
      prefill: { ...before.prefill, replicas: 1 },
      decode: { ...before.decode, replicas: 1 },
    };
    const plan = planOf(before, runningInventory(planOf(smaller), anInventory(before)), 2);
    expect(hostPairs(plan)).toEqual(['p1>d1']);
    expect(plan.warnings).toHaveLength(1);
  });

  it('come with acceptance of each new engine with every partner, kept or new', () => {
    expect(grown().pairs).toEqual([
      { prefill: 'tandem-tiny-prefill-0-1', decode: 'tandem-tiny-decode-2-2' },
      { prefill: 'tandem-tiny-prefill-1-1', decode: 'tandem-tiny-decode-2-2' },
    ]);
  });
});

describe('edge colouring', () => {
  it('uses as many colours as the busiest vertex has edges, each colour once at a vertex', () => {
    const graph = fc.uniqueArray(fc.tuple(fc.nat(9), fc.nat(9)), { selector: ([s, t]) => s * 10 + t, maxLength: 60 });
    fc.assert(
      fc.property(graph, (edges) => {
        const classes = colourEdges(edges);
        const degree = (end: 0 | 1) =>
          Math.max(0, ...edges.map((edge) => edges.filter((other) => other[end] === edge[end]).length));
        expect(classes).toHaveLength(Math.max(degree(0), degree(1)));
        expect(classes.flat().toSorted((a, b) => a - b)).toEqual([...edges.keys()]);
        for (const edgesOfColour of classes) {
          for (const end of [0, 1] as const) {
            const met = edgesOfColour.map((edge) => edges[edge]![end]);
            expect(new Set(met).size).toBe(met.length);
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});
