import { engineArgs, engineFlagList, KV_FLAGS, parallelSizes } from '../spec/engine-args.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import { type Args, argv } from './args.ts';

type Role = 'prefill' | 'decode';

/** What the plan decides of one rank of an engine. */
export interface EngineLaunch {
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

/**
 * How the ranks of a role's engines are started: program, what Tandem decides, then the user's flags in the order of
 * the alphabet, so that the order of keys in a file decides nothing. "{config}" stands for the file with the keys.
 */
export function engineCommand(spec: ClusterSpec, role: Role): (launch: EngineLaunch) => readonly string[] {
  const { flags } = engineFlagList(spec, role);
  const args = roleArgs(spec, role);
  const { tp } = parallelSizes(spec, role);
  return ({ modelPath, address, ports, rank, rank0Address, firstGpu, nics }) => {
    const planned: Args = {
      'model-path': modelPath,
      'served-model-name': spec.model.id,
      'disaggregation-mode': role,
      'disaggregation-transfer-backend': backend(spec, args),
      host: address,
      port: ports.http,
      ...(ports.bootstrap !== undefined && { 'disaggregation-bootstrap-port': ports.bootstrap }),
      ...(nics.length > 0 && { 'disaggregation-ib-device': nics.join(',') }),
      ...(ports.distInit !== undefined && {
        nnodes: spec[role].hostsPerReplica,
        'node-rank': rank,
        'dist-init-addr': hostPort(rank0Address, ports.distInit),
      }),
      ...(firstGpu > 0 && { 'base-gpu-id': firstGpu }),
      tp,
      'enable-metrics': true,
      ...((spec.engine.apiKey ?? spec.engine.adminKey) && { config: '{config}' }),
    };
    const users = Object.fromEntries(
      Object.entries(args)
        .filter(([name]) => !(name in planned) && name !== 'tp-size')
        .toSorted(([a], [b]) => (a < b ? -1 : 1)),
    );
    return [...spec.engine.command, ...argv(planned, flags), ...argv(users, flags)];
  };
}

/** The environment of one rank: what the transport needs, then the user's, which wins. */
export function engineEnv(
  spec: ClusterSpec,
  { role, address, nics }: { readonly role: Role; readonly address: string; readonly nics: readonly string[] },
): Readonly<Record<string, string>> {
  const { transport, gidIndex } = spec.rdma;
  const by = backend(spec, roleArgs(spec, role));
  return {
    // SGLang would announce the address of the default route to its peers, and end where there is none. It takes no names.
    ...(isIp(address) && { SGLANG_HOST_IP: address }),
    ...(by === 'mooncake' && transport === 'tcp' && { MC_FORCE_TCP: '1' }),
    ...(by === 'mooncake' && transport === 'rdma' && gidIndex !== 'auto' && { MC_GID_INDEX: String(gidIndex) }),
    // NIXL reads no --disaggregation-ib-device; it is UCX below that chooses.
    ...(by === 'nixl' && nics.length > 0 && { UCX_NET_DEVICES: nics.map((nic) => `${nic}:1`).join(',') }),
    ...spec.engine.env,
    ...spec[role].env,
  };
}

const isIp = (address: string) => /^\d+(\.\d+){3}$/.test(address) || address.includes(':');

/** What both roles must share for one to read the KV pages of the other; null stands for SGLang's default. */
export function sharedFlags(spec: ClusterSpec, role: Role): Readonly<Record<string, unknown>> {
  const args = roleArgs(spec, role);
  return {
    ...Object.fromEntries(KV_FLAGS.map((name) => [name, args[name] ?? null])),
    'disaggregation-transfer-backend': backend(spec, args),
    transport: spec.rdma.transport,
  };
}

const backend = ({ rdma }: ClusterSpec, args: Args): string =>
  String(args['disaggregation-transfer-backend'] ?? rdma.backend);

const roleArgs = (spec: ClusterSpec, role: Role): Args =>
  Object.fromEntries([...engineArgs(spec, role)].map(([name, { value }]) => [name, value]));

/** "10.0.0.1:20000", an IPv6 address in brackets. */
export const hostPort = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
