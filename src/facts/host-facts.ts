import { amdSmiEnumeration, amdSmiList } from './amd-smi-list.ts';
import { amdSmiMetric } from './amd-smi-metric.ts';
import { type GpuProcess, amdSmiProcess } from './amd-smi-process.ts';
import { amdSmiStatic } from './amd-smi-static.ts';
import { amdSmiVersion } from './amd-smi-version.ts';
import { amdgpuModule } from './amdgpu-module.ts';
import { amdgpuSysfs } from './amdgpu-sysfs.ts';
import { type DiskFree, diskFree } from './disk-free.ts';
import { dockerVersion } from './docker-version.ts';
import type { Driver } from './driver.ts';
import { type Fact, type Reading, type ToolOutput, read, tooLong } from './fact.ts';
import { type GpuListing, type GpuRecord, fillIn } from './gpu-record.ts';
import { ibstat } from './ibstat.ts';
import { ibvDevinfo } from './ibv-devinfo.ts';
import { ASKED_FACTS } from './index.ts';
import { kernelCmdline } from './kernel-cmdline.ts';
import { bootId, kernelRelease } from './kernel.ts';
import { memlock } from './limits.ts';
import { type Listener, listeningPorts } from './listening-ports.ts';
import { numaBalancing } from './numa-balancing.ts';
import { type ProviderLibrary, providerLibraries } from './provider-libraries.ts';
import { rdmaDevices } from './rdma-devices.ts';
import { rdmaLink } from './rdma-link.ts';
import type { RdmaPort } from './rdma-port.ts';
import { rocmSmi } from './rocm-smi.ts';
import { rocmVersion } from './rocm-version.ts';
import { rocminfo } from './rocminfo.ts';

/** What is asked of a host: the name of a fact, its command and its limit in milliseconds. */
export interface Question {
  readonly name: string;
  readonly argv: readonly string[];
  readonly timeoutMs: number;
}

/** What a spec adds to the questions. */
export interface QuestionOptions {
  /** Absolute path of the folder that weights go to. */
  readonly weightsDir?: string;
  /** Absolute path of `rdma.providerLibrary`, where the spec names one. */
  readonly providerLibrary?: string;
}

/** Every output of a host, by the name of the fact. */
export type HostOutputs = Readonly<Record<string, ToolOutput>>;

/** What a host shows. Each is a value or the reason why there is none; nothing is guessed. */
export interface HostFacts {
  /** GPUs, sorted by the index HIP counts by; partitions of one are rows of their own. */
  readonly gpus: Reading<readonly GpuRecord[]>;
  readonly processes: Reading<readonly GpuProcess[]>;
  readonly driver: Reading<Driver>;
  /** ROCm's release, "7.2.0". */
  readonly rocm: Reading<string>;
  readonly rdma: Reading<readonly RdmaPort[]>;
  readonly providerLibraries: Reading<readonly ProviderLibrary[]>;
  /** Version of the Docker Engine. */
  readonly docker: Reading<string>;
  readonly weightsDisk: Reading<DiskFree>;
  readonly listening: Reading<readonly Listener[]>;
  readonly kernel: Reading<string>;
  readonly bootId: Reading<string>;
  /** Bytes; Infinity for unlimited. */
  readonly memlock: Reading<number>;
  readonly numaBalancing: Reading<number>;
  readonly kernelCmdline: Reading<readonly string[]>;
  /** Outputs that are longer than what is read of a fact, each with its size: of them nothing is known. */
  readonly tooLong: readonly string[];
}

/** Everything a host is asked, fallbacks included: one batch, one round trip. */
export function hostQuestions({ weightsDir, providerLibrary }: QuestionOptions): readonly Question[] {
  return [
    ...ASKED_FACTS.map(({ name, command, timeoutMs }) => ({ name, argv: command(), timeoutMs })),
    question(providerLibraries, providerLibrary),
    ...(weightsDir === undefined ? [] : [question(diskFree, weightsDir)]),
  ];
}

const question = <Args extends readonly unknown[]>(fact: Fact<unknown, Args>, ...args: Args): Question => ({
  name: fact.name,
  argv: fact.command(...args),
  timeoutMs: fact.timeoutMs,
});

/** Reads what a host answered, live or out of a capture folder: a fact that was not asked has that as its reason. */
export function readHostFacts(outputs: HostOutputs): HostFacts {
  const reading = <T>(fact: Pick<Fact<T>, 'name' | 'parse'>) => read(fact, outputs[fact.name]);
  const sources = {
    static: reading(amdSmiStatic),
    version: reading(amdSmiVersion),
    module: reading(amdgpuModule),
    rocmSmi: reading(rocmSmi),
  };
  return {
    gpus: gpusIn(outputs),
    processes: reading(amdSmiProcess),
    driver: driverIn(sources),
    rocm: rocmIn(reading(rocmVersion), sources.version),
    rdma: rdmaIn(outputs),
    providerLibraries: reading(providerLibraries),
    docker: firstOf(reading(dockerVersion), read(dockerVersion, outputs['docker-info'])),
    weightsDisk: reading(diskFree),
    listening: reading(listeningPorts),
    kernel: reading(kernelRelease),
    bootId: reading(bootId),
    memlock: reading(memlock),
    numaBalancing: reading(numaBalancing),
    kernelCmdline: reading(kernelCmdline),
    tooLong: Object.entries(outputs).flatMap(([name, output]) => tooLong(name, output) ?? []),
  };
}

/**
 * amd-smi is asked first, then rocm-smi, rocminfo and sysfs: the first complete listing gives the GPUs, the others
 * fill in what it does not say.
 */
function gpusIn(outputs: HostOutputs): HostFacts['gpus'] {
  const reading = <T>(fact: Pick<Fact<T>, 'name' | 'parse'>) => read(fact, outputs[fact.name]);
  const enumeration = reading(amdSmiEnumeration);
  const listings: readonly (readonly [name: string, listing: Reading<GpuListing>])[] = [
    [amdSmiStatic.name, reading(amdSmiStatic)],
    [amdSmiList.name, firstOf(enumeration, reading(amdSmiList))],
    [rocmSmi.name, reading(rocmSmi)],
    [rocminfo.name, reading(rocminfo)],
    [amdgpuSysfs.name, reading(amdgpuSysfs)],
  ];
  const base = listings.find(([, { value }]) => value?.complete);
  if (!base) {
    const cut = listings.find(([, { value }]) => value !== undefined);
    return { why: cut ? `the output of ${cut[0]} is cut` : whyNone(listings) };
  }
  const memory = reading(amdSmiMetric);
  const others = listings
    .filter((listing) => listing !== base)
    .flatMap(([, { value }]) => (value?.gpus.length ? [value] : []));
  const filled = others.reduce((gpus, other) => fillIn(gpus, other.gpus), fillMemory(base, memory));
  return { value: inHipOrder(filled) };
}

/** amd-smi counts in its own way, so its memory rows belong to its own listing alone; sysfs and rocm-smi fill in by address. */
function fillMemory(
  [name, listing]: readonly [string, Reading<GpuListing>],
  memory: Reading<readonly Pick<GpuRecord, 'index' | 'usedMiB' | 'hbmMiB'>[]>,
): readonly GpuRecord[] {
  const gpus = listing.value?.gpus ?? [];
  return memory.value && name.startsWith('amd-smi') ? fillIn(gpus, memory.value) : gpus;
}

/** By HIP's index where every GPU has one of its own, else by the tool's own. `index` becomes what HIP counts by. */
function inHipOrder(gpus: readonly GpuRecord[]): readonly GpuRecord[] {
  const indexes = new Set(gpus.map(({ hipIndex }) => hipIndex));
  const known = indexes.size === gpus.length && !indexes.has(undefined);
  return gpus
    .map((gpu) => ({ ...gpu, toolIndex: gpu.index, index: known ? gpu.hipIndex! : gpu.index }))
    .toSorted((one, other) => one.index - other.index);
}

interface DriverSources {
  readonly static: Reading<{ readonly driver?: Driver }>;
  readonly version: Reading<{ readonly driver?: Driver }>;
  readonly module: Reading<{ readonly loaded: boolean; readonly driver?: Driver }>;
  readonly rocmSmi: Reading<{ readonly driver?: Driver }>;
}

/** The kernel's own word on the module first: what the tools print comes from there, or is the kernel's version. */
function driverIn(sources: DriverSources): HostFacts['driver'] {
  const { module } = sources;
  if (module.value && !module.value.loaded) return { why: 'amdgpu is not loaded' };
  const found = [module, sources.static, sources.version, sources.rocmSmi].find(({ value }) => value?.driver);
  if (found?.value?.driver) return { value: found.value.driver };
  const told = Object.entries(sources).filter(([, { why }]) => why !== undefined && !why.endsWith('was not asked'));
  return {
    why: module.value?.loaded
      ? 'amdgpu is loaded and shows no version: the driver of the kernel'
      : told.length > 0
        ? told.map(([, { why }]) => why!).join('; ')
        : 'no tool told the version of the amdgpu driver',
  };
}

function rocmIn(file: Reading<string>, version: Reading<{ readonly rocm?: string }>): HostFacts['rocm'] {
  if (file.value !== undefined) return file;
  if (version.value?.rocm !== undefined) return { value: version.value.rocm };
  return { why: [file.why, version.why ?? 'amd-smi version told no ROCm release'].join('; ') };
}

/** sysfs tells all; what it lacks comes from libibverbs and the kernel's link list, which also stand in for it. */
function rdmaIn(outputs: HostOutputs): HostFacts['rdma'] {
  const listings = [
    [rdmaDevices.name, read(rdmaDevices, outputs[rdmaDevices.name])],
    ['gids', read(rdmaDevices, outputs['gids'])],
    [ibvDevinfo.name, read(ibvDevinfo, outputs[ibvDevinfo.name])],
    [ibstat.name, read(ibstat, outputs[ibstat.name])],
    [rdmaLink.name, read(rdmaLink, outputs[rdmaLink.name])],
  ] as const;
  const values = listings.flatMap(([, { value }]) => (value ? [value] : []));
  const [base, ...others] = values;
  if (!base) return { why: whyNone(listings) };
  const keyOf = ({ device, port }: RdmaPort) => `${device}/${port}`;
  // Of two with one name the first counts.
  const byKey = others.map((ports) => new Map(ports.map((port) => [keyOf(port), port] as const).toReversed()));
  const filled = base.map((port) => byKey.reduce((merged, other) => ({ ...other.get(keyOf(port)), ...merged }), port));
  return { value: filled.toSorted((one, other) => byName(one.device, other.device) || one.port - other.port) };
}

/** "mlx5_10" after "mlx5_9". */
export const byName = (one: string, other: string): number => one.localeCompare(other, 'en', { numeric: true });

const firstOf = <T>(...readings: readonly Reading<T>[]): Reading<T> =>
  readings.find(({ value }) => value !== undefined) ?? readings[0]!;

/** Why no source answered: the reasons of those that were asked. */
function whyNone(listings: readonly (readonly [string, Reading<unknown>])[]): string {
  const reasons = listings.flatMap(([, { why }]) => (why === undefined || why.endsWith('was not asked') ? [] : [why]));
  return reasons.length > 0 ? reasons.join('; ') : `${listings.map(([name]) => name).join(', ')}: none was asked`;
}
