import { join } from 'node:path';
import { execa } from 'execa';
import type { ClusterSpec } from '../../../src/spec/schema.ts';
import { PROJECT_THERE } from '../../lab/host.ts';
import { ROUTER_IMAGE } from '../../lab/images.ts';
import { startLab, type Lab, type LabName } from '../../lab/lab.ts';
import { aSpec } from '../../support/specs.ts';
import { pythonOf, type Environment } from './environments.ts';

/** Lab hosts that have the Python of one SGLang, one GPU that is made up, and its engines as processes. */

/** One a host: SGLang on CPU takes the number of a GPU for one of a NUMA node. */
const ONE = { product: 'MI300X', count: 1 };
/** Limit of a deploy, which waits for engines that import for a minute. */
export const START_MS = 600_000;

/** Brings up the hosts of the engines by name, and r0 for the router. */
export async function engineLab(name: LabName, environment: Environment, engines: readonly string[]): Promise<Lab> {
  const python = pythonOf(environment);
  await execa(python, [join(import.meta.dirname, 'model.py'), join(environment.folder, 'model')]);
  const { stdout: prefix } = await execa(python, ['-c', 'import sys; print(sys.base_prefix)']);
  const shared = prefix.startsWith('/usr') ? [environment.folder] : [environment.folder, prefix];
  return await startLab(name, [
    ...engines.map((each) => ({ name: each, images: [], shared, machine: { gpus: { count: 1 } } })),
    { name: 'r0', images: ['router'], machine: { gpus: { count: 0 } } },
  ]);
}

/** One prefill engine on p0, decode engines on the others, a router on r0. */
export function engineSpec(lab: Lab, environment: Environment, name: string): ClusterSpec {
  const decode = lab.hosts.map((host) => host.name).filter((each) => each.startsWith('d'));
  return aSpec({
    name,
    model: { id: 'tandem/tiny-qwen', source: `file://${environment.folder}/model`, copy: false },
    engine: {
      image: undefined,
      runtime: 'process',
      version: environment.version,
      command: [`${environment.folder}/bin/python3`, '-m', 'sglang.launch_server'],
      args: {
        device: 'cpu',
        'load-format': 'dummy',
        'attention-backend': 'torch_native',
        'disable-radix-cache': true,
        'disable-overlap-schedule': true,
        'disable-cuda-graph': true,
        'max-total-tokens': 4096,
        'sleep-on-idle': true,
        'log-requests': true,
        'log-requests-level': 1,
        'log-requests-format': 'json',
      },
      env: {
        PYTHONPATH: `${PROJECT_THERE}/${environment.without}`,
        MOONCAKE_PROTOCOL: 'tcp',
        OMP_NUM_THREADS: '1',
        ...environment.env,
      },
      readyTimeoutSeconds: 400,
      stopTimeoutSeconds: 60,
    },
    hosts: {
      ssh: {
        user: lab.user,
        identityFile: lab.identityFile,
        knownHostsFile: lab.knownHostsFile,
        configFile: lab.configFile,
        retrySeconds: 5,
      },
      leaseDir: '~/leases',
      list: lab.hosts.map((host) => ({
        name: host.name,
        address: host.address,
        gpus: host.name === 'r0' ? { ...ONE, count: 0 } : ONE,
      })),
    },
    prefill: { replicas: 1, gpus: ONE, hosts: ['p0'] },
    decode: {
      replicas: decode.length,
      gpus: ONE,
      hosts: decode,
      // On CPU nothing of what is retracted can be kept, which 0.5.18 and later must be told.
      ...(environment.version === '0.5.10.post1'
        ? {}
        : { args: { 'disaggregation-decode-retraction-backup': 'none' } }),
    },
    rdma: { transport: 'tcp' },
    router: { host: 'r0', runtime: 'docker', image: ROUTER_IMAGE, port: 30000 },
    checks: { waive: [{ check: 'host-memlock', reason: 'this machine allows no more' }] },
    acceptance: { warmupRequests: 2, requests: 12, concurrency: 2, outputTokens: 8, promptTokens: 8 },
    upgrade: { drainTimeoutSeconds: 60, settleSeconds: 1 },
  });
}

/** Caches and unnamed temporary files that SGLang and its libraries leave wherever they ran. */
export const ITS_OWN =
  / files \+ (\/home\/ops\/\.cache(\/sglang(\/\S*)?)?|\/tmp\/tmp\w{8}(\/\S*)?|\/tmp\/ops(\/cutlass_python_cache(\/\S*)?)?|\/tmp\/torchinductor_ops) /;
