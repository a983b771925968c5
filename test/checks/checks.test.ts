import { describe, expect, it } from '@jest/globals';
import { failedChecks, type Finding, type Verdict } from '../../src/checks/check.ts';
import type { HostDemand } from '../../src/checks/demand.ts';
import { CHECK_NAMES, HOST_CHECKS, judgeHost, judgeLink } from '../../src/checks/index.ts';
import type { ToolOutput } from '../../src/facts/fact.ts';
import { readHostFacts } from '../../src/facts/host-facts.ts';
import { failed, healthyOutputs, hung, notInstalled, printed, sysfsOf } from '../support/host-outputs.ts';

const DEMAND: HostDemand = {
  host: 'h0',
  cluster: 'qwen',
  gpus: { product: 'MI300X', count: 2, planned: [0, 1], serving: [] },
  nics: ['bnxt_re0', 'bnxt_re1'],
  ports: [{ port: 30000, use: 'tandem-qwen-prefill-0-1' }],
  rocm: { version: '>=6.3', driver: '>=6.10', maxUsedGiB: 2 },
  rdma: { transport: 'rdma', devices: 'auto', gidIndex: 'auto', minLinkGbps: 100, providerLibrary: 'auto' },
  engineRuntime: 'docker',
  docker: true,
  weights: { dir: '/var/lib/tandem/models', needGiB: 140 },
  leases: [],
  waive: [],
};

type Outputs = Record<string, ToolOutput>;
const judge = (outputs: Outputs = {}, demand: Partial<HostDemand> = {}, base = healthyOutputs()): Finding[] =>
  judgeHost(readHostFacts({ ...base, ...outputs }), { ...DEMAND, ...demand });
const named = (check: string, findings: readonly Finding[]): Finding | undefined =>
  findings.find((finding) => finding.check === check);

const gpuText = (...lines: readonly string[]) => printed(lines.join('\n'));
const rdma = (changes: Readonly<Record<string, string | undefined>>) => ({
  'rdma-devices': printed(sysfsOf('bnxt_re0', 0, changes) + sysfsOf('bnxt_re1', 1)),
});

it('a healthy host passes every check that concerns it', () => {
  const findings = judge();
  expect(findings.filter(({ verdict }) => verdict !== 'pass')).toEqual([]);
  expect(findings.map(({ check }) => check)).toEqual(
    HOST_CHECKS.map(({ name }) => name).filter((name) => !['rdma-transport', 'tool-output'].includes(name)),
  );
});

describe('a host of which nothing could be read', () => {
  const ADVISORY = ['numa-balancing', 'iommu'];

  it.each([
    ['was never asked', {}],
    ['has no tools', everyOutput(notInstalled)],
    ['hangs', everyOutput(hung)],
    ['prints rubbish', everyOutput(printed('Bus error\n'))],
    ['ends every tool with an error', everyOutput(failed('Input/output error'))],
  ])('passes nothing when it %s: it fails, and advisory checks warn', (_, outputs) => {
    const findings = judge(outputs, {}, {});
    expect(findings.map(({ check, verdict }) => [check, verdict])).toEqual(
      HOST_CHECKS.map(({ name }) => name)
        .filter((name) => !['rdma-transport', 'tool-output'].includes(name))
        .map((name) => [name, ADVISORY.includes(name) ? 'warn' : 'fail']),
    );
    expect(findings.every(({ evidence, remedy }) => / could not be read: \S/.test(evidence) && remedy)).toBe(true);
  });

  function everyOutput(output: ToolOutput): Outputs {
    return Object.fromEntries(Object.keys(healthyOutputs()).map((name) => [name, output]));
  }
});

describe('each check', () => {
  const rows: readonly (readonly [
    check: string,
    title: string,
    verdict: Verdict,
    evidence: string,
    outputs: Outputs,
    demand?: Partial<HostDemand>,
  ])[] = [
    [
      'gpu-driver',
      'an old release',
      'fail',
      'amdgpu 6.8.5, rocm.driver is >=6.10',
      { 'amdgpu-module': printed('6.8.5\n') },
    ],
    [
      'gpu-driver',
      'a release compared by number and not by text',
      'pass',
      'amdgpu 6.9, rocm.driver is >=6.8.5',
      { 'amdgpu-module': printed('6.9\n') },
      { rocm: { version: '>=6', driver: '>=6.8.5', maxUsedGiB: 2 } },
    ],
    [
      'gpu-driver',
      'the driver of the kernel',
      'fail',
      'amdgpu is the driver of kernel 6.14.0-24-generic and no release of its own; rocm.driver is >=6.10',
      {
        'amdgpu-module': printed('/sys/module/amdgpu/initstate:live\n'),
        'amd-smi-static': gpuText('GPU: 0', '    DRIVER:', '        VERSION: 6.14.0-24-generic'),
      },
    ],
    [
      'gpu-driver',
      'a module that is not loaded',
      'fail',
      'The amdgpu driver could not be read: amdgpu is not loaded; rocm.driver is >=6.10',
      { 'amdgpu-module': failed('', 2) },
    ],
    [
      'rocm-version',
      'an old release',
      'fail',
      'ROCm 6.2.4, rocm.version is >=6.3',
      { 'rocm-version': printed('6.2.4-120\n') },
    ],
    [
      'rocm-version',
      'a range with two ends',
      'fail',
      'ROCm 7.2.0, rocm.version is >=6.3 <7',
      {},
      { rocm: { version: '>=6.3 <7', driver: '>=6', maxUsedGiB: 2 } },
    ],
    [
      'gpu-count',
      'a GPU that fell off the bus',
      'fail',
      '2 GPUs, hosts.list gpus.count is 3',
      {},
      { gpus: { product: 'MI300X', count: 3, planned: [0, 1, 2], serving: [] } },
    ],
    [
      'gpu-count',
      'partitions are not GPUs',
      'fail',
      '1 GPUs (listed as 2 partitions), hosts.list gpus.count is 2',
      {
        'amd-smi-static': gpuText(
          'GPU: 0',
          '    PARTITION:',
          '        PARTITION_ID: 0',
          'GPU: 1',
          '    PARTITION:',
          '        PARTITION_ID: 1',
        ),
      },
    ],
    [
      'gpu-product',
      'another product',
      'fail',
      'GPU 0 (0000:05:00.0) is MI308X, GPU 1 (0000:26:00.0) is MI308X; hosts.list gpus.product is MI300X',
      { 'amd-smi-static': healthyOutputs({ product: 'AMD Instinct MI308X', deviceId: '0x74a2' })['amd-smi-static']! },
    ],
    [
      'gpu-product',
      'a product by its market name',
      'pass',
      '2 × MI300X, hosts.list gpus.product is MI300X',
      { 'amd-smi-static': healthyOutputs({ product: 'MI300X-O', deviceId: 'N/A' })['amd-smi-static']! },
    ],
    [
      'gpu-product',
      'a product that no tool names',
      'fail',
      'The GPU product could not be read: no tool names that of GPU 0 (0000:05:00.0), GPU 1 (0000:26:00.0); hosts.list gpus.product is MI300X',
      { 'amd-smi-static': healthyOutputs({ product: 'N/A', deviceId: 'N/A' })['amd-smi-static']! },
    ],
    [
      'gpu-hbm',
      'a little less than nominal',
      'pass',
      '191.7 GiB on 2 GPUs, gpus.product MI300X has 192 GiB',
      { 'amd-smi-static': healthyOutputs({ hbmMiB: 196_300 })['amd-smi-static']! },
    ],
    [
      'gpu-hbm',
      'half of it',
      'fail',
      'GPU 0 (0000:05:00.0) shows 96.0 GiB, GPU 1 (0000:26:00.0) shows 96.0 GiB; gpus.product MI300X has 192 GiB',
      { 'amd-smi-static': healthyOutputs({ hbmMiB: 98_304 })['amd-smi-static']! },
    ],
    [
      'gpu-hbm',
      'a product of unknown size',
      'warn',
      '192.0 GiB on 2 GPUs; the size of gpus.product MI999X is not known to Tandem',
      {},
      { gpus: { product: 'MI999X', count: 2, planned: [0, 1], serving: [] } },
    ],
    [
      'gpu-free',
      'memory in use',
      'fail',
      'GPU 1 (0000:26:00.0): 40.0 GiB in use; rocm.maxUsedGiB is 2',
      { 'amd-smi-metric': healthyOutputs({ used: [283, 40_960] })['amd-smi-metric']! },
    ],
    [
      'gpu-free',
      'memory in use on a GPU that is not planned',
      'pass',
      'at most 0.3 GiB in use on GPU 0, rocm.maxUsedGiB is 2',
      { 'amd-smi-metric': healthyOutputs({ used: [283, 40_960] })['amd-smi-metric']! },
      { gpus: { product: 'MI300X', count: 2, planned: [0], serving: [] } },
    ],
    [
      'gpu-free',
      'memory in use by an engine of this cluster',
      'pass',
      'at most 0.3 GiB in use on GPU 0, rocm.maxUsedGiB is 2',
      { 'amd-smi-metric': healthyOutputs({ used: [283, 190_000] })['amd-smi-metric']! },
      { gpus: { product: 'MI300X', count: 2, planned: [0, 1], serving: [1] } },
    ],
    [
      'gpu-free',
      'a process with memory of its own',
      'fail',
      'GPU 1 (0000:26:00.0): process 77 train holds 1.0 GiB; rocm.maxUsedGiB is 2',
      {
        'amd-smi-process': printed(
          '[{"gpu":1,"process_list":[{"process_info":{"name":"train","pid":77,"memory_usage":{"vram_mem":{"value":1024,"unit":"MB"}}}}]}]',
        ),
      },
    ],
    [
      'gpu-free',
      'a process that only opened the device',
      'pass',
      'at most 0.3 GiB in use on GPU 0, 1, rocm.maxUsedGiB is 2',
      {
        'amd-smi-process': printed(
          '[{"gpu":1,"process_list":[{"process_info":{"name":"train","pid":77,"memory_usage":{"vram_mem":{"value":9,"unit":"MB"}}}}]}]',
        ),
      },
    ],
    [
      'gpu-free',
      'memory that no tool tells',
      'fail',
      'GPU memory in use could not be read: no tool tells that of GPU 0, 1; rocm.maxUsedGiB is 2',
      { 'amd-smi-metric': notInstalled },
    ],
    [
      'gpu-free',
      'a planned GPU that is not there',
      'fail',
      'GPU memory in use could not be read: no tool tells that of GPU 5; rocm.maxUsedGiB is 2',
      {},
      { gpus: { product: 'MI300X', count: 2, planned: [0, 5], serving: [] } },
    ],
    [
      'gpu-free',
      'the lease of another cluster',
      'fail',
      'GPU 0 (0000:05:00.0): leased by cluster llama; rocm.maxUsedGiB is 2',
      {},
      { leases: [{ pci: '0000:05:00.0', cluster: 'llama', installation: 'i', deployment: 4 }] },
    ],
    [
      'gpu-free',
      'the lease of this cluster',
      'pass',
      'at most 0.3 GiB in use on GPU 0, 1, rocm.maxUsedGiB is 2',
      {},
      { leases: [{ pci: '0000:05:00.0', cluster: 'qwen', installation: 'i', deployment: 4 }] },
    ],
    [
      'gpu-free',
      'another cluster’s lease where memory cannot be read',
      'fail',
      'GPU 0 (0000:05:00.0): leased by cluster llama; rocm.maxUsedGiB is 2',
      { 'amd-smi-metric': hung },
      { leases: [{ pci: '0000:05:00.0', cluster: 'llama', installation: 'i', deployment: 4 }] },
    ],
    [
      'gpu-partition',
      'a partitioned GPU',
      'fail',
      'CPX/NPS4 on GPU 0 (0000:05:00.0), GPU 1 (0000:26:00.0); wanted are whole GPUs, SPX and NPS1',
      {
        'amd-smi-static': printed(
          healthyOutputs()['amd-smi-static']!.stdout.replaceAll('SPX', 'CPX').replaceAll('NPS1', 'NPS4'),
        ),
      },
    ],
    [
      'gpu-partition',
      'a mode that no tool tells',
      'fail',
      'The GPU partitions could not be read: no tool tells those of GPU 0 (0000:05:00.0), GPU 1 (0000:26:00.0); wanted are whole GPUs, SPX and NPS1',
      { 'amd-smi-static': printed(healthyOutputs()['amd-smi-static']!.stdout.replaceAll('"SPX"', '"N/A"')) },
    ],
    [
      'gpu-partition',
      'a product without partitions',
      'pass',
      '2 whole GPUs, wanted are whole GPUs, SPX and NPS1',
      {
        'amd-smi-static': printed(
          healthyOutputs({ product: 'MI210', deviceId: '0x740f' })
            ['amd-smi-static']!.stdout.replaceAll('"SPX"', '"N/A"')
            .replaceAll('"NPS1"', '"N/A"'),
        ),
      },
    ],
    [
      'numa-balancing',
      'switched on',
      'warn',
      'kernel.numa_balancing is 1, kernel.numa_balancing should be 0',
      { 'numa-balancing': printed('1\n') },
    ],
    [
      'iommu',
      'not passed through',
      'warn',
      'iommu=pt is absent, iommu=pt should be on the kernel command line',
      { 'kernel-cmdline': printed('BOOT_IMAGE=/v root=/dev/sda1 ro amd_iommu=on\n') },
    ],
    [
      'iommu',
      'a virtual machine',
      'pass',
      'the GPUs are virtual functions: the IOMMU is the hypervisor’s',
      {
        'kernel-cmdline': printed('BOOT_IMAGE=/v ro\n'),
        'amd-smi-static': healthyOutputs({ deviceId: '0x74b5' })['amd-smi-static']!,
      },
    ],
    [
      'host-memlock',
      'the usual 64 KiB',
      'fail',
      'memlock is 0.0625 MiB, the RDMA test needs 64 MiB',
      { limits: printed('Max locked memory 65536 65536 bytes\n') },
    ],
    [
      'host-memlock',
      'a limit, with engines as processes',
      'fail',
      'memlock is 4096 MiB, engine.runtime process needs unlimited',
      { limits: printed('Max locked memory 4294967296 4294967296 bytes\n') },
      { engineRuntime: 'process' },
    ],
    [
      'host-memlock',
      'nearly 2 to the 64',
      'pass',
      'memlock is unlimited, engine.runtime process needs unlimited',
      { limits: printed('Max locked memory 18446744073708503040 18446744073708503040 bytes\n') },
      { engineRuntime: 'process' },
    ],
    [
      'host-disk',
      'too little',
      'fail',
      '100 GiB free on /, the weights for model.dir /var/lib/tandem/models need 140 GiB',
      { 'disk-free': printed('Filesystem 1024-blocks Used Available Capacity Mounted on\nx 9 9 104857600 1% /\n') },
    ],
    [
      'host-disk',
      'nearly nothing, size unknown',
      'fail',
      '0.5 GiB free on /, the weights for model.dir /m need at least 1 GiB (their size is not known yet)',
      { 'disk-free': printed('Filesystem 1024-blocks Used Available Capacity Mounted on\nx 9 9 524288 1% /\n') },
      { weights: { dir: '/m' } },
    ],
    [
      'container-runtime',
      'too old',
      'fail',
      'Docker Engine 19.03.15, runtime docker needs >=20.10',
      { 'docker-version': printed('{"Server":{"Version":"19.03.15"}}') },
    ],
    [
      'port-free',
      'a taken port, on whatever address',
      'fail',
      '127.0.0.1:30000 is in use and wanted for tandem-qwen-prefill-0-1; wanted free: 30000',
      { 'listening-ports': printed('LISTEN 0 9 127.0.0.1:30000 0.0.0.0:*\n') },
    ],
    [
      'port-free',
      'a port that only starts alike',
      'pass',
      'none of them is in use, wanted free: 30000',
      { 'listening-ports': printed('LISTEN 0 9 0.0.0.0:3000 0.0.0.0:*\n') },
    ],
    [
      'rdma-device',
      'a planned device that is gone',
      'fail',
      'bnxt_re1 not among bnxt_re0; rdma.devices is auto',
      { 'rdma-devices': printed(sysfsOf('bnxt_re0', 0)) },
    ],
    [
      'rdma-device',
      'a named device that is not there',
      'fail',
      'mlx5_7 not among bnxt_re0, bnxt_re1; rdma.devices is mlx5_7',
      {},
      { nics: [], rdma: { ...DEMAND.rdma, devices: ['mlx5_7'] } },
    ],
    [
      'rdma-link-state',
      'a cable that is out',
      'fail',
      'bnxt_re0 is DOWN/DISABLED; each RDMA device that an engine gets (rdma.devices) should be ACTIVE and LinkUp',
      rdma({ state: '1: DOWN', phys_state: '3: Disabled' }),
    ],
    [
      'rdma-link-state',
      'a port that is not configured',
      'fail',
      'bnxt_re0 is INIT/LINKUP; each RDMA device that an engine gets (rdma.devices) should be ACTIVE and LinkUp',
      rdma({ state: '2: INIT' }),
    ],
    [
      'rdma-link-state',
      'a state that cannot be read',
      'fail',
      'bnxt_re0 is in no readable state/LINKUP; each RDMA device that an engine gets (rdma.devices) should be ACTIVE and LinkUp',
      rdma({ state: undefined }),
    ],
    [
      'rdma-link-state',
      'a link layer that is none',
      'fail',
      'bnxt_re0 is ACTIVE/LINKUP on an unknown link layer; each RDMA device that an engine gets (rdma.devices) should be ACTIVE and LinkUp',
      rdma({ link_layer: 'Paper' }),
    ],
    [
      'rdma-link-rate',
      'a slow port',
      'fail',
      'bnxt_re0 runs at 25 Gb/s; rdma.minLinkGbps is 100',
      rdma({ rate: '25 Gb/sec (1X EDR)' }),
    ],
    [
      'rdma-link-rate',
      'a rate that cannot be read',
      'fail',
      'RDMA link rate could not be read: no tool tells that of bnxt_re0; rdma.minLinkGbps is 100',
      rdma({ rate: undefined }),
    ],
    [
      'rdma-gid',
      'a link-local address only',
      'fail',
      'bnxt_re0 has GID 1 RoCE v2 fe80:0000:0000:0000:8616:0cff:fe00:0001; rdma.gidIndex is auto, wanted is a RoCE v2 GID with a routable address',
      rdma({ 'gids/3': undefined }),
    ],
    [
      'rdma-gid',
      'an index that is RoCE v1',
      'fail',
      'bnxt_re0 has RoCE v1 at GID 3; rdma.gidIndex is 3, wanted is a RoCE v2 GID with a routable address',
      rdma({ 'gid_attrs/types/3': 'IB/RoCE v1' }),
      { rdma: { ...DEMAND.rdma, gidIndex: 3 } },
    ],
    [
      'rdma-gid',
      'an index that is empty',
      'fail',
      'bnxt_re0 has no GID 5, bnxt_re1 has no GID 5; rdma.gidIndex is 5, wanted is a RoCE v2 GID with a routable address',
      {},
      { rdma: { ...DEMAND.rdma, gidIndex: 5 } },
    ],
    [
      'rdma-gid',
      'a table that cannot be read',
      'fail',
      'The GIDs could not be read: no tool tells those of bnxt_re0; rdma.gidIndex is auto, wanted is a RoCE v2 GID with a routable address',
      rdma({ 'gids/1': undefined, 'gids/3': undefined }),
    ],
    [
      'rdma-gid',
      'InfiniBand needs none',
      'pass',
      'bnxt_re0 is InfiniBand, bnxt_re1 GID 3 10.1.0.1; rdma.gidIndex is auto, wanted is a RoCE v2 GID with a routable address',
      rdma({ link_layer: 'InfiniBand', 'gids/3': undefined }),
    ],
    [
      'rdma-provider',
      'the missing Broadcom library',
      'fail',
      'no library libbnxt_re in the folders of libibverbs; rdma.providerLibrary is auto',
      { 'provider-libraries': printed('/usr/lib64/libibverbs/libmlx5-rdmav34.so\n') },
    ],
    [
      'rdma-provider',
      'a named library that is not there',
      'fail',
      'the file is not on the host; rdma.providerLibrary is /opt/libx.so',
      {},
      { rdma: { ...DEMAND.rdma, providerLibrary: '/opt/libx.so' } },
    ],
    [
      'rdma-provider',
      'a driver that no tool names',
      'fail',
      'RDMA provider libraries could not be read: the driver of rocep6s0 is not known; rdma.providerLibrary is auto',
      { 'rdma-devices': printed(sysfsOf('rocep6s0', 0).replace('DRIVER=bnxt_en', 'DRIVER=odd')) },
      { nics: ['rocep6s0'] },
    ],
    [
      'rdma-transport',
      'tcp',
      'warn',
      'rdma.transport is tcp, wanted for production is rdma: no RDMA device, link or bandwidth is checked',
      {},
      { rdma: { ...DEMAND.rdma, transport: 'tcp' } },
    ],
    [
      'tool-output',
      'a tool that printed more than 256 KiB',
      'warn',
      'rocminfo printed 262145 bytes, cut at the 262144 (256 KiB) that are read of a fact, which tell nothing without the rest',
      { rocminfo: printed('x'.repeat(262_145)) },
    ],
    [
      'port-free',
      'a list of sockets that is longer than 256 KiB',
      'fail',
      'Listening ports could not be read: listening-ports printed 315000 bytes, cut at the 262144 (256 KiB) that are read of a fact, which tell nothing without the rest; wanted free: 30000',
      { 'listening-ports': printed('LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n'.repeat(9_000) + ' '.repeat(9_000)) },
    ],
  ];

  it.each(rows)('%s: %s → %s', (check, _title, verdict, evidence, outputs, demand = {}) => {
    const finding = named(check, judge(outputs, demand));
    expect(finding).toMatchObject({ host: 'h0', verdict, evidence });
    expect(finding?.remedy !== undefined).toBe(verdict !== 'pass');
  });

  it('has a failing or warning case here', () => {
    const covered = new Set(rows.filter(([, , verdict]) => verdict !== 'pass').map(([check]) => check));
    expect(HOST_CHECKS.map(({ name }) => name).filter((name) => !covered.has(name))).toEqual([]);
  });
});

describe('checks that do not concern a host', () => {
  const names = (demand: Partial<HostDemand>, without: readonly (keyof HostDemand)[] = []) => {
    const wanted = Object.fromEntries(
      Object.entries({ ...DEMAND, ...demand }).filter(([key]) => !without.includes(key as never)),
    );
    return judgeHost(readHostFacts(healthyOutputs()), wanted as unknown as HostDemand).map(({ check }) => check);
  };

  it('are left out: a host that only routes is asked for its port and its Docker Engine', () => {
    expect(names({ nics: [] }, ['gpus', 'engineRuntime', 'weights'])).toEqual(['container-runtime', 'port-free']);
  });

  it('are left out: over tcp no RDMA device is asked for', () => {
    expect(names({ rdma: { ...DEMAND.rdma, transport: 'tcp' } }).filter((name) => name.startsWith('rdma'))).toEqual([
      'rdma-transport',
    ]);
  });

  it('are left out: without a provider library to mount none is asked for', () => {
    expect(names({ rdma: { ...DEMAND.rdma, providerLibrary: 'none' } })).not.toContain('rdma-provider');
  });
});

describe.each(['auto', ['bnxt_re0', 'bnxt_re1']] as const)('with rdma.devices %j', (devices) => {
  const one = sysfsOf('bnxt_re0', 0);
  const down = { 'rdma-devices': printed(one + sysfsOf('bnxt_re1', 1, { state: '1: DOWN' })) };
  const slow = { 'rdma-devices': printed(one + sysfsOf('bnxt_re1', 1, { rate: '25 Gb/sec (1X EDR)' })) };
  const state = (outputs: Outputs, check: string, nics: readonly string[]) =>
    named(check, judge(outputs, { nics, rdma: { ...DEMAND.rdma, devices: devices as 'auto' } }))?.verdict;

  it('a device that an engine gets must be up and fast enough', () => {
    expect(state(down, 'rdma-link-state', ['bnxt_re0', 'bnxt_re1'])).toBe('fail');
    expect(state(slow, 'rdma-link-rate', ['bnxt_re0', 'bnxt_re1'])).toBe('fail');
  });

  it('a device of the host that no engine gets may be neither', () => {
    expect(state(down, 'rdma-link-state', ['bnxt_re0'])).toBe('pass');
    expect(state(slow, 'rdma-link-rate', ['bnxt_re0'])).toBe('pass');
  });

  it('a device that an engine could get, before there is a plan, must be up', () => {
    expect(state(down, 'rdma-link-state', [])).toBe('fail');
  });
});

describe('without a plan', () => {
  it('every port that is found must be up, of a device with two only one', () => {
    const two = sysfsOf('mlx5_0', 0, { state: '1: DOWN' }) + sysfsOf('mlx5_0', 0).replaceAll('/ports/1/', '/ports/2/');
    const state = (stdout: string) =>
      named('rdma-link-state', judge({ 'rdma-devices': printed(stdout) }, { nics: [] }))?.verdict;
    expect([state(two), state(two + sysfsOf('mlx5_1', 1, { state: '1: DOWN' }))]).toEqual(['pass', 'fail']);
  });
});

describe('a waived check', () => {
  it('warns with the reason, on its host only, and passes when it passes', () => {
    const waive = [{ check: 'rocm-version', reason: 'tried by hand', host: 'h0' }];
    const old = { 'rocm-version': printed('6.2.4\n') };
    expect(named('rocm-version', judge(old, { waive }))).toMatchObject({
      verdict: 'warn',
      evidence: 'ROCm 6.2.4, rocm.version is >=6.3 (waived: tried by hand)',
    });
    expect(named('rocm-version', judge(old, { waive, host: 'h1' }))?.verdict).toBe('fail');
    expect(named('rocm-version', judge({}, { waive }))?.verdict).toBe('pass');
  });
});

describe('a measured link', () => {
  const end = (host: string) => ({ host, device: 'bnxt_re0', gidIndex: 3, address: '10.0.0.1' });
  const link = { source: end('p0'), target: end('d0'), minGbps: 360 };

  it.each([
    [
      'carries what is asked',
      { value: { averageGbps: 360 } },
      'pass',
      'p0/bnxt_re0 → d0/bnxt_re0: 360 Gb/s measured, rdma.minGbps asks for 360',
    ],
    [
      'is slower',
      { value: { averageGbps: 359.99 } },
      'fail',
      'p0/bnxt_re0 → d0/bnxt_re0: 359.99 Gb/s measured, rdma.minGbps asks for 360',
    ],
    [
      'could not be measured',
      { why: 'ib_write_bw printed no result row' },
      'fail',
      'p0/bnxt_re0 → d0/bnxt_re0: bandwidth could not be measured: ib_write_bw printed no result row; rdma.minGbps asks for 360',
    ],
  ] as const)('that %s', (_, bandwidth, verdict, evidence) => {
    expect(judgeLink(link, bandwidth, [])).toMatchObject({
      check: 'rdma-bandwidth',
      host: 'p0',
      peer: 'd0',
      verdict,
      evidence,
    });
  });

  it('is waived like any other check', () => {
    expect(judgeLink(link, { why: 'no tool' }, [{ check: 'rdma-bandwidth', reason: 'lab' }]).verdict).toBe('warn');
  });
});

it('the names of checks are told once each, for waivers to be held against', () => {
  expect(new Set(CHECK_NAMES).size).toBe(CHECK_NAMES.length);
  expect(CHECK_NAMES).toContain('rdma-bandwidth');
});

describe('what a failure says of findings', () => {
  const on = (check: string, ...hosts: readonly string[]) => hosts.map((host) => ({ check, host }));

  it('names of each check the first three hosts and how many more there are', () => {
    expect(failedChecks([...on('gpu-driver', 'a', 'b', 'c', 'd', 'e'), ...on('host-memlock', 'a')])).toBe(
      'gpu-driver on a, b, c and 2 more; host-memlock on a',
    );
  });

  it('names a link by both ends, and a host once', () => {
    const link = { check: 'rdma-link', host: 'a', peer: 'd' };
    expect(failedChecks([link, link, { ...link, peer: 'e' }])).toBe('rdma-link on a → d, a → e');
  });

  it('names three checks of many', () => {
    expect(failedChecks(['w', 'x', 'y', 'z'].flatMap((check) => on(check, 'a')))).toBe(
      'w on a; x on a; y on a and 1 more',
    );
  });
});
