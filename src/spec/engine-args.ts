import { canonicalFlag, engineVersion, flagList, newestFlagList } from './flags.ts';
import type { FlagList } from './flags.ts';
import type { ClusterSpec, FlagValue } from './schema.ts';
import type { Path } from './violation.ts';

export type Role = 'prefill' | 'decode';

/** Flags that both roles must share, since they shape the KV cache and its way from one to the other. */
export const KV_FLAGS = ['dtype', 'kv-cache-dtype', 'page-size', 'disaggregation-transfer-backend'] as const;

/** One flag of a role's engines, and the key in the spec that it comes from. */
export interface EngineArg {
  readonly value: FlagValue;
  readonly path: Path;
}

/** The list by which a role's flags are named: that of its version, else the newest. */
export const engineFlagList = (spec: ClusterSpec, role: Role): FlagList =>
  flagList('sglang', engineVersion(spec, role).version) ?? newestFlagList('sglang');

/** The args of a role's engines by canonical flag name: engine.args, over which the role's own win. */
export function engineArgs(spec: ClusterSpec, role: Role): ReadonlyMap<string, EngineArg> {
  const list = engineFlagList(spec, role);
  const args = new Map<string, EngineArg>();
  for (const section of ['engine', role] as const) {
    for (const [name, value] of Object.entries(spec[section].args)) {
      args.set(canonicalFlag(list, name), { value, path: [section, 'args', name] });
    }
  }
  return args;
}

/** How the GPUs of one engine are shared out. */
export interface ParallelSizes {
  /** GPUs of one engine, on all of its hosts. */
  readonly gpus: number;
  readonly tp: number;
  readonly pp: number;
  readonly dp: number;
  /** Data-parallel attention: the dp ranks share the tp GPUs instead of having tp GPUs each. */
  readonly dpAttention: boolean;
}

/** The tensor-parallel size is what args say, else all GPUs of the engine shared out over pipeline and data ranks. */
export function parallelSizes(spec: ClusterSpec, role: Role): ParallelSizes {
  const args = engineArgs(spec, role);
  const size = (flag: string) => {
    const value = args.get(flag)?.value;
    return value === undefined || value === false ? undefined : Number(value);
  };
  const { gpus, hostsPerReplica } = spec[role];
  const total = gpus.count * hostsPerReplica;
  const pp = size('pp-size') ?? 1;
  const dp = size('dp-size') ?? size('attn-dp-size') ?? 1;
  const dpAttention = args.get('enable-dp-attention')?.value === true || (size('attn-dp-size') ?? 1) > 1;
  const tp = size('tp-size') ?? total / (pp * (dpAttention ? 1 : dp));
  return { gpus: total, tp, pp, dp, dpAttention };
}
