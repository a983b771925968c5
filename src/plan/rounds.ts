import type { ClusterSpec } from '../spec/schema.ts';
import { colourEdges } from './edge-colouring.ts';
import type { Fleet, FleetHost } from './fleet.ts';
import { fabricAddress } from './host-ref.ts';
import { pairUp } from './sample.ts';
import type { EnginePlan, LinkEnd, LinkRound, LinkTest, Nic, Role } from './types.ts';

export interface Rounds {
  readonly rounds: readonly LinkRound[];
  readonly warnings: readonly string[];
}

/** The RDMA devices that one role has on one host. */
interface End {
  readonly host: FleetHost;
  readonly nics: readonly Nic[];
  /** Devices of engines that the plan starts and of no engine that serves. */
  readonly fresh: ReadonlySet<string>;
}

/**
 * The bandwidth tests of the links that a change adds, in rounds in which every host is the source of one test per
 * device and the target of one at most: as many rounds as the busier role has hosts. What serves is left alone unless
 * `rdma.measureServing` is set.
 */
export function linkRounds(spec: ClusterSpec, fleet: Fleet, engines: readonly EnginePlan[]): Rounds {
  const { transport, measureServing, coverage } = spec.rdma;
  if (transport === 'tcp')
    return { rounds: [], warnings: ['rdma.transport is tcp: KV caches travel slowly, and no link is measured'] };
  const serving = new Set(engines.filter(({ action }) => action === 'keep').flatMap(devices));
  const ends = (role: Role) => endsOf(fleet, engines, role, serving, measureServing);
  const sources = ends('prefill');
  const targets = ends('decode');
  const { pairs, of, sampled } = pairUp(
    {
      sources,
      targets,
      isNew: ({ fresh }) => fresh.size > 0,
      mayPair: (source, target) => source.host !== target.host && rails(source, target).length > 0,
    },
    coverage,
  );
  const number = new Map([...fleet.keys()].map((name, at) => [name, at]));
  const edges = pairs.map(
    ([source, target]) => [number.get(source.host.name)!, number.get(target.host.name)!] as const,
  );
  const rounds = colourEdges(edges).flatMap((edgesOfRound) =>
    withoutRepeats(edgesOfRound.flatMap((edge) => linkTests(spec, ...pairs[edge]!))),
  );
  return {
    rounds,
    warnings: [
      ...(sampled ? [`${pairs.length} of ${of} pairs of hosts are measured: a sample of four partners per host`] : []),
      ...servingWarning(spec, engines),
    ],
  };
}

/** "host/device" of every rank. */
const devices = ({ ranks }: EnginePlan): string[] =>
  ranks.flatMap(({ host, nics }) => nics.map((nic) => `${host}/${nic}`));

function endsOf(
  fleet: Fleet,
  engines: readonly EnginePlan[],
  role: Role,
  serving: ReadonlySet<string>,
  measureServing: boolean,
): readonly End[] {
  const mine = engines.filter((engine) => engine.role === role);
  const all = new Set(mine.flatMap(devices));
  const started = new Set(mine.filter(({ action }) => action !== 'keep').flatMap(devices));
  return [...fleet.values()].flatMap((host) => {
    const has = (set: ReadonlySet<string>, { device }: Nic) => set.has(`${host.name}/${device}`);
    const nics = host.nics.filter((nic) => has(all, nic) && (measureServing || !has(serving, nic)));
    const fresh = new Set(nics.filter((nic) => has(started, nic)).map(({ device }) => device));
    return nics.length === 0 ? [] : [{ host, nics, fresh }];
  });
}

/** Rail to rail, the shorter list again and again, and only where one end is new. */
function rails(source: End, target: End): readonly { readonly rail: number; readonly from: Nic; readonly to: Nic }[] {
  const count = Math.max(source.nics.length, target.nics.length);
  return Array.from({ length: count }, (_, rail) => ({
    rail,
    from: source.nics[rail % source.nics.length]!,
    to: target.nics[rail % target.nics.length]!,
  })).filter(({ from, to }) => source.fresh.has(from.device) || target.fresh.has(to.device));
}

function linkTests({ rdma }: ClusterSpec, source: End, target: End): readonly LinkTest[] {
  return rails(source, target).map(({ rail, from, to }) => {
    const slower = Math.min(from.rateGbps ?? rdma.minLinkGbps, to.rateGbps ?? rdma.minLinkGbps);
    return {
      source: linkEnd(rdma, source.host, from),
      target: linkEnd(rdma, target.host, to),
      port: rdma.testPort + rail,
      minGbps: rdma.minGbps ?? (slower * 9) / 10,
    };
  });
}

function linkEnd({ gidIndex }: ClusterSpec['rdma'], host: FleetHost, nic: Nic): LinkEnd {
  const index = gidIndex === 'auto' ? nic.gidIndex : gidIndex;
  return {
    host: host.name,
    device: nic.device,
    ...(index !== undefined && { gidIndex: index }),
    address: nic.address ?? fabricAddress(host.spec),
  };
}

/** A device twice in a round would halve what it measures: hosts with unlike device counts or with both roles on one device need more rounds. */
function withoutRepeats(tests: readonly LinkTest[]): readonly LinkRound[] {
  const rounds: { tests: LinkTest[]; busy: Set<string> }[] = [];
  for (const test of tests) {
    const ends = [test.source, test.target].map(({ host, device }) => `${host}/${device}`);
    let round = rounds.find(({ busy }) => ends.every((end) => !busy.has(end)));
    if (!round) rounds.push((round = { tests: [], busy: new Set() }));
    round.tests.push(test);
    for (const end of ends) round.busy.add(end);
  }
  return rounds.map((round) => ({ tests: round.tests }));
}

function servingWarning({ rdma }: ClusterSpec, engines: readonly EnginePlan[]): string[] {
  if (rdma.measureServing) return [];
  const hosts = new Set<string>();
  for (const engine of engines.filter(({ action }) => action === 'keep')) {
    const partners = engines.filter((other) => other.role !== engine.role && other.action !== 'keep');
    if (partners.some((partner) => partner.host !== engine.host)) engine.ranks.forEach(({ host }) => hosts.add(host));
  }
  if (hosts.size === 0) return [];
  return [
    `links of new engines to ${[...hosts].toSorted().join(', ')} are not measured, since these hosts serve; rdma.measureServing: true measures them and disturbs them`,
  ];
}
