import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import type { DeploymentRecord } from '../../workflows/messages.ts';
import { aSpec } from '../support/specs.ts';
import { SMALL_LOAD } from '../support/stack.ts';
import { startTemporalStack, type TemporalStack } from '../support/temporal-stack.ts';
import { ENGINE_IMAGE, ENGINE_MOUNTS, startLab, whyNoLab, type Lab } from './lab.ts';
import { keptImages, labPicture } from './picture.ts';

/** The product on real OpenSSH, Docker Engine and smg; only GPUs, RDMA and SGLang itself are not there. */
const why = await whyNoLab();
const suite = why === undefined ? describe : describe.skip;
const HOSTS = ['p0', 'p1', 'd0', 'd1', 'r0'];

let lab: Lab;
let stack: TemporalStack;
let home: string;
beforeAll(async () => {
  if (why !== undefined) return;
  lab = await startLab(HOSTS.map((name) => (name === 'r0' ? { name, machine: { gpus: { count: 0 } } } : { name })));
  const model = `import('/opt/tandem/dist/src/sim/models.js').then(({ writeModel }) => writeModel('/srv/tiny-chat', 'tiny-chat'))`;
  await Promise.all(lab.hosts.map((host) => host.run(['node', '-e', model])));
  home = await mkdtemp(join(tmpdir(), 'tandem-lab-'));
  stack = await startTemporalStack(home);
}, 120_000);
afterAll(async () => {
  await stack?.stop();
  await lab?.stop();
  if (home) await rm(home, { recursive: true, force: true });
}, 120_000);

const GPUS = { product: 'MI300X', count: 8 };
const specOf = (name: string, decode = 2): ClusterSpec =>
  aSpec({
    name,
    model: { id: 'tandem/tiny-chat', source: 'file:///srv/tiny-chat', copy: true, dir: '~/models' },
    engine: {
      image: ENGINE_IMAGE,
      pull: { policy: 'never' },
      mounts: [...ENGINE_MOUNTS],
      ulimits: {}, // A container may not raise memlock here.
      env: {
        TANDEM_SIM_ENGINE: JSON.stringify({ timing: { startSeconds: 0.05, warmupSeconds: 0.02, secondMs: 100 } }),
      },
      readyTimeoutSeconds: 60,
      stopTimeoutSeconds: 5,
    },
    hosts: {
      ssh: {
        user: lab.user,
        identityFile: lab.identityFile,
        knownHostsFile: lab.knownHostsFile,
        configFile: lab.configFile,
      },
      leaseDir: '~/leases',
      list: HOSTS.map((host) => ({
        name: host,
        address: lab.host(host).address,
        gpus: host === 'r0' ? { ...GPUS, count: 0 } : GPUS,
      })),
    },
    prefill: { replicas: 2, gpus: GPUS, hosts: ['p0', 'p1'] },
    decode: { replicas: decode, gpus: GPUS, hosts: ['d0', 'd1'] },
    rdma: { testSeconds: 1 },
    router: {
      host: 'r0',
      runtime: 'process',
      port: 30000,
      command: [
        'env',
        'PYTHONPATH=/opt/tandem/.venv/lib/python3.11/site-packages',
        '/usr/bin/python3',
        '-m',
        'smg.launch_router',
      ],
    },
    checks: { waive: [{ check: 'host-memlock', reason: 'this machine allows no more' }] },
    acceptance: SMALL_LOAD,
    upgrade: { drainTimeoutSeconds: 10, settleSeconds: 1 },
  });

/** How an operation ended, and why where it failed: a difference that a reader can do something with. */
const told = async (record: Promise<DeploymentRecord>): Promise<string> => {
  const { outcome, failed, leftBehind } = await record;
  return [outcome, ...(failed ? [failed.step, failed.message, failed.evidence] : []), ...leftBehind].join('; ');
};

suite(`a cluster on real hosts${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it('is deployed, answers, gains and loses an engine, and leaves every host as it was when it is destroyed', async () => {
    // Standing folders of all clusters are made by the first one.
    expect(await told(stack.run(specOf('first')))).toBe('succeeded');
    expect(await told(stack.run(specOf('first'), 'destroy'))).toBe('succeeded');
    const before = await labPicture(lab);

    expect(await told(stack.run(specOf('lab', 1)))).toBe('succeeded');
    expect(await told(stack.run(specOf('lab', 2)))).toBe('succeeded');
    const { serving } = await stack.client.record('lab');
    expect(
      serving!.engines
        .map(({ hosts }) => hosts)
        .flat()
        .toSorted(),
    ).toEqual(['d0', 'd1', 'p0', 'p1']);
    expect(await told(stack.run(specOf('lab', 2)))).toBe('unchanged');
    expect(await told(stack.run(specOf('lab', 1)))).toBe('succeeded');
    expect(await told(stack.run(specOf('lab', 1), 'destroy'))).toBe('succeeded');
    expect(await labPicture(lab)).toEqual(before);
    expect(await keptImages(lab.host('p0'))).toContain(ENGINE_IMAGE);
  }, 400_000);
});
