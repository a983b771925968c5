import type { ClusterSpec } from '../../src/spec/schema.ts';
import type { DeploymentRecord } from '../../src/operations/record.ts';
import type { Admitted } from '../../src/operations/requests.ts';
import { addRouter } from './memory-host.ts';
import type { MemorySite } from './memory-site.ts';
import { SITE, type FanOut, type Operations } from './memory-temporal.ts';
import { patientSeconds } from './patience.ts';
import { eventually } from './processes.ts';
import { aSpec } from './specs.ts';

/** An operation on a cluster, which may serve before. */
export interface Scenario {
  readonly name: string;
  readonly operation: 'deploy' | 'destroy';
  /** What is deployed before the operation that the cases are about; undefined for a first deploy. */
  readonly before?: Shape;
  readonly target: Shape;
  /** Whether the plan says that serving is interrupted. */
  readonly interrupts: boolean;
}

export interface Shape {
  readonly prefill: number;
  readonly decode: number;
  /** Hosts of a decode engine. Default 1. */
  readonly ranks?: number;
  readonly policy?: 'cache_aware' | 'round_robin';
  /** A router of others takes the place of one of Tandem's. */
  readonly external?: true;
  /** Prefill engines may take the hosts of decode engines. */
  readonly shared?: true;
}

export const SCENARIOS: readonly Scenario[] = [
  { name: 'a first deploy', operation: 'deploy', target: { prefill: 1, decode: 1, ranks: 2 }, interrupts: false },
  {
    name: 'a deploy that adds a prefill and removes a decode engine',
    operation: 'deploy',
    before: { prefill: 1, decode: 2 },
    target: { prefill: 2, decode: 1 },
    interrupts: false,
  },
  {
    name: 'a deploy whose new prefill engine needs the host of a decode engine that goes',
    operation: 'deploy',
    before: { prefill: 1, decode: 2, shared: true },
    target: { prefill: 2, decode: 1, shared: true },
    interrupts: false,
  },
  {
    name: 'a deploy that replaces the router',
    operation: 'deploy',
    before: { prefill: 1, decode: 1 },
    target: { prefill: 1, decode: 1, policy: 'round_robin' },
    interrupts: true,
  },
  {
    name: 'a destroy',
    operation: 'destroy',
    before: { prefill: 1, decode: 1, ranks: 2 },
    target: { prefill: 1, decode: 1, ranks: 2 },
    interrupts: true,
  },
  {
    name: 'a destroy behind a router of others',
    operation: 'destroy',
    before: { prefill: 1, decode: 1, external: true },
    target: { prefill: 1, decode: 1, external: true },
    interrupts: true,
  },
];

const GPU = { product: 'MI300X', count: 1 };
const ROUTER_PORT = 30000;

/** Hosts that prefill and decode engines may use, by their names' first letter. */
export interface Hosts {
  readonly p: number;
  readonly d: number;
}

/** The smallest cluster with every kind of thing: one GPU a host, and keys in files. */
export function specOf(
  name: string,
  { prefill, decode, ranks = 1, policy = 'cache_aware', external, shared }: Shape,
  { p, d }: Hosts,
): ClusterSpec {
  const named = (role: string, count: number) => Array.from({ length: count }, (_, index) => `${role}${index}`);
  const list = [...named('p', p), ...named('d', d)].map((host, index) => ({
    name: host,
    address: `10.0.${Math.floor(index / 250)}.${1 + (index % 250)}`,
    gpus: GPU,
  }));
  const router = { name: 'router-0', address: '10.0.100.1', gpus: { ...GPU, count: 0 } };
  const key = { fromEnv: 'KEY' };
  const own = (role: string, count: number) => (shared ? {} : { hosts: named(role, count) });
  return aSpec({
    name,
    site: SITE,
    model: { id: 'tandem/tiny-chat', source: 'file:///share/tiny-chat', copy: true, dir: '~/models' },
    engine: { adminKey: key, readyTimeoutSeconds: patientSeconds(20), stopTimeoutSeconds: 1 },
    // Two attempts: a server that is too busy can lose a task, which comes again after its heartbeat time-out.
    hosts: { ssh: { user: 'ops', retrySeconds: 1 }, leaseDir: '~/leases', list: [...list, router] },
    prefill: { replicas: prefill, gpus: GPU, ...own('p', p) },
    decode: { replicas: decode, gpus: GPU, hostsPerReplica: ranks, ...own('d', d) },
    router: external
      ? { external: { url: `http://${router.address}:${ROUTER_PORT}` } }
      : { host: router.name, runtime: 'process', policy, adminKey: key },
    rdma: { testSeconds: 1 },
    acceptance: { warmupRequests: 1, requests: 4, concurrency: 2 },
    upgrade: { settleSeconds: 0, drainTimeoutSeconds: 5 },
  });
}

/** Hosts enough for the shapes of a scenario; where roles share them, none to spare. */
function hostsOf({ before, target }: Scenario): Hosts {
  const shapes = [target, ...(before ? [before] : [])];
  const most = (count: (shape: Shape) => number) => Math.max(...shapes.map(count));
  if (target.shared) return { p: most(({ prefill, decode }) => prefill + decode), d: 0 };
  return { p: most(({ prefill }) => prefill), d: most(({ decode, ranks = 1 }) => decode * ranks) };
}

/** A cluster on hosts of its own, in the state that its scenario begins with. */
export interface Cluster {
  readonly name: string;
  readonly site: MemorySite;
  readonly before: ClusterSpec | undefined;
  readonly target: ClusterSpec;
  /** The number that its next operation gets. */
  readonly next: () => number;
  readonly begin: (spec: ClusterSpec, operation?: 'deploy' | 'destroy') => Promise<Admitted>;
  readonly run: (spec: ClusterSpec, operation?: 'deploy' | 'destroy') => Promise<DeploymentRecord>;
}

let clusters = 0;

/** Brings up what a scenario begins with, under a name of its own. */
export async function stageOf(
  operations: Operations,
  scenario: Scenario,
  { name = `c${(clusters += 1)}` }: { readonly name?: string } = {},
): Promise<Cluster> {
  const target = specOf(name, scenario.target, hostsOf(scenario));
  const before = scenario.before && specOf(name, scenario.before, hostsOf(scenario));
  const site = operations.open(target);
  if (scenario.target.external) addRouter(site, site.hosts.get('router-0')!, ROUTER_PORT);
  let last = 0;
  const begin: Cluster['begin'] = async (spec, operation) => {
    const admitted = await operations.begin(spec, operation);
    last = admitted.deployment;
    return admitted;
  };
  const run: Cluster['run'] = async (spec, operation) => operations.ended(name, await begin(spec, operation));
  if (before) {
    const { outcome, failed } = await run(before);
    if (outcome !== 'succeeded') throw new Error(`${name} could not be set up: ${JSON.stringify(failed)}`);
  }
  return { name, site, before, target, next: () => last + 1, begin, run };
}

/**
 * Clusters that are used by one case after another, since bringing one up takes longer than most cases. One that a
 * case left in another state than it began in is not used again.
 */
export class Clusters {
  readonly #operations: Operations;
  readonly #idle = new Map<Scenario, Cluster[]>();

  constructor(operations: Operations) {
    this.#operations = operations;
  }

  async use<T>(scenario: Scenario, body: (cluster: Cluster) => Promise<T>): Promise<T> {
    const idle = this.#idle.get(scenario) ?? [];
    this.#idle.set(scenario, idle);
    const cluster = idle.pop() ?? (await stageOf(this.#operations, scenario));
    const { site, name } = cluster;
    const state = () => JSON.stringify([numberless(site.picture(), name), digestsOf(site)]);
    const before = state();
    const cached = [...site.hosts.values()].map((at) => ({ at, images: [...at.images], weights: [...at.weights] }));
    const value = await body(cluster);
    site.heal();
    if (state() !== before) return value;
    for (const { at, images, weights } of cached) {
      refill(at.images, images);
      refill(at.weights, weights);
    }
    idle.push(cluster);
    return value;
  }
}

/** What its units are, whoever made them. */
const digestsOf = (site: MemorySite) =>
  [...site.hosts.values()].flatMap((at) => [...at.units.values()].map(({ labels }) => labels['tandem.engine']));

function refill<K, V>(map: Map<K, V>, entries: readonly (readonly [K, V])[]): void {
  map.clear();
  for (const [key, value] of entries) map.set(key, value);
}

/** What a scenario does when nothing goes wrong: the cases are made of it. */
export interface Course {
  readonly scenario: Scenario;
  readonly steps: readonly string[];
  readonly fanOuts: readonly FanOut[];
  /** Activities, by id, that call a driver; and those that change a host through one. */
  readonly driving: ReadonlySet<number>;
  readonly changing: ReadonlySet<number>;
  /** Engines, by "host unit", that run before and after. */
  readonly keeps: readonly string[];
}

export async function courseOf(operations: Operations, scenario: Scenario, as?: string): Promise<Course> {
  const { site, target, name, begin } = await stageOf(operations, scenario, as === undefined ? {} : { name: as });
  const before = enginesOf(site, name);
  const admitted = await begin(target, scenario.operation);
  const { outcome, failed } = await operations.ended(name, admitted);
  if (outcome !== 'succeeded') throw new Error(`${scenario.name} does not succeed: ${JSON.stringify(failed)}`);
  const { workflowId } = admitted;
  const mine = site.driverCalls.filter(({ within }) => within?.operation === workflowId);
  const after = enginesOf(site, name);
  return {
    scenario,
    steps: (await eventually(() => operations.client.progress(workflowId))).steps
      .map((step) => step.name)
      .filter((step) => step !== 'read-spec'), // It reaches no host.
    fanOuts: await operations.fanOuts(workflowId),
    driving: new Set(mine.map(({ within }) => within!.id)),
    changing: new Set(mine.filter(({ changes }) => changes).map(({ within }) => within!.id)),
    keeps: before.filter((engine) => after.includes(engine)),
  };
}

/** Engines that run, as "host unit", the name of the cluster left out. */
export const enginesOf = (site: MemorySite, cluster: string): readonly string[] =>
  [...site.hosts.values()].flatMap((at) =>
    [...at.units.values()]
      .filter((unit) => unit.running && /-(prefill|decode)-/.test(unit.name))
      .map((unit) => `${at.name} ${unit.name.replace(`-${cluster}-`, '-')}`),
  );

export type Picture = ReturnType<MemorySite['picture']>;

/** A picture without the numbers of deployments: another one may have made the same engine. */
export const numberless = (picture: Picture, name: string): Picture =>
  JSON.parse(
    JSON.stringify(picture)
      .replaceAll(new RegExp(`(tandem-${name}-(?:prefill|decode|router)-\\d+)-\\d+`, 'g'), '$1')
      .replaceAll(new RegExp(`/deployments/${name}-\\d+`, 'g'), `/deployments/${name}`)
      .replaceAll(new RegExp(` ${name} (\\S+) \\d+"`, 'g'), ` ${name} $1"`),
  ) as Picture;
