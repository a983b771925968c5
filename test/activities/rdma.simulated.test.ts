import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createRdmaActivities } from '../../activities/rdma.ts';
import { askHost, createRocmActivities } from '../../activities/rocm.ts';
import { demandWithoutPlan } from '../../src/checks/demand.ts';
import { createDrivers } from '../../src/drivers/index.ts';
import type { Drivers } from '../../src/drivers/types.ts';
import { gpusOf, nicsOf, providerLibrariesOf } from '../../src/facts/inventory.ts';
import { hostRef } from '../../src/plan/host-ref.ts';
import type { HostRef, LinkTest, Nic } from '../../src/plan/types.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { type TestSimulation, simulate } from '../support/simulation.ts';
import { aSpec } from '../support/specs.ts';

/** The checks as they run in production: the real OpenSSH client, and the tools of simulated hosts. */

let simulation: TestSimulation;
let drivers: Drivers;
let spec: ClusterSpec;
const hostSpec = (name: string) => spec.hosts.list.find((host) => host.name === name)!;
const refOf = (name: string): HostRef => hostRef(spec, hostSpec(name));
const demandOf = (name: string) => demandWithoutPlan(spec, hostSpec(name));
const checkHost = (name: string) =>
  createRocmActivities(drivers).checkHost({ ref: refOf(name), demand: demandOf(name) });

beforeAll(async () => {
  const gpus = { product: 'MI300X', count: 8 } as const;
  simulation = await simulate({
    hosts: [
      { name: 'p0', address: '127.84.2.1', gpus },
      { name: 'd0', address: '127.84.2.2', gpus },
      {
        name: 'ill',
        address: '127.84.2.3',
        gpus: { product: 'MI308X', count: 8, usedMiB: [0, 50_000], computePartition: 'CPX' },
        nics: [{ device: 'mlx5_0', driver: 'mlx5', rateGbps: 25, state: 'DOWN', address: null }],
        providerLibraries: [],
        driver: '6.7.0',
        rocm: '6.2.0',
        numaBalancing: '1',
        cmdline: 'BOOT_IMAGE=/boot/vmlinuz root=/dev/sda1 ro',
        memlock: '65536',
        disk: { sizeGiB: 10, freeGiB: 0.5 },
        docker: { state: 'stopped' },
      },
      { name: 'bare', address: '127.84.2.4', gpus, amdSmi: 'absent' },
    ],
  });
  const { identityFile, knownHostsFile, hosts } = simulation.state;
  spec = aSpec({
    model: { source: 'hf://a/b@main', dir: '~/models' },
    hosts: {
      ssh: { port: hosts[0]!.port, user: hosts[0]!.user, identityFile, knownHostsFile },
      list: hosts.map(({ name, address }) => ({ name, address, gpus })),
    },
    router: { host: 'p0' },
  });
  drivers = createDrivers({ runtimeDir: `${simulation.dir}/run` });
});

afterAll(async () => {
  await drivers?.close();
  await simulation?.stop();
});

describe('the checks of a simulated host', () => {
  it('pass on a healthy one', async () => {
    expect((await checkHost('p0')).filter(({ verdict }) => verdict !== 'pass')).toEqual([]);
  });

  it('pass where amd-smi is missing: its memory, products and partitions are read otherwise', async () => {
    expect((await checkHost('bare')).filter(({ verdict }) => verdict !== 'pass')).toEqual([]);
  });

  it('fail one by one on a host with everything wrong', async () => {
    const bad = (await checkHost('ill')).filter(({ verdict }) => verdict !== 'pass');
    expect(bad.map(({ check }) => check)).toEqual([
      'gpu-driver',
      'rocm-version',
      'gpu-product',
      'gpu-free',
      'gpu-partition',
      'numa-balancing',
      'iommu',
      'host-memlock',
      'host-disk',
      'container-runtime',
      'rdma-link-state',
      'rdma-link-rate',
      'rdma-gid',
      'rdma-provider',
    ]);
  });

  it('read the same inventory with amd-smi and without', async () => {
    const [whole, without] = await Promise.all(
      ['p0', 'bare'].map(async (name) => askHost(drivers.host(refOf(name)), {})),
    );
    expect(gpusOf(without!)).toEqual(gpusOf(whole!));
    expect(gpusOf(whole!)).toHaveLength(8);
    expect(nicsOf(whole!)[7]).toMatchObject({
      device: 'bnxt_re7',
      driver: 'bnxt_re',
      up: true,
      rateGbps: 400,
      gidIndex: 3,
    });
    expect(providerLibrariesOf(whole!)).toMatchObject([{ driver: 'bnxt_re' }]);
  });
});

describe('a round between simulated hosts', () => {
  const linkOf = (source: Nic, target: Nic, port: number): LinkTest => ({
    source: { host: 'p0', device: source.device, gidIndex: 3, address: source.address! },
    target: { host: 'd0', device: target.device, gidIndex: 3, address: target.address! },
    port,
    minGbps: 360,
  });

  it('measures all eight rails over ssh', async () => {
    const [sources, targets] = await Promise.all(
      ['p0', 'd0'].map(async (name) => nicsOf(await askHost(drivers.host(refOf(name)), {}))),
    );
    const tests = sources!.map((source, rail) => linkOf(source, targets![rail]!, 18515 + rail));
    const findings = await createRdmaActivities(drivers).measureRound({
      round: { tests },
      refs: [refOf('p0'), refOf('d0')],
      seconds: 1,
      waive: [],
    });
    expect(findings.filter(({ verdict }) => verdict !== 'pass')).toEqual([]);
    expect(findings).toHaveLength(8);
  });
});
