import type { ContainerPlan, EnginePlan, ManagedRouterPlan, Role } from '../../src/plan/types.ts';
import { patientSeconds } from './patience.ts';

/** A row of the plan for one engine on one host, as a process; `address` is its host's. */
export function anEngine(
  role: Role,
  {
    host,
    address,
    port = 30000,
    bootstrapPort = 8998,
    ...rest
  }: Partial<EnginePlan> & { host: string; address: string; port?: number },
): EnginePlan {
  const name = rest.name ?? `tandem-c-${role}-${rest.index ?? 0}-1`;
  return {
    name,
    role,
    index: 0,
    deployment: 1,
    kvGeneration: 'kv-0123456789ab',
    digest: `digest-of-${name}`,
    action: 'create',
    proven: false,
    replaces: [],
    runtime: 'process',
    url: `http://${address}:${port}`,
    host,
    httpPort: port,
    ...(role === 'prefill' ? { bootstrapPort } : {}),
    servedModelName: 'm',
    ranks: [
      {
        rank: 0,
        host,
        gpus: [{ index: 0, pci: '0000:05:00.0' }],
        nics: ['bnxt_re0'],
        ports: [port],
        argv: ['python3', '-m', 'sglang.launch_server', '--model-path', '~/models/m', '--port', String(port)],
        env: {},
        secretEnv: {},
      },
    ],
    readyTimeoutSeconds: patientSeconds(60),
    stopTimeoutSeconds: 5,
    ...rest,
  };
}

export function aRouter({
  host,
  address,
  port = 30000,
  ...rest
}: Partial<ManagedRouterPlan> & { host: string; address: string; port?: number }): ManagedRouterPlan {
  return {
    kind: 'managed',
    name: 'tandem-c-router-0-1',
    deployment: 1,
    digest: 'digest-of-router',
    action: 'create',
    replaces: [],
    host,
    port,
    url: `http://${address}:${port}`,
    implementation: 'smg',
    version: '1.13.0',
    pairingKeys: true,
    runtime: 'process',
    argv: [
      `${process.cwd()}/.venv/bin/python`,
      '-m',
      'smg.launch_router',
      '--pd-disaggregation',
      '--host',
      address,
      '--port',
      String(port),
      '--policy',
      'cache_aware',
      '--worker-startup-check-interval',
      '1',
      '--worker-startup-timeout-secs',
      '110',
      '--prometheus-host',
      address,
      '--prometheus-port',
      String(port - 1000),
    ],
    env: {},
    readyTimeoutSeconds: patientSeconds(60),
    ...rest,
  };
}

/** A container that asks for nothing but its image. */
export const aContainer = (overrides: Partial<ContainerPlan> & Pick<ContainerPlan, 'image'>): ContainerPlan => ({
  devices: [],
  groups: [],
  capabilities: [],
  securityOptions: [],
  privileged: false,
  ulimits: {},
  mounts: [],
  hostIpc: true,
  shmSizeGiB: 1,
  ...overrides,
});
