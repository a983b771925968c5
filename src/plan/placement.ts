import type { ClusterSpec } from '../spec/schema.ts';
import { devicesOf, type Fleet, type FleetHost, isProduct, mayUse } from './fleet.ts';
import type { Role } from './types.ts';

/** Where an engine is: the same GPU indices on each of its hosts, rank 0 first. */
export interface Place {
  readonly hosts: readonly string[];
  readonly gpus: readonly number[];
}

/** An engine that needs a place; `preferred` is where it was before it ended. */
export interface Seat {
  readonly role: Role;
  readonly index: number;
  readonly preferred?: Place;
}

export interface PlacementInput {
  readonly spec: ClusterSpec;
  readonly fleet: Fleet;
  /** Places of engines that stay, by engine ("prefill 0"). */
  readonly kept: ReadonlyMap<string, Place>;
  /** Places of engines that go: used only where nothing else is free, since that costs an engine before another serves. */
  readonly leaving: readonly Place[];
  readonly seats: readonly Seat[];
}

export interface Placement {
  /** By engine. */
  readonly places: ReadonlyMap<string, Place>;
  /** One sentence per engine without a place. */
  readonly impossible: readonly string[];
}

export const seatName = ({ role, index }: Pick<Seat, 'role' | 'index'>): string => `${role} ${index}`;

/**
 * Finds a place for every seat. Engines are placed one after the other, first fit; since an order can paint itself
 * into a corner, larger engines and either role are tried first, then RDMA devices may be shared. The first try that
 * places all wins, else the first order says why not.
 */
export function placeEngines(input: PlacementInput): Placement {
  const { spec, seats } = input;
  const size = (role: Role) => spec[role].gpus.count;
  const roles: readonly Role[] = size('decode') > size('prefill') ? ['decode', 'prefill'] : ['prefill', 'decode'];
  const orders = [roles, roles.toReversed()].map((order) =>
    order.flatMap((role) => seats.filter((seat) => seat.role === role).toSorted((a, b) => a.index - b.index)),
  );
  let reasons: Placement | undefined;
  for (const shareNics of [false, true]) {
    for (const order of orders) {
      const placement = tryOrder(input, order, shareNics);
      if (placement.impossible.length === 0) return placement;
      if (order === orders[0]) reasons = placement;
    }
  }
  return reasons!;
}

/** What is taken so far, by "host/gpu" and "host/device": the engine that has it. */
interface Taken {
  readonly gpus: Map<string, string>;
  readonly nics: Map<string, string>;
  readonly leaving: ReadonlySet<string>;
}

function tryOrder(input: PlacementInput, order: readonly Seat[], shareNics: boolean): Placement {
  const { fleet, kept, leaving } = input;
  const taken: Taken = { gpus: new Map(), nics: new Map(), leaving: new Set(leaving.flatMap(gpuKeys)) };
  const places = new Map<string, Place>();
  const take = (engine: string, place: Place): void => {
    for (const key of gpuKeys(place)) taken.gpus.set(key, engine);
    for (const key of nicKeys(fleet, place)) taken.nics.set(key, engine);
  };
  for (const [engine, place] of kept) take(engine, place);
  for (const seat of order) {
    if (!seat.preferred || !isFree(input, taken, seat.role, seat.preferred)) continue;
    places.set(seatName(seat), seat.preferred);
    take(seatName(seat), seat.preferred);
  }
  const impossible: string[] = [];
  for (const seat of order) {
    if (places.has(seatName(seat))) continue;
    const place = findPlace(input, taken, seat.role, shareNics);
    if (place) {
      places.set(seatName(seat), place);
      take(seatName(seat), place);
    } else {
      impossible.push(`${seatName(seat)} ${need(input, seat.role)}: ${whyNot(input, taken, seat.role)}`);
    }
  }
  return { places, impossible };
}

const gpuKeys = ({ hosts, gpus }: Place): string[] => hosts.flatMap((host) => gpus.map((gpu) => `${host}/${gpu}`));

const nicKeys = (fleet: Fleet, { hosts, gpus }: Place): string[] =>
  hosts.flatMap((name) => {
    const host = fleet.get(name);
    return host ? devicesOf(host, gpus).up.map(({ device }) => `${name}/${device}`) : [];
  });

/** The first run that is free, best with RDMA devices of its own and without waiting for an engine that goes. */
function findPlace(input: PlacementInput, taken: Taken, role: Role, shareNics: boolean): Place | undefined {
  const tiers = [
    { ownNics: true, wait: false },
    { ownNics: true, wait: true },
    { ownNics: false, wait: false },
    { ownNics: false, wait: true },
  ].filter(({ ownNics }) => ownNics || shareNics);
  const candidates = candidateHosts(input, role);
  const { hostsPerReplica, gpus } = input.spec[role];
  for (const { ownNics, wait } of tiers) {
    const suits = (host: FleetHost, run: readonly number[]): boolean =>
      problem(input, taken, role, host, run) === undefined &&
      (wait || run.every((gpu) => !taken.leaving.has(`${host.name}/${gpu}`))) &&
      (!ownNics || devicesOf(host, run).up.every(({ device }) => !taken.nics.has(`${host.name}/${device}`)));
    const place = firstRun(candidates, gpus.count, hostsPerReplica, suits);
    if (place) return place;
  }
  return undefined;
}

/** Host by host so that hosts fill up one after the other; over several hosts the same run on the first that have it. */
function firstRun(
  hosts: readonly FleetHost[],
  count: number,
  span: number,
  suits: (host: FleetHost, run: readonly number[]) => boolean,
): Place | undefined {
  const runs = alignedRuns(Math.max(0, ...hosts.map(({ gpus }) => (gpus.at(-1)?.index ?? -1) + 1)), count);
  if (span === 1) {
    for (const host of hosts) {
      const gpus = runs.find((run) => suits(host, run));
      if (gpus) return { hosts: [host.name], gpus };
    }
    return undefined;
  }
  for (const gpus of runs) {
    const free = hosts.filter((host) => suits(host, gpus));
    if (free.length >= span) return { hosts: free.slice(0, span).map(({ name }) => name), gpus };
  }
  return undefined;
}

/** Runs of `count` indices that begin at a multiple of it: SGLang takes a first GPU and counts on, and aligned runs leave no gaps. */
const alignedRuns = (total: number, count: number): readonly (readonly number[])[] =>
  Array.from({ length: Math.floor(total / count) }, (_, at) =>
    Array.from({ length: count }, (_gpu, i) => at * count + i),
  );

/** Hosts that the other role cannot use come first, so that the roles do not take each other's only place. */
function candidateHosts({ spec, fleet }: PlacementInput, role: Role): readonly FleetHost[] {
  const other: Role = role === 'prefill' ? 'decode' : 'prefill';
  const usable = [...fleet.values()].filter((host) => mayUse(spec, role, host));
  return [
    ...usable.filter((host) => !mayUse(spec, other, host)),
    ...usable.filter((host) => mayUse(spec, other, host)),
  ];
}

const isFree = (input: PlacementInput, taken: Taken, role: Role, { hosts, gpus }: Place): boolean =>
  hosts.every((name) => {
    const host = input.fleet.get(name);
    return (
      host !== undefined && mayUse(input.spec, role, host) && problem(input, taken, role, host, gpus) === undefined
    );
  });

/** Why these GPUs of a host cannot be had, in words that follow its name; undefined when they can. */
function problem(
  { spec }: PlacementInput,
  taken: Taken,
  role: Role,
  host: FleetHost,
  run: readonly number[],
): string | undefined {
  if (host.gpus.length === 0) return 'no GPU could be read';
  return gpuProblem(host, spec[role].gpus.product, taken, run) ?? nicProblem(spec, host, run);
}

function gpuProblem(host: FleetHost, product: string, taken: Taken, run: readonly number[]): string | undefined {
  for (const index of run) {
    const gpu = host.gpus.find((one) => one.index === index);
    if (!gpu) return `GPU ${index} is not there (${host.gpus.length} of ${host.spec.gpus.count} seen)`;
    if (!isProduct(gpu, product)) return `GPU ${index} is ${gpu.product}`;
    const lease = host.foreignLeases.get(gpu.pci);
    if (lease)
      return `GPU ${index} is leased by cluster ${lease.cluster} (installation ${lease.installation}, deployment ${lease.deployment})`;
    const holder = taken.gpus.get(`${host.name}/${index}`);
    if (holder !== undefined) return `GPU ${index} is taken by ${holder}`;
  }
  return undefined;
}

/** A host that lists no device at all may only have been unreadable: that is for the check rdma-device to say. */
function nicProblem({ rdma }: ClusterSpec, host: FleetHost, run: readonly number[]): string | undefined {
  if (rdma.transport === 'tcp' || host.inventory.nics.length === 0) return undefined;
  if (rdma.devices !== 'auto') {
    const missing = rdma.devices.filter((device) => host.nics.every((nic) => nic.device !== device));
    if (missing.length > 0)
      return `rdma.devices names ${missing.join(', ')}, it has ${host.inventory.nics.map(({ device }) => device).join(', ')}`;
  }
  const { all, up } = devicesOf(host, run);
  return up.length > 0 ? undefined : `no RDMA link is up (${all.map(({ device }) => device).join(', ')})`;
}

function need({ spec }: PlacementInput, role: Role): string {
  const { gpus, hostsPerReplica } = spec[role];
  const where = hostsPerReplica === 1 ? 'of one host' : `of each of ${hostsPerReplica} hosts`;
  return `needs ${gpus.count} ${gpus.product} GPUs in a row ${where}`;
}

const HOSTS_NAMED_MAX = 8;

/** Per host that the role may use the first thing in the way. */
function whyNot(input: PlacementInput, taken: Taken, role: Role): string {
  const { spec } = input;
  const hosts = candidateHosts(input, role);
  if (hosts.length === 0) return `no host of the spec with ${spec[role].gpus.product} is open to this role`;
  const { count } = spec[role].gpus;
  const lines = hosts.map((host) => {
    const runs = alignedRuns(host.spec.gpus.count, count);
    const problems = runs.map((run) => problem(input, taken, role, host, run));
    if (runs.length === 0) return `${host.name}: has ${host.spec.gpus.count} GPUs`;
    // A run that is free here still lacks the same run on other hosts, or RDMA devices of its own.
    return `${host.name}: ${problems.includes(undefined) ? 'free, but too few other hosts have the same GPUs free' : [...new Set(problems)].join(', ')}`;
  });
  const more = lines.length > HOSTS_NAMED_MAX ? [`${lines.length - HOSTS_NAMED_MAX} more hosts likewise`] : [];
  return [...lines.slice(0, HOSTS_NAMED_MAX), ...more].join('; ');
}
