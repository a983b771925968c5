import { enginePorts } from '../plan/ports.ts';
import { enginesOf } from '../plan/units.ts';
import type { EnginePlan, Lease, Plan, RankPlan, Role } from '../plan/types.ts';
import type { ClusterSpec, HostSpec } from '../spec/schema.ts';

/** What a plan wants of one host: all that the host checks hold its facts against. Plain JSON. */
export interface HostDemand {
  readonly host: string;
  readonly cluster: string;
  /** Absent on a host that only routes. */
  readonly gpus?: GpuDemand;
  /** RDMA devices that the plan uses here; empty without a plan: then those of `rdma.devices`. */
  readonly nics: readonly string[];
  /** TCP ports that something will listen on and that must be free before. */
  readonly ports: readonly { readonly port: number; readonly use: string }[];
  readonly rocm: ClusterSpec['rocm'];
  readonly rdma: Pick<ClusterSpec['rdma'], 'transport' | 'devices' | 'gidIndex' | 'minLinkGbps' | 'providerLibrary'>;
  /** How engines run here; absent on a host that only routes. */
  readonly engineRuntime?: 'docker' | 'process';
  /** Whether anything here needs the Docker Engine. */
  readonly docker: boolean;
  /** The folder that weights are copied to; absent when nothing is copied. */
  readonly weights?: { readonly dir: string; readonly needGiB?: number };
  /** Leases seen on the host; those of `cluster` itself are not "in use". */
  readonly leases: readonly Lease[];
  readonly waive: ClusterSpec['checks']['waive'];
}

export interface GpuDemand {
  readonly product: string;
  /** GPUs that the spec says the host has. */
  readonly count: number;
  /** Indices that engines of the plan are on. */
  readonly planned: readonly number[];
  /** Of these, the ones where engines of this cluster still are: kept, or removed before anything starts. */
  readonly serving: readonly number[];
}

export interface DemandOptions {
  /** Size of the weights in GiB, where it is known. */
  readonly weightsGiB?: number;
  /** Leases by host. */
  readonly leases?: Readonly<Record<string, readonly Lease[]>>;
}

/** What `plan` wants of each host that it puts an engine or the router on, sorted as the plan's hosts are. */
export function demandsOf(spec: ClusterSpec, plan: Plan, options: DemandOptions = {}): readonly HostDemand[] {
  const engines = enginesOf(plan);
  return plan.hosts.flatMap(({ name }) => {
    const entry = spec.hosts.list.find((host) => host.name === name);
    const ranks = engines.flatMap((engine) =>
      engine.ranks.filter(({ host }) => host === name).map((rank) => ({ engine, rank })),
    );
    const router = plan.router.kind === 'managed' && plan.router.host === name ? plan.router : undefined;
    if (!entry || (ranks.length === 0 && !router)) return [];
    const staged = plan.staging.some(({ host, copy }) => host === name && copy);
    const serving = servingOn(name, plan, ranks);
    const starting = ranks.filter(({ rank }) => rank.gpus.every(({ index }) => !serving.includes(index)));
    return [
      {
        ...common(spec, name, options),
        ...(ranks.length === 0
          ? {}
          : {
              engineRuntime: spec.engine.runtime,
              gpus: {
                product: entry.gpus.product,
                count: entry.gpus.count,
                planned: ascending(ranks.flatMap(({ rank }) => rank.gpus.map(({ index }) => index))),
                serving,
              },
            }),
        nics: [...new Set(ranks.flatMap(({ rank }) => rank.nics))],
        ports: [
          ...starting.flatMap(({ engine, rank }) => rank.ports.map((port) => ({ port, use: engine.name }))),
          ...(router?.action === 'create' ? [{ port: router.port, use: router.name }] : []),
        ],
        docker: ranks.some(({ engine }) => engine.runtime === 'docker') || router?.runtime === 'docker',
        ...(staged ? { weights: weightsOf(spec, options) } : {}),
      },
    ];
  });
}

/** GPUs with an engine that stays, is replaced or goes first: judged by passive facts, never as "in use". */
function servingOn(
  host: string,
  plan: Plan,
  ranks: readonly { readonly engine: EnginePlan; readonly rank: RankPlan }[],
): readonly number[] {
  const own = ranks
    .filter(({ engine }) => engine.action !== 'create')
    .flatMap(({ rank }) => rank.gpus.map(({ index }) => index));
  const going = plan.removals
    .filter(({ first }) => first)
    .flatMap(({ parts }) => parts.filter((part) => part.host === host).flatMap(({ gpus }) => gpus));
  const planned = new Set(ranks.flatMap(({ rank }) => rank.gpus.map(({ index }) => index)));
  return ascending([...own, ...going].filter((index) => planned.has(index)));
}

/**
 * What the spec would want of a host before there is a plan, as when a capture is judged: every GPU of the host, and
 * the ports of the engines that would fill it, by the roles that its product fits.
 */
export function demandWithoutPlan(spec: ClusterSpec, host: HostSpec, options: DemandOptions = {}): HostDemand {
  const roles = (['prefill', 'decode'] as const).filter((role) => fits(spec, role, host));
  const router = 'host' in spec.router && spec.router.host === host.name ? spec.router : undefined;
  const ports = roles.flatMap((role) => portsOf(spec, role, host));
  return {
    ...common(spec, host.name, options),
    ...(roles.length === 0
      ? {}
      : {
          engineRuntime: spec.engine.runtime,
          gpus: {
            product: host.gpus.product,
            count: host.gpus.count,
            planned: Array.from({ length: host.gpus.count }, (_, index) => index),
            serving: [],
          },
        }),
    nics: [],
    ports: [
      ...ports.filter(({ port }, at) => ports.findIndex((other) => other.port === port) === at),
      ...(router ? [{ port: router.port, use: 'the router' }] : []),
    ],
    docker: (roles.length > 0 && spec.engine.runtime === 'docker') || router?.runtime === 'docker',
    ...(roles.length > 0 && copies(spec) ? { weights: weightsOf(spec, options) } : {}),
  };
}

const fits = (spec: ClusterSpec, role: Role, { name, gpus }: HostSpec): boolean =>
  gpus.count >= spec[role].gpus.count &&
  gpus.product === spec[role].gpus.product &&
  (spec[role].hosts?.includes(name) ?? true);

function portsOf(spec: ClusterSpec, role: Role, host: HostSpec): HostDemand['ports'] {
  const size = spec[role].gpus.count;
  return Array.from({ length: Math.floor(host.gpus.count / size) }, (_, engine) => engine * size).flatMap((firstGpu) =>
    Object.entries(enginePorts(spec, role, firstGpu)).map(([kind, port]: [string, number]) => ({
      port,
      use: `${kind} of a ${role} engine`,
    })),
  );
}

function common(spec: ClusterSpec, host: string, { leases = {} }: DemandOptions) {
  const { transport, devices, gidIndex, minLinkGbps, providerLibrary } = spec.rdma;
  return {
    host,
    cluster: spec.name,
    rocm: spec.rocm,
    rdma: { transport, devices, gidIndex, minLinkGbps, providerLibrary },
    leases: leases[host] ?? [],
    waive: spec.checks.waive,
  };
}

const copies = ({ model }: ClusterSpec): boolean => model.copy || !model.source.startsWith('file://');

const weightsOf = (spec: ClusterSpec, { weightsGiB }: DemandOptions): { dir: string; needGiB?: number } => ({
  dir: spec.model.dir,
  ...(weightsGiB === undefined ? {} : { needGiB: weightsGiB }),
});

const ascending = (numbers: readonly number[]): readonly number[] => [...new Set(numbers)].toSorted((a, b) => a - b);
