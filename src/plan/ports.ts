import type { ClusterSpec } from '../spec/schema.ts';
import type { Role } from './types.ts';

/** Ports of one engine. SGLang derives more from each, so two engines of a host stay 100 × GPU index apart. */
export interface EnginePorts {
  readonly http: number;
  /** Prefill only. */
  readonly bootstrap?: number;
  /** Only of engines over several hosts. */
  readonly distInit?: number;
}

const STRIDE = 100;

/** The ports of an engine whose lowest GPU is `firstGpu`. */
export function enginePorts(spec: ClusterSpec, role: Role, firstGpu: number): EnginePorts {
  const { http, bootstrap, distInit } = spec.engine.ports;
  const offset = STRIDE * firstGpu;
  return {
    http: http + offset,
    ...(role === 'prefill' && { bootstrap: bootstrap + offset }),
    ...(spec[role].hostsPerReplica > 1 && { distInit: distInit + offset }),
  };
}

/** The ports that one rank listens on. The bootstrap and meeting ports are rank 0's; SGLang answers HTTP on every rank. */
export const rankPorts = ({ http, bootstrap, distInit }: EnginePorts, rank: number): readonly number[] =>
  rank > 0
    ? [http]
    : [http, ...(bootstrap === undefined ? [] : [bootstrap]), ...(distInit === undefined ? [] : [distInit])];

/** Who listens where. */
export interface Listener {
  readonly owner: string;
  readonly host: string;
  /** Address it binds; 0.0.0.0 and :: meet every other. */
  readonly address: string;
  readonly port: number;
}

/** One sentence per port that two listeners of a host want, or that is no port at all. */
export function portClashes(listeners: readonly Listener[]): string[] {
  const clashes: string[] = [];
  const byPort = new Map<string, Listener[]>();
  for (const listener of listeners) {
    const { owner, host, port } = listener;
    if (port > 65_535) clashes.push(`${owner}: port ${port} on ${host} is above 65535`);
    const key = `${host} ${port}`;
    const others = byPort.get(key) ?? [];
    const other = others.find(({ address }) => meets(address, listener.address));
    if (other) clashes.push(`${owner}: port ${port} on ${host} is also that of ${other.owner}`);
    byPort.set(key, [...others, listener]);
  }
  return clashes;
}

const meets = (a: string, b: string): boolean => a === b || [a, b].some((one) => one === '0.0.0.0' || one === '::');
