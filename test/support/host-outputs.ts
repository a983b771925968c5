import type { ToolOutput } from '../../src/facts/fact.ts';
import type { HostOutputs } from '../../src/facts/host-facts.ts';

/** What a tool printed, ended well. */
export const printed = (stdout: string): ToolOutput => ({ stdout, stderr: '', exitCode: 0, timedOut: false });
export const failed = (stderr: string, exitCode = 1): ToolOutput => ({ stdout: '', stderr, exitCode, timedOut: false });
export const notInstalled: ToolOutput = failed('sh: 1: exec: not found\n', 127);
export const hung: ToolOutput = { stdout: '', stderr: '', exitCode: 137, timedOut: true };

export interface HealthyHost {
  readonly count?: number;
  readonly product?: string;
  readonly deviceId?: string;
  readonly hbmMiB?: number;
  /** MiB in use by GPU. */
  readonly used?: readonly number[];
}

const BUSES = ['05', '26', '46', '65', '85', 'a6', 'c6', 'e5'];

/** The outputs of a healthy host with Broadcom NICs; overwrite the one a test is about. */
export function healthyOutputs({
  count = 2,
  product = 'AMD Instinct MI300X',
  deviceId = '0x74a1',
  hbmMiB = 196_592,
  used = [],
}: HealthyHost = {}): Record<string, ToolOutput> {
  const gpus = Array.from({ length: count }, (_, index) => index);
  const json = (value: unknown) => printed(JSON.stringify(value, null, 2));
  return {
    'amd-smi-static': json(
      gpus.map((gpu) => ({
        gpu,
        asic: { market_name: product, device_id: deviceId },
        bus: { bdf: `0000:${BUSES[gpu]!}:00.0` },
        driver: { name: 'amdgpu', version: '6.12.12' },
        vram: { size: { value: hbmMiB, unit: 'MB' } },
        partition: { compute_partition: 'SPX', memory_partition: 'NPS1', partition_id: 0 },
        numa: { node: gpu < count / 2 ? 0 : 1 },
      })),
    ),
    'amd-smi-metric': json(
      gpus.map((gpu) => ({ gpu, mem_usage: { used_vram: { value: used[gpu] ?? 283, unit: 'MB' } } })),
    ),
    'amd-smi-process': json(
      gpus.map((gpu) => ({ gpu, process_list: [{ process_info: 'No running processes detected' }] })),
    ),
    'amdgpu-module': printed('/sys/module/amdgpu/version:6.12.12\n'),
    'rocm-version': printed('7.2.0-43\n'),
    'rdma-devices': printed(gpus.map((index) => sysfsOf(`bnxt_re${index}`, index)).join('')),
    'provider-libraries': printed('/usr/lib64/libibverbs/libbnxt_re-rdmav34.so\n'),
    'docker-version': json({ Client: { Version: '28.2.2' }, Server: { Version: '28.2.2' } }),
    'disk-free': printed(
      'Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/md0 9 9 2097152000 1% /var/lib\n',
    ),
    'listening-ports': printed('LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\n'),
    'kernel-release': printed('6.8.0-60-generic\n'),
    'boot-id': printed('0f6c1a2b-aaaa-4bbb-8ccc-0123456789ab\n'),
    limits: printed('Max locked memory         unlimited            unlimited            bytes\n'),
    'numa-balancing': printed('0\n'),
    'kernel-cmdline': printed('BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro iommu=pt\n'),
  };
}

/** sysfs of one RoCE device at 400 Gb/s with an IPv4 GID at index 3; `changes` replace or (undefined) drop files of its port. */
export function sysfsOf(
  device: string,
  index: number,
  changes: Readonly<Record<string, string | undefined>> = {},
): string {
  const files: Record<string, string | undefined> = {
    state: '4: ACTIVE',
    phys_state: '5: LinkUp',
    rate: '400 Gb/sec (4X NDR)',
    link_layer: 'Ethernet',
    'gids/1': 'fe80:0000:0000:0000:8616:0cff:fe00:0001',
    'gid_attrs/types/1': 'RoCE v2',
    'gids/3': `0000:0000:0000:0000:0000:ffff:0a0${index}:0001`,
    'gid_attrs/types/3': 'RoCE v2',
    ...changes,
  };
  const root = `/sys/class/infiniband/${device}`;
  return [
    ...Object.entries(files).flatMap(([file, value]) =>
      value === undefined ? [] : [`${root}/ports/1/${file}:${value}`],
    ),
    `${root}/device/uevent:DRIVER=bnxt_en`,
    `${root}/device/numa_node:0`,
  ]
    .map((line) => `${line}\n`)
    .join('');
}

/** `outputs` with one replaced, or (undefined) never asked. */
export function withOutput(outputs: HostOutputs, name: string, output: ToolOutput | undefined): HostOutputs {
  const { [name]: _, ...rest } = outputs;
  return output === undefined ? rest : { ...rest, [name]: output };
}
