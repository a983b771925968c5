import { specDigest } from '../src/spec/canonical.ts';
import { loadSpec } from '../src/spec/diagnostics.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';

/** Hosts of a loopback network; one that has more than these goes on in the next. */
const HOSTS_OF_NETWORK = 250;
/** Sizes that share networks: hosts of others have addresses of their own, so that two runs never meet. */
const SIZES_OF_NETWORK = 4;
/** Two of a host's eight: at 256 hosts some 1,600 tests at once would measure how two cores start processes. */
const RDMA_DEVICES = ['bnxt_re0', 'bnxt_re1'];
/** Prefill engines of ten engines: most clusters have more decode than prefill. */
const PREFILL_OF_TEN = 4;

/** Where the simulated hosts let in. */
export interface Login {
  readonly identityFile: string;
  readonly knownHostsFile: string;
}

/** A spec for `hosts` hosts of eight GPUs: one engine on each, apart from the last, which has the router. */
export function benchSpec(
  cluster: string,
  hosts: number,
  { identityFile, knownHostsFile }: Login,
): { readonly spec: ClusterSpec; readonly digest: string } {
  const engines = hosts - 1;
  const prefill = Math.max(1, Math.round((engines * PREFILL_OF_TEN) / 10));
  const list = Array.from({ length: hosts }, (_, index) => ({
    name: index < engines ? `gpu-${index}` : 'router-0',
    address: addressOf(index, hosts),
    gpus: { product: 'MI300X', count: index < engines ? 8 : 0 },
  }));
  // JSON is YAML: the spec goes through the loader that users' files go through, with all its rules and defaults.
  const text = JSON.stringify({
    specVersion: 1,
    name: cluster,
    model: { id: 'tandem/tiny-chat', source: 'file://~/share/tiny-chat', copy: true, dir: '~/models' },
    engine: { image: 'rocm/sgl-dev:v0.5.23-rocm720-mi30x', args: { 'mem-fraction-static': 0.8 } },
    hosts: { ssh: { user: 'ops', port: 2222, identityFile, knownHostsFile }, leaseDir: '~/leases', list },
    prefill: { replicas: prefill, gpus: { product: 'MI300X', count: 8 } },
    decode: { replicas: engines - prefill, gpus: { product: 'MI300X', count: 8 } },
    rdma: { devices: RDMA_DEVICES },
    router: { host: 'router-0', port: 30000, runtime: 'process' },
  });
  const { spec, diagnostics } = loadSpec(text, cluster);
  if (!spec) throw new Error(`the bench's own spec is refused: ${JSON.stringify(diagnostics)}`);
  return { spec, digest: specDigest(spec) };
}

const addressOf = (index: number, hosts: number): string =>
  [
    127,
    88 + Math.floor(index / HOSTS_OF_NETWORK),
    Math.floor(hosts / SIZES_OF_NETWORK),
    1 + (index % HOSTS_OF_NETWORK),
  ].join('.');
