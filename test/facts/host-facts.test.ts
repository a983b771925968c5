import { describe, expect, it } from '@jest/globals';
import { hostQuestions, readHostFacts } from '../../src/facts/host-facts.ts';
import { gpusOf, nicsOf, providerLibrariesOf } from '../../src/facts/inventory.ts';
import { failed, healthyOutputs, hung, notInstalled, printed, sysfsOf, withOutput } from '../support/host-outputs.ts';

const healthy = healthyOutputs();

const rocmSmi = printed(
  JSON.stringify({
    card0: {
      'Device ID': '0x74a1',
      'PCI Bus': '0000:05:00.0',
      'VRAM Total Memory (B)': '206141652992',
      'VRAM Total Used Memory (B)': '314572800',
    },
    card1: {
      'Device ID': '0x74a1',
      'PCI Bus': '0000:26:00.0',
      'VRAM Total Memory (B)': '206141652992',
      'VRAM Total Used Memory (B)': '314572800',
    },
    system: { 'Driver version': '6.12.12' },
  }),
);

const agent = (bdfid: number) =>
  `*******\nAgent 9\n*******\n  Marketing Name:          AMD Instinct MI300X\n  Device Type:             GPU\n  Chip ID:                 29857(0x74a1)\n  BDFID:                   ${bdfid}\n  Pool\n      Segment:                 GLOBAL; FLAGS: COARSE GRAINED\n      Size:                    201310208(0xbffc000) KB\n`;

describe('the questions of a host', () => {
  it('are plain argument lists with names of their own and limits that fit into one activity', () => {
    const questions = hostQuestions({ weightsDir: '/data/models', providerLibrary: '/opt/libx.so' });
    expect(new Set(questions.map(({ name }) => name)).size).toBe(questions.length);
    // An activity has five minutes; a host whose driver hangs makes the GPU tools use up theirs.
    const ofGpuTools = questions.filter(({ name }) => /^(?:amd-smi|rocm-smi|rocminfo)/.test(name));
    expect(ofGpuTools.reduce((sum, { timeoutMs }) => sum + timeoutMs, 0)).toBeLessThanOrEqual(180_000);
  });

  it('ask the disk of every folder above the weights, deepest first, and the library that the spec names', () => {
    const questions = hostQuestions({ weightsDir: '/data/my models', providerLibrary: '/opt/libx.so' });
    expect(questions.find(({ name }) => name === 'disk-free')?.argv).toEqual([
      'df',
      '-Pk',
      '--',
      '/data/my models',
      '/data',
      '/',
    ]);
    expect(questions.find(({ name }) => name === 'provider-libraries')?.argv).toContain('/opt/libx.so');
  });

  it('ask no disk when no weights are copied', () => {
    expect(hostQuestions({}).map(({ name }) => name)).not.toContain('disk-free');
  });
});

describe('the GPUs of a host', () => {
  it('come from amd-smi, with memory in use from its metrics', () => {
    expect(readHostFacts(healthy).gpus.value?.[1]).toMatchObject({
      index: 1,
      bdf: '0000:26:00.0',
      product: 'MI300X',
      usedMiB: 283,
    });
  });

  it.each([
    ['is not installed', notInstalled],
    ['hangs', hung],
    ['answers busy', failed('AMDSMI_STATUS_BUSY - Device busy')],
  ])('come from rocm-smi when amd-smi %s', (_, output) => {
    const outputs = { ...withOutput(healthy, 'amd-smi-static', output), 'rocm-smi': rocmSmi };
    expect(gpusOf(readHostFacts(outputs))).toEqual([
      { index: 0, pci: '0000:05:00.0', product: 'MI300X' },
      { index: 1, pci: '0000:26:00.0', product: 'MI300X' },
    ]);
  });

  it('come from rocminfo when both are gone, and from sysfs when that is gone too', () => {
    const none = { ...withOutput(healthy, 'amd-smi-static', notInstalled), 'rocm-smi': notInstalled };
    expect(gpusOf(readHostFacts({ ...none, rocminfo: printed(agent(0x2600)) }))).toEqual([
      { index: 0, pci: '0000:26:00.0', product: 'MI300X' },
    ]);
    const sysfs = printed(
      ['vendor:0x1002', 'device:0x74a1', 'uevent:PCI_SLOT_NAME=0000:46:00.0']
        .map((file) => `/sys/class/drm/card3/device/${file}\n`)
        .join(''),
    );
    expect(gpusOf(readHostFacts({ ...none, rocminfo: notInstalled, 'amdgpu-sysfs': sysfs }))).toEqual([
      { index: 0, pci: '0000:46:00.0', product: 'MI300X' },
    ]);
  });

  it('are unreadable with every reason when no tool answers', () => {
    const outputs = { ...withOutput(healthy, 'amd-smi-static', hung), 'rocm-smi': notInstalled };
    expect(readHostFacts(outputs).gpus).toEqual({
      why: "amd-smi-static did not answer within its limit; rocm-smi is not on the host's PATH",
    });
  });

  it('are unreadable when the only listing is cut', () => {
    const cut = printed('GPU: 0\n    ASIC:\n        MARKET_NAME: MI300X\n[output truncated]\n');
    expect(readHostFacts({ 'amd-smi-static': cut }).gpus).toEqual({ why: 'the output of amd-smi-static is cut' });
  });

  it('count as HIP does, where amd-smi or rocminfo tells how', () => {
    const enumeration = printed(
      JSON.stringify([
        { gpu: 0, bdf: '0000:05:00.0', hip_id: 1 },
        { gpu: 1, bdf: '0000:26:00.0', hip_id: 0 },
      ]),
    );
    const swapped = [
      { index: 0, pci: '0000:26:00.0', product: 'MI300X', numaNode: 1 },
      { index: 1, pci: '0000:05:00.0', product: 'MI300X', numaNode: 0 },
    ];
    expect(gpusOf(readHostFacts({ ...healthy, 'amd-smi-enumeration': enumeration }))).toEqual(swapped);
    expect(gpusOf(readHostFacts({ ...healthy, rocminfo: printed(agent(0x2600) + agent(0x0500)) }))).toEqual(swapped);
  });

  it('keep the order of amd-smi when HIP numbers fewer of them', () => {
    const facts = readHostFacts({ ...healthy, rocminfo: printed(agent(0x2600)) });
    expect(gpusOf(facts).map(({ pci }) => pci)).toEqual(['0000:05:00.0', '0000:26:00.0']);
  });

  it('take partitions that amd-smi calls N/A from sysfs', () => {
    const untold = printed(healthy['amd-smi-static']!.stdout.replaceAll('"SPX"', '"N/A"'));
    const sysfs = printed(
      ['vendor:0x1002', 'uevent:PCI_SLOT_NAME=0000:05:00.0', 'current_compute_partition:CPX']
        .map((file) => `/sys/class/drm/card1/device/${file}\n`)
        .join(''),
    );
    const { gpus } = readHostFacts({ ...healthy, 'amd-smi-static': untold, 'amdgpu-sysfs': sysfs });
    expect(gpus.value?.map(({ computePartition }) => computePartition)).toEqual(['CPX', 'N/A']);
  });

  it('have addresses of their own also as partitions', () => {
    const cut = printed(
      JSON.stringify(
        [0, 1].map((id) => ({
          gpu: id,
          bus: { bdf: '0000:05:00.0' },
          partition: { compute_partition: 'CPX', partition_id: id },
        })),
      ),
    );
    expect(gpusOf(readHostFacts({ 'amd-smi-static': cut })).map(({ pci }) => pci)).toEqual([
      '0000:05:00.0-0',
      '0000:05:00.0-1',
    ]);
  });
});

describe('the driver and ROCm of a host', () => {
  it('say that the module is not loaded, whatever the tools printed', () => {
    expect(readHostFacts({ ...healthy, 'amdgpu-module': failed('', 2) }).driver).toEqual({
      why: 'amdgpu is not loaded',
    });
  });

  it('say that a loaded module without a version is the driver of the kernel', () => {
    const outputs = { 'amdgpu-module': printed('/sys/module/amdgpu/initstate:live\n') };
    expect(readHostFacts(outputs).driver).toEqual({
      why: 'amdgpu is loaded and shows no version: the driver of the kernel',
    });
  });

  it('fall back to what amd-smi says', () => {
    const version = printed(JSON.stringify([{ rocm_version: '6.4.1', amdgpu_version: '6.10.5' }]));
    const facts = readHostFacts({
      'amd-smi-version': version,
      'rocm-version': failed('cat: x: No such file or directory'),
    });
    expect([facts.driver.value, facts.rocm.value]).toEqual([{ kind: 'release', version: '6.10.5' }, '6.4.1']);
  });
});

describe('the NICs of a host', () => {
  it('have a driver, a rate, and the GID with an IPv4 address', () => {
    expect(nicsOf(readHostFacts(healthy))[1]).toEqual({
      device: 'bnxt_re1',
      driver: 'bnxt_re',
      up: true,
      rateGbps: 400,
      gidIndex: 3,
      address: '10.1.0.1',
      numaNode: 0,
    });
  });

  it.each([
    ['is polling', { phys_state: '2: Polling' }],
    ['is initialising', { state: '2: INIT' }],
    ['has a physical state that is none', { phys_state: '4: ACTIVE' }],
    ['shows no state', { state: undefined }],
  ])('are not up when the port %s', (_, changes) => {
    const outputs = withOutput(healthy, 'rdma-devices', printed(sysfsOf('bnxt_re0', 0, changes)));
    expect(nicsOf(readHostFacts(outputs))[0]?.up).toBe(false);
  });

  it('take what sysfs does not say from libibverbs, and stand in for it', () => {
    const verbs = printed(
      'hca_id: bnxt_re0\n  port:   1\n    state:   PORT_ACTIVE (4)\n    link_layer:   Ethernet\n    GID[  5]:   ::ffff:10.9.0.1, RoCE v2\n',
    );
    const bare = printed(sysfsOf('bnxt_re0', 0, { 'gids/1': undefined, 'gids/3': undefined }));
    const filled = nicsOf(readHostFacts({ 'rdma-devices': bare, 'ibv-devinfo': verbs }));
    expect(filled).toMatchObject([{ rateGbps: 400, gidIndex: 5, address: '10.9.0.1' }]);
    expect(nicsOf(readHostFacts({ 'rdma-devices': failed('', 1), 'ibv-devinfo': verbs }))).toEqual([
      { device: 'bnxt_re0', driver: 'bnxt_re', up: true, gidIndex: 5, address: '10.9.0.1' },
    ]);
  });

  it('prefer IPv4, then another routable address, and never a link-local one', () => {
    const gid = (gids: Record<string, string>) =>
      nicsOf(readHostFacts({ 'rdma-devices': printed(sysfsOf('bnxt_re0', 0, { 'gids/3': undefined, ...gids })) }))[0]
        ?.gidIndex;
    expect(gid({})).toBeUndefined();
    expect(gid({ 'gids/4': 'fd93:16d3:59b6:0150:9e08:3ab3:5fc7:7cca', 'gid_attrs/types/4': 'RoCE v2' })).toBe(4);
    expect(
      gid({ 'gids/4': '0000:0000:0000:0000:0000:ffff:0a00:0001', 'gid_attrs/types/4': 'IB/RoCE v1' }),
    ).toBeUndefined();
  });

  it('are one row per device, sorted as people count, the first port that is up', () => {
    const second = sysfsOf('mlx5_10', 0).replaceAll('/ports/1/', '/ports/2/');
    const outputs = {
      'rdma-devices': printed(sysfsOf('mlx5_10', 0, { state: '1: DOWN' }) + second + sysfsOf('mlx5_9', 1)),
    };
    expect(nicsOf(readHostFacts(outputs)).map(({ device, up }) => [device, up])).toEqual([
      ['mlx5_9', true],
      ['mlx5_10', true],
    ]);
  });
});

describe('a host of which nothing could be read', () => {
  it('has a reason for every fact and an empty inventory', () => {
    const { tooLong, ...facts } = readHostFacts({});
    expect(tooLong).toEqual([]);
    expect(Object.values(facts).every(({ value, why }) => value === undefined && why!.length > 0)).toBe(true);
    expect([gpusOf, nicsOf, providerLibrariesOf].map((rows) => rows({ tooLong, ...facts }))).toEqual([[], [], []]);
  });
});
