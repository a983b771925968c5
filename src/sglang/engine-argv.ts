import type { ClusterSpec } from '../spec/schema.ts';
import { type Args, argv, mergeArgs } from './args.ts';
import { engineFlags } from './flag-names.ts';

/** What the plan decides of one rank of an engine. */
export interface EngineLaunch {
  readonly role: 'prefill' | 'decode';
  readonly modelPath: string;
  /** Address that this rank binds. */
  readonly address: string;
  readonly ports: { readonly http: number; readonly bootstrap?: number; readonly distInit?: number };
  readonly rank: number;
  /** Address of rank 0, where the ranks of an engine over several hosts meet. */
  readonly rank0Address: string;
  readonly firstGpu: number;
  readonly nics: readonly string[];
}

/** The command line of one rank: what Tandem decides first, then the user's flags. "{config}" stands for the file with the keys. */
export function engineArgv(spec: ClusterSpec, launch: EngineLaunch): readonly string[] {
  const { role, modelPath, address, ports, rank, rank0Address, firstGpu, nics } = launch;
  const names = engineFlags(spec);
  const args = roleArgs(spec, role);
  const { hostsPerReplica } = spec[role];
  const planned: Args = {
    'model-path': modelPath,
    'served-model-name': spec.model.id,
    'disaggregation-mode': role,
    'disaggregation-transfer-backend': spec.rdma.backend,
    host: address,
    port: ports.http,
    ...(ports.bootstrap !== undefined && { 'disaggregation-bootstrap-port': ports.bootstrap }),
    ...(nics.length > 0 && { 'disaggregation-ib-device': nics.join(',') }),
    ...(ports.distInit !== undefined && {
      nnodes: hostsPerReplica,
      'node-rank': rank,
      'dist-init-addr': hostPort(rank0Address, ports.distInit),
    }),
    ...(firstGpu > 0 && { 'base-gpu-id': firstGpu }),
    'enable-metrics': true,
    ...((spec.engine.apiKey ?? spec.engine.adminKey) && { config: '{config}' }),
  };
  const users = Object.fromEntries(Object.entries(args).filter(([name]) => !(name in planned)));
  const size: Args = 'tp-size' in args ? {} : { tp: tensorParallel(spec, role, args) };
  return [...spec.engine.command, ...argv({ ...planned, ...size }, names), ...argv(users, names)];
}

/** The environment of one rank: what the transport needs, then the user's, which wins. */
export function engineEnv(
  spec: ClusterSpec,
  { role, fabricAddress }: Pick<EngineLaunch, 'role'> & { readonly fabricAddress?: string },
): Readonly<Record<string, string>> {
  const { transport, backend, gidIndex } = spec.rdma;
  return {
    // On a host of several networks SGLang would announce the address of the default route to its peers.
    ...(fabricAddress !== undefined && { SGLANG_HOST_IP: fabricAddress }),
    ...(backend === 'mooncake' && transport === 'tcp' && { MC_FORCE_TCP: '1' }),
    ...(backend === 'mooncake' && transport === 'rdma' && gidIndex !== 'auto' && { MC_GID_INDEX: String(gidIndex) }),
    ...spec.engine.env,
    ...spec[role].env,
  };
}

/** The flags that both roles must share for one to read the KV pages of the other; null stands for SGLang's default. */
export function sharedFlags(spec: ClusterSpec, role: 'prefill' | 'decode'): Readonly<Record<string, unknown>> {
  const args = roleArgs(spec, role);
  return {
    backend: spec.rdma.backend,
    transport: spec.rdma.transport,
    ...Object.fromEntries(['dtype', 'kv-cache-dtype', 'page-size'].map((name) => [name, args[name] ?? null])),
  };
}

const roleArgs = (spec: ClusterSpec, role: 'prefill' | 'decode'): Args =>
  mergeArgs(engineFlags(spec), spec.engine.args, spec[role].args);

/** One tensor-parallel rank per GPU, divided by the pipeline stages where there are any. */
function tensorParallel(spec: ClusterSpec, role: 'prefill' | 'decode', args: Args): number {
  const { gpus, hostsPerReplica } = spec[role];
  const stages = Number(args['pp-size'] ?? 1);
  return Math.max(1, Math.floor((gpus.count * hostsPerReplica) / stages));
}

/** "10.0.0.1:20000", an IPv6 address in brackets. */
export const hostPort = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
