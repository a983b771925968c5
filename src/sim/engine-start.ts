import type { EngineFault } from './faults.ts';
import type { GpuUse, Machine } from './machine.ts';
import type { EngineOptions } from './engine/types.ts';

/** What an engine's command line and environment ask of the machine. */
export interface EngineDemand {
  /** Indices of the host's GPUs, by the visible ones and --base-gpu-id. */
  readonly gpus: readonly number[];
  /** Part of each GPU's memory that it takes. */
  readonly memoryFraction: number;
  readonly ibDevices: readonly string[];
}

/** Words after `python3 -m sglang.launch_server` or `sglang serve`; undefined for another program. */
export function engineArgs(argv: readonly string[]): readonly string[] | undefined {
  const program = argv[0]?.split('/').at(-1) ?? '';
  if (/^python3?(\.\d+)?$/.test(program) && argv[1] === '-m' && argv[2] === 'sglang.launch_server')
    return argv.slice(3);
  return program === 'sglang' && argv[1] === 'serve' ? argv.slice(2) : undefined;
}

/** Reads what the engine will take. A GPU index that the host does not have stays in the list: the caller judges it. */
export function engineDemand(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  machine: Machine,
): EngineDemand {
  const value = (...names: string[]) => {
    for (let at = args.length - 1; at >= 0; at -= 1) {
      for (const name of names) {
        if (args[at] === name) return args[at + 1];
        if (args[at]!.startsWith(`${name}=`)) return args[at]!.slice(name.length + 1);
      }
    }
    return undefined;
  };
  const number = (otherwise: number, ...names: string[]) => Number(value(...names) ?? otherwise);
  const count = number(1, '--tp-size', '--tp', '--tensor-parallel-size') / number(1, '--nnodes');
  const base = number(0, '--base-gpu-id');
  const listed = env['HIP_VISIBLE_DEVICES'] ?? env['ROCR_VISIBLE_DEVICES'] ?? env['CUDA_VISIBLE_DEVICES'];
  const visible = listed?.split(',').map(Number) ?? machine.gpus.map(({ index }) => index);
  return {
    gpus: Array.from({ length: Math.max(1, Math.ceil(count)) }, (_, at) => visible[base + at] ?? -1),
    memoryFraction: number(0.88, '--mem-fraction-static'),
    ibDevices:
      value('--disaggregation-ib-device')
        ?.split(',')
        .filter((name) => /^\w+$/.test(name)) ?? [],
  };
}

/** Why the engine cannot run on this machine, as SGLang's last log line; undefined when it can. */
export function engineObstacle(
  { gpus, ibDevices }: EngineDemand,
  machine: Machine,
  devicesMapped: boolean,
): string | undefined {
  if (!devicesMapped || machine.gpus.length === 0) return 'RuntimeError: No HIP GPUs are available';
  if (gpus.some((index) => machine.gpus[index] === undefined))
    return 'torch.AcceleratorError: HIP error: invalid device ordinal';
  const known = machine.nics.map(({ device }) => device);
  const missing = ibDevices.filter((device) => !known.includes(device));
  if (missing.length === 0) return undefined;
  return `ValueError: Invalid IB devices specified: [${missing.map((name) => `'${name}'`).join(', ')}]. Available devices: [${known.map((name) => `'${name}'`).join(', ')}]`;
}

/** Memory that the engine takes on its GPUs once it runs. */
export function engineUse({ gpus, memoryFraction }: EngineDemand, machine: Machine, pid: number): GpuUse {
  return { pid, name: 'sglang::scheduler', gpus, usedMiB: memoryFraction * (machine.gpus[gpus[0]!]?.hbmMiB ?? 0) };
}

/** What is put into the engine besides its command line. Memory that somebody else holds makes it run out. */
export function engineExtras(
  demand: EngineDemand,
  machine: Machine,
  {
    timing,
    fault,
    version,
    image,
  }: { timing: object; fault: EngineFault | undefined; version: string | undefined; image: string | undefined },
): Pick<EngineOptions, 'timing' | 'faults' | 'version' | 'image' | 'hostAddress'> {
  const { hbmMiB = 0 } = machine.gpus[0] ?? {};
  const full = demand.gpus.some(
    (index) => (machine.gpus[index]?.usedMiB ?? 0) + demand.memoryFraction * hbmMiB > hbmMiB,
  );
  return {
    timing: present(timing),
    faults: present({ ...fault?.engine, ...(full ? { outOfMemory: true } : {}) }),
    hostAddress: machine.scenario.fabricAddress ?? machine.scenario.address,
    ...(version === undefined ? {} : { version }),
    ...(image === undefined ? {} : { image }),
  };
}

/** "rocm/sgl-dev:v0.5.23-rocm720-mi30x" → "0.5.23". */
export const versionInTag = (reference: string): string | undefined =>
  /:v?(\d+\.\d+\.\d+(?:\.post\d+)?)/.exec(reference)?.[1];

/** Keys whose value is undefined left out: the engine takes them as given otherwise. */
const present = (value: object) => Object.fromEntries(Object.entries(value).filter(([, its]) => its !== undefined));
