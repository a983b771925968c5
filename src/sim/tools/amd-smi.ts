import type { GpuView, Machine } from '../machine.ts';
import { parseArgs, printed, refused, UnknownFlag, type FlagTable, type Tool } from './tool.ts';

/**
 * `amd-smi` of ROCm 6 and 7: `version`, `list`, `static`, `metric`, `process`, `topology`, `partition`, as text or with
 * --json. From ROCm 7 on, static and metric wrap their list in `{"gpu_data": […]}`; earlier ones print a bare list.
 */
export const amdSmi: Tool = (machine, args) => {
  const [command, ...rest] = args;
  if (machine.scenario.driver === 'absent') {
    return refused(
      'ERROR:root:Unable to detect any GPU devices, check amdgpu version and module status (sudo modprobe amdgpu)\n',
      255,
    );
  }
  if (machine.scenario.amdSmi === 'busy' && command !== 'version') return refused(busy(machine));
  const section = command === undefined ? undefined : COMMANDS[command];
  if (!section) {
    return refused(
      `AmdSmiInvalidCommandException: Command '${command ?? ''}' is invalid. Run '--help' for more info. Error code: -1\n`,
      255,
    );
  }
  try {
    const { flags, words } = parseArgs(rest, { ...COMMON, ...section.flags });
    if (words.length > 0) throw new UnknownFlag(words[0]!);
    const chosen = selectGpus(machine, flags.get('-g') ?? flags.get('--gpu'));
    if (typeof chosen === 'string') return refused(chosen, 255);
    const asked = [...flags.keys()].flatMap((flag) => section.sections?.[flag] ?? []);
    const data = section.data(machine, chosen, new Set(asked));
    return printed(
      flags.has('--json') ? `${JSON.stringify(section.wrap(machine, data), null, 4)}\n` : section.text(data),
    );
  } catch (error) {
    if (!(error instanceof UnknownFlag)) throw error;
    return refused(
      `AmdSmiInvalidParameterException: Parameter '${error.flag}' is invalid. Run 'amd-smi ${command} --help' for more info. Error code: -2\n`,
      254,
    );
  }
};

type Row = { readonly [key: string]: unknown };

interface Command {
  readonly flags: FlagTable;
  /** Flag → section of the output that it asks for; none asked means all. */
  readonly sections?: Readonly<Record<string, readonly string[]>>;
  data(machine: Machine, gpus: readonly GpuView[], asked: ReadonlySet<string>): readonly Row[];
  wrap(machine: Machine, rows: readonly Row[]): unknown;
  text(rows: readonly Row[]): string;
}

const COMMON: FlagTable = { '--json': 'bare', '-g': 'value', '--gpu': 'value', '--loglevel': 'value' };

const bare = (rows: readonly Row[]) => rows;
const gpuData = (machine: Machine, rows: readonly Row[]): unknown =>
  Number.parseInt(machine.scenario.rocm ?? '7', 10) >= 7 ? { gpu_data: rows } : rows;

const flagsOf = (sections: Readonly<Record<string, readonly string[]>>): FlagTable =>
  Object.fromEntries(Object.keys(sections).map((flag) => [flag, 'bare' as const]));

const STATIC_SECTIONS = {
  '-a': ['asic'],
  '--asic': ['asic'],
  '-b': ['bus'],
  '--bus': ['bus'],
  '-V': ['vbios'],
  '--vbios': ['vbios'],
  '-l': ['limit'],
  '--limit': ['limit'],
  '-d': ['driver'],
  '--driver': ['driver'],
  '-B': ['board'],
  '--board': ['board'],
  '-r': ['ras'],
  '--ras': ['ras'],
  '-v': ['vram'],
  '--vram': ['vram'],
  '-n': ['numa'],
  '--numa': ['numa'],
  '-p': ['partition'],
  '--partition': ['partition'],
} as const;

const METRIC_SECTIONS = {
  '-u': ['usage'],
  '--usage': ['usage'],
  '-p': ['power'],
  '--power': ['power'],
  '-t': ['temperature'],
  '--temperature': ['temperature'],
  '-P': ['pcie'],
  '--pcie': ['pcie'],
  '-e': ['ecc'],
  '--ecc': ['ecc'],
  '-m': ['mem_usage'],
  '--mem-usage': ['mem_usage'],
} as const;

const COMMANDS: Readonly<Record<string, Command>> = {
  version: {
    flags: {},
    data: ({ scenario }) => [
      {
        tool: 'AMDSMI Tool',
        version: `${libraryVersion(scenario.rocm)}+unknown`,
        amdsmi_library_version: libraryVersion(scenario.rocm),
        rocm_version: scenario.rocm ?? 'N/A',
        amdgpu_version: scenario.driver ?? 'N/A',
        amd_hsmp_driver_version: 'N/A',
      },
    ],
    wrap: (_, rows) => rows,
    text: (rows) =>
      rows
        .map(
          (row) =>
            `AMDSMI Tool: ${String(row['version'])} | AMDSMI Library version: ${String(row['amdsmi_library_version'])} | ROCm version: ${String(row['rocm_version'])} | amdgpu version: ${String(row['amdgpu_version'])} | amd_hsmp version: N/A\n`,
        )
        .join(''),
  },
  list: {
    flags: { '-e': 'bare' },
    data: (machine, gpus) =>
      gpus.map((gpu) => ({
        gpu: gpu.index,
        bdf: gpu.pci,
        uuid: uuid(machine, gpu),
        kfd_id: 10_000 + gpu.index,
        node_id: gpu.index + 2,
        partition_id: 0,
      })),
    wrap: (_, rows) => bare(rows),
    text: asText,
  },
  static: {
    flags: flagsOf(STATIC_SECTIONS),
    sections: STATIC_SECTIONS,
    data: (machine, gpus, asked) => gpus.map((gpu) => only(staticRow(machine, gpu), asked)),
    wrap: gpuData,
    text: asText,
  },
  metric: {
    flags: flagsOf(METRIC_SECTIONS),
    sections: METRIC_SECTIONS,
    data: (machine, gpus, asked) => gpus.map((gpu) => only(metricRow(machine, gpu), asked)),
    wrap: gpuData,
    text: asText,
  },
  process: {
    flags: { '-G': 'bare', '--general': 'bare' },
    data: (_, gpus) =>
      gpus.map((gpu) => ({
        gpu: gpu.index,
        process_list:
          gpu.processes.length === 0
            ? [{ process_info: 'No running processes detected' }]
            : gpu.processes.map(({ pid, name, usedMiB }) => ({
                process_info: {
                  name,
                  pid,
                  memory_usage: { vram_mem: quantity(usedMiB * 1024 * 1024, 'B') },
                  mem_usage: quantity(usedMiB * 1024 * 1024, 'B'),
                },
              })),
      })),
    wrap: (_, rows) => bare(rows),
    text: asText,
  },
  topology: {
    flags: { '-a': 'bare', '-t': 'bare', '--access': 'bare', '--link-type': 'bare' },
    data: (_, gpus) =>
      gpus.map((gpu) => ({
        gpu: gpu.index,
        bdf: gpu.pci,
        links: gpus.map((peer) => ({
          gpu: peer.index,
          bdf: peer.pci,
          weight: peer === gpu ? 0 : 15,
          link_status: 'ENABLED',
          link_type: peer === gpu ? 'SELF' : 'XGMI',
          num_hops: peer === gpu ? 0 : 1,
          bandwidth: peer === gpu ? 'N/A' : '50000-50000',
        })),
      })),
    wrap: (_, rows) => bare(rows),
    text: asText,
  },
};

function staticRow(machine: Machine, gpu: GpuView): Row {
  const { product, scenario } = machine;
  return {
    gpu: gpu.index,
    asic: {
      market_name: product.marketName,
      vendor_id: '0x1002',
      vendor_name: 'Advanced Micro Devices Inc. [AMD/ATI]',
      subvendor_id: '0x1002',
      device_id: product.deviceId,
      subsystem_id: product.deviceId,
      rev_id: '0x00',
      asic_serial: gpu.serial,
      oam_id: gpu.index,
      num_compute_units: product.computeUnits,
      target_graphics_version: product.target,
    },
    bus: {
      bdf: gpu.pci,
      max_pcie_width: 16,
      max_pcie_speed: quantity(32, 'GT/s'),
      pcie_interface_version: 'Gen 5',
      slot_type: 'OAM',
    },
    vbios: {
      name: 'AMD MI300',
      build_date: '2024/11/20 09:12',
      part_number: '113-M3000100-103',
      version: '022.040.003.043.000001',
    },
    limit: {
      max_power: quantity(product.powerWatts, 'W'),
      min_power: quantity(0, 'W'),
      socket_power: quantity(product.powerWatts, 'W'),
      slowdown_hotspot_temperature: quantity(100, 'C'),
      slowdown_vram_temperature: quantity(105, 'C'),
      shutdown_hotspot_temperature: quantity(110, 'C'),
      shutdown_vram_temperature: quantity(115, 'C'),
    },
    driver: { name: 'amdgpu', version: scenario.driver ?? `Linuxversion${scenario.kernel}` },
    board: {
      model_number: '102-G30211-0C',
      product_serial: gpu.serial.slice(2),
      fru_id: 'N/A',
      product_name: product.marketName,
      manufacturer_name: 'AMD',
    },
    ras: {
      eeprom_version: '0x20000',
      parity_schema: 'DISABLED',
      single_bit_schema: 'DISABLED',
      double_bit_schema: 'DISABLED',
      poison_schema: 'ENABLED',
      ecc_block_state: { UMC: 'ENABLED', SDMA: 'ENABLED', GFX: 'ENABLED' },
    },
    partition: {
      accelerator_partition: scenario.gpus.computePartition,
      compute_partition: scenario.gpus.computePartition,
      memory_partition: scenario.gpus.memoryPartition,
      partition_id: 0,
    },
    vram: { type: 'HBM', vendor: 'HYNIX', size: quantity(gpu.hbmMiB, 'MB'), bit_width: 8192 },
    numa: { node: gpu.numaNode, affinity: gpu.numaNode },
  };
}

function metricRow(machine: Machine, gpu: GpuView): Row {
  const busy = gpu.processes.length > 0 ? 35 : 0;
  return {
    gpu: gpu.index,
    usage: { gfx_activity: quantity(busy, '%'), umc_activity: quantity(0, '%'), mm_activity: 'N/A' },
    power: {
      socket_power: quantity(busy > 0 ? 420 : 140, 'W'),
      gfx_voltage: 'N/A',
      power_management: 'ENABLED',
      throttle_status: 'UNTHROTTLED',
    },
    temperature: { edge: 'N/A', hotspot: quantity(42, 'C'), mem: quantity(36, 'C') },
    pcie: { width: 16, speed: quantity(32, 'GT/s'), bandwidth: quantity(0, 'Mb/s'), replay_count: 0 },
    ecc: {
      total_correctable_count: 0,
      total_uncorrectable_count: machine.scenario.gpus.uncorrectableErrors[gpu.index] ?? 0,
      total_deferred_count: 0,
      cache_correctable_count: 'N/A',
      cache_uncorrectable_count: 'N/A',
    },
    mem_usage: {
      total_vram: quantity(gpu.hbmMiB, 'MB'),
      used_vram: quantity(gpu.usedMiB, 'MB'),
      free_vram: quantity(gpu.hbmMiB - gpu.usedMiB, 'MB'),
      total_visible_vram: quantity(gpu.hbmMiB, 'MB'),
      used_visible_vram: quantity(gpu.usedMiB, 'MB'),
      free_visible_vram: quantity(gpu.hbmMiB - gpu.usedMiB, 'MB'),
    },
  };
}

const quantity = (value: number, unit: string) => ({ value, unit });

/** A row with only the asked sections; all of them when none was asked. */
const only = (row: Row, asked: ReadonlySet<string>): Row =>
  asked.size === 0 ? row : Object.fromEntries(Object.entries(row).filter(([key]) => key === 'gpu' || asked.has(key)));

function selectGpus({ gpus }: Machine, asked: readonly string[] | undefined): readonly GpuView[] | string {
  if (!asked || asked.includes('all')) return gpus;
  const chosen = asked.map((id) => gpus.find((gpu) => String(gpu.index) === id || gpu.pci === id));
  const missing = asked.find((_, at) => chosen[at] === undefined);
  if (missing !== undefined) {
    return `AmdSmiDeviceNotFoundException: Can not find a device: GPU '${missing}'. Error code: -3\n`;
  }
  return chosen.filter((gpu) => gpu !== undefined);
}

/** The tool's own text form: keys in upper case, four blanks a level, quantities as "16 GT/s". */
function asText(rows: readonly Row[]): string {
  return rows.map((row) => `${lines(row, 0)}\n`).join('');
}

function lines(row: Row, depth: number): string {
  return Object.entries(row)
    .map(([key, value]) => {
      const indent = '    '.repeat(depth === 0 && key !== 'gpu' ? 1 : depth);
      const name = key.toUpperCase();
      if (Array.isArray(value)) {
        return value
          .map((item, at) => `${indent}${name}_${at}:\n${lines(item as Row, indent.length / 4 + 1)}`)
          .join('');
      }
      if (typeof value !== 'object' || value === null) return `${indent}${name}: ${String(value)}\n`;
      if ('unit' in value && 'value' in value)
        return `${indent}${name}: ${String(value.value)} ${String(value.unit)}\n`;
      return `${indent}${name}:\n${lines(value as Row, indent.length / 4 + 1)}`;
    })
    .join('');
}

/** The library's number follows the release: 24.6 with 6.2, 26.2 with 7.2. */
function libraryVersion(rocm: string | null): string {
  const [major = 7, minor = 0] = (rocm ?? '7.0').split('.').map(Number);
  return major >= 7 ? `26.${minor}.0` : minor >= 4 ? '25.3.0' : '24.6.2';
}

const uuid = (machine: Machine, gpu: GpuView) =>
  `${gpu.index.toString(16).padStart(2, '0')}ff${machine.product.deviceId.slice(2)}-0000-1000-80${gpu.serial.slice(-2).toLowerCase()}-${gpu.serial.slice(-12).toLowerCase()}`;

const busy = ({ gpus }: Machine) =>
  `Traceback (most recent call last):\namdsmi.amdsmi_exception.AmdSmiLibraryException: Error code:\n\t30 | AMDSMI_STATUS_BUSY - Device busy\nValueError: Unable to get asic info from GPU ID: 0 BDF:${gpus[0]?.pci ?? '0000:05:00.0'}\n`;
