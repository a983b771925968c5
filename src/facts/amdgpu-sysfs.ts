import type { Fact } from './fact.ts';
import { type GpuListing, bdfOf, partitionOf, told } from './gpu-record.ts';
import { normaliseProduct } from './products.ts';
import { findAndPrint, sysfsFiles } from './sysfs.ts';
import { integerOf, mibOf } from './tool-json.ts';

const ROOT = '/sys/class/drm';
const FILES = [
  'device',
  'vendor',
  'uevent',
  'numa_node',
  'mem_info_vram_total',
  'mem_info_vram_used',
  'current_compute_partition',
  'current_memory_partition',
];

/** The GPUs as the kernel shows them, sorted by PCI address. Source: kernel documentation, amdgpu driver. */
export const amdgpuSysfs: Fact<GpuListing> = {
  name: 'amdgpu-sysfs',
  command: () => findAndPrint(ROOT, { depth: 3, names: FILES.map((file) => `*/card*/device/${file}`) }),
  timeoutMs: 20_000,
  parse(output) {
    const files = sysfsFiles(ROOT, output);
    const cards = [...new Set([...files.keys()].flatMap((path) => /\/(card\d+)\/device\//.exec(path)?.[1] ?? []))];
    const gpus = cards.flatMap((card) => {
      const value = (file: string) => files.get(`${ROOT}/${card}/device/${file}`);
      // A server has a VGA chip of its board management too; that is no GPU of AMD.
      if (value('vendor')?.toLowerCase() !== '0x1002') return [];
      const deviceId = value('device');
      const size = (file: string) => {
        const bytes = integerOf(value(file));
        return bytes === undefined ? undefined : mibOf({ value: bytes, unit: 'B' });
      };
      const numaNode = integerOf(value('numa_node'));
      return [
        told({
          bdf: bdfOf(/PCI_SLOT_NAME=(\S+)/.exec(value('uevent') ?? '')?.[1]),
          product: normaliseProduct(undefined, deviceId),
          deviceId,
          hbmMiB: size('mem_info_vram_total'),
          usedMiB: size('mem_info_vram_used'),
          computePartition: partitionOf(value('current_compute_partition')),
          memoryPartition: partitionOf(value('current_memory_partition')),
          numaNode: numaNode === -1 ? undefined : numaNode,
        }),
      ];
    });
    if (gpus.length === 0) throw new SyntaxError(`${ROOT} shows no AMD GPU`);
    const sorted = gpus.toSorted((one, other) => (one.bdf ?? '').localeCompare(other.bdf ?? ''));
    return { complete: true, gpus: sorted.map((gpu, index) => ({ index, ...gpu })) };
  },
};
