import type { Tool } from './tool.ts';
import { parseArgs, printed, refused, UnknownFlag, type FlagTable } from './tool.ts';

const FLAGS: FlagTable = {
  '--json': 'bare',
  '-i': 'bare',
  '--showid': 'bare',
  '--showproductname': 'bare',
  '--showmeminfo': 'value',
  '--showdriverversion': 'bare',
  '--showuniqueid': 'bare',
  '--showbus': 'bare',
  '--showtoponuma': 'bare',
  '--showcomputepartition': 'bare',
  '--showmemorypartition': 'bare',
};

/** `rocm-smi --json` with the questions that are asked of it; without --json the concise table. */
export const rocmSmi: Tool = ({ gpus, product, scenario }, args) => {
  try {
    const { flags, words } = parseArgs(args, FLAGS);
    if (words.length > 0) throw new UnknownFlag(words[0]!);
    if (scenario.driver === 'absent') {
      return refused('ERROR: 1: amdgpu not found in modules\n', 1);
    }
    if (!flags.has('--json')) return printed(conciseTable(gpus, product, scenario.gpus));
    const cards = gpus.map((gpu): [string, Record<string, string>] => {
      const card: Record<string, string> = {};
      if (flags.has('-i') || flags.has('--showid')) {
        card['Device Name'] = product.marketName;
        card['Device ID'] = product.deviceId;
      }
      if (flags.has('--showuniqueid')) card['Unique ID'] = gpu.serial.toLowerCase();
      if (flags.has('--showbus')) card['PCI Bus'] = gpu.pci.toUpperCase();
      if (flags.get('--showmeminfo')?.includes('vram')) {
        card['VRAM Total Memory (B)'] = String(gpu.hbmMiB * 1024 * 1024);
        card['VRAM Total Used Memory (B)'] = String(gpu.usedMiB * 1024 * 1024);
      }
      if (flags.has('--showproductname')) {
        card['Card Series'] = product.marketName;
        card['Card Model'] = product.deviceId;
        card['Card Vendor'] = 'Advanced Micro Devices, Inc. [AMD/ATI]';
        card['GFX Version'] = product.target;
      }
      if (flags.has('--showtoponuma')) {
        card['(Topology) Numa Node'] = String(gpu.numaNode);
        card['(Topology) Numa Affinity'] = String(gpu.numaNode);
      }
      if (flags.has('--showcomputepartition')) card['Compute Partition'] = scenario.gpus.computePartition;
      if (flags.has('--showmemorypartition')) card['Memory Partition'] = scenario.gpus.memoryPartition;
      return [`card${gpu.index}`, card];
    });
    const system = flags.has('--showdriverversion')
      ? { system: { 'Driver version': scenario.driver ?? scenario.kernel } }
      : {};
    return printed(`${JSON.stringify({ ...Object.fromEntries(cards), ...system })}\n`);
  } catch (error) {
    if (!(error instanceof UnknownFlag)) throw error;
    return refused(
      `usage: rocm-smi [-h] [-V] [-d DEVICE [DEVICE ...]] …\nrocm-smi: error: unrecognized arguments: ${error.flag}\n`,
      2,
    );
  }
};

function conciseTable(
  gpus: Parameters<Tool>[0]['gpus'],
  { deviceId, powerWatts }: Parameters<Tool>[0]['product'],
  { computePartition, memoryPartition }: Parameters<Tool>[0]['scenario']['gpus'],
): string {
  const width = 124;
  const title = (text: string) => {
    const left = Math.floor((width - text.length - 2) / 2);
    return `${'='.repeat(left)} ${text} ${'='.repeat(width - left - text.length - 2)}\n`;
  };
  const rows = gpus.map(
    (gpu) =>
      `${String(gpu.index).padEnd(8)}${String(gpu.index + 2).padEnd(6)}${deviceId},   ${10_000 + gpu.index}  42.0°C      140.0W    ${memoryPartition}, ${computePartition}, 0        132Mhz   900Mhz   0%   auto  ${powerWatts}.0W  ${String(Math.round((100 * gpu.usedMiB) / gpu.hbmMiB)).padEnd(2)}%    ${gpu.processes.length > 0 ? 35 : 0}%\n`,
  );
  return (
    `\n${title('ROCm System Management Interface')}${title('Concise Info')}` +
    'Device  Node  IDs              Temp        Power     Partitions          SCLK     MCLK     Fan  Perf  PwrCap   VRAM%  GPU%\n' +
    '              (DID,     GUID)  (Junction)  (Socket)  (Mem, Compute, ID)\n' +
    `${'='.repeat(width)}\n${rows.join('')}${'='.repeat(width)}\n${title('End of ROCm SMI Log')}`
  );
}
