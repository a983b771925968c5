import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import type { DeploymentRecord } from '../../src/operations/record.ts';
import { patientSeconds } from '../support/patience.ts';
import { aSpec, merge } from '../support/specs.ts';
import { ROUTER_ARGS, SMALL_LOAD } from '../support/stack.ts';
import { allOf, startTemporalStack, type TemporalStack } from '../support/temporal-stack.ts';
import type { LabHostOptions } from './host.ts';
import { ENGINE_IMAGE, ENGINE_MOUNTS, ROUTER_IMAGE } from './images.ts';
import { startLab, type Lab, type LabName } from './lab.ts';

type Overrides = Parameters<typeof aSpec>[0];

/** A lab, and a Temporal server and worker that deploy to it. */
export interface LabCluster {
  readonly lab: Lab;
  readonly stack: TemporalStack;
  /**
   * Two prefill engines on hosts p0 and p1 and one decode engine on d0 or d1, in containers, behind smg on r0, in one
   * too; `overrides` are merged in as `aSpec` does. It lists the hosts that its engines may use, and r0.
   */
  readonly specOf: (name: string, overrides?: Overrides) => ClusterSpec;
  stop(): Promise<void>;
}

const GPUS = { product: 'MI300X', count: 8 };
/** Pace of the engines. */
const TIMING = { startSeconds: 0.05, warmupSeconds: 0.02, secondMs: 100 };
export const engineEnv = (faults: object = {}) => ({ TANDEM_SIM_ENGINE: JSON.stringify({ timing: TIMING, faults }) });
const NONE = { gpus: { count: 0 } };
const HOSTS: readonly LabHostOptions[] = [
  { name: 'p0' },
  { name: 'p1' },
  { name: 'd0' },
  { name: 'd1' },
  { name: 'r0', images: ['router'], machine: NONE },
];

/** Brings up the five hosts of a spec, and more. */
export async function startCluster(name: LabName, more: readonly LabHostOptions[] = []): Promise<LabCluster> {
  const hosts = [...HOSTS, ...more];
  const lab = await startLab(name, hosts);
  const home = await mkdtemp(join(tmpdir(), 'tandem-lab-'));
  const clear = [() => rm(home, { recursive: true, force: true }), () => lab.stop()];
  try {
    const model = `import('/opt/tandem/dist/src/sim/models.js').then(({ writeModel }) => writeModel('/srv/tiny-chat', 'tiny-chat'))`;
    await Promise.all(lab.hosts.map((host) => host.run(['node', '-e', model])));
    const stack = await startTemporalStack(home);
    const gpusOf = (host: string) =>
      hosts.find((one) => one.name === host)?.machine?.gpus?.count === 0 ? { ...GPUS, count: 0 } : GPUS;
    const base: Overrides = {
      model: { id: 'tandem/tiny-chat', source: 'file:///srv/tiny-chat', copy: true, dir: '~/models' },
      engine: {
        image: ENGINE_IMAGE,
        pull: { policy: 'never' },
        mounts: [...ENGINE_MOUNTS],
        ulimits: {}, // A container may not raise memlock here.
        env: engineEnv(),
        readyTimeoutSeconds: patientSeconds(60),
        stopTimeoutSeconds: 5,
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
        list: lab.hosts.map((host) => ({ name: host.name, address: host.address, gpus: gpusOf(host.name) })),
      },
      prefill: { replicas: 2, gpus: GPUS, hosts: ['p0', 'p1'] },
      decode: { replicas: 1, gpus: GPUS, hosts: ['d0', 'd1'] },
      rdma: { testSeconds: 1 },
      router: { host: 'r0', runtime: 'docker', image: ROUTER_IMAGE, port: 30000, args: ROUTER_ARGS },
      checks: { waive: [{ check: 'host-memlock', reason: 'this machine allows no more' }] },
      acceptance: SMALL_LOAD,
      upgrade: { drainTimeoutSeconds: patientSeconds(10), settleSeconds: 1 },
    };
    return {
      lab,
      stack,
      specOf: (cluster, overrides = {}) => {
        const spec = aSpec(merge({ ...base, name: cluster }, overrides) as Overrides);
        const used = [...(spec.prefill.hosts ?? []), ...(spec.decode.hosts ?? []), 'r0'];
        return { ...spec, hosts: { ...spec.hosts, list: spec.hosts.list.filter(({ name: of }) => used.includes(of)) } };
      },
      stop: () => allOf([() => stack.stop(), ...clear]),
    };
  } catch (error) {
    await allOf(clear);
    throw error;
  }
}

/** How an operation ended, and why where it failed: a difference that a reader can do something with. */
export async function told(record: Promise<DeploymentRecord>): Promise<string> {
  const { outcome, failed, leftBehind } = await record;
  return [outcome, ...(failed ? [failed.step, failed.message, failed.evidence] : []), ...leftBehind].join('; ');
}
