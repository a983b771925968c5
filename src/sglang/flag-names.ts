import type { ClusterSpec, ManagedRouterSpec } from '../spec/schema.ts';
import type { FlagNames } from './args.ts';

/** What is known of the flags of the spec's engines. */
export const engineFlags = (_spec: ClusterSpec): FlagNames => UNKNOWN;

/** What is known of the flags of a router. */
export const routerFlags = (_router: ManagedRouterSpec): FlagNames => UNKNOWN;

const ALIASES: Readonly<Record<string, string>> = { tp: 'tp-size', 'tensor-parallel-size': 'tp-size' };

const UNKNOWN: FlagNames = { canonical: (name) => ALIASES[name] ?? name, takesMany: () => true };
