import { amdSmi, amdSmiRecords } from './amd-smi.ts';
import type { Fact } from './fact.ts';
import { told } from './gpu-record.ts';
import { type Json, at, integerOf, isObject, mibOf, textOf } from './tool-json.ts';

/** A process that the driver lists on a GPU, by amd-smi's own number of the GPU. */
export interface GpuProcess {
  readonly gpu: number;
  readonly pid: number;
  readonly name?: string;
  /** Memory of the GPU it holds; absent when it was not told, as to other users. */
  readonly usedMiB?: number;
}

/** Processes on the GPUs. The driver lists a process on every GPU it has opened, also where it holds next to nothing. */
export const amdSmiProcess: Fact<readonly GpuProcess[]> = {
  name: 'amd-smi-process',
  command: () => amdSmi('process', '--json'),
  timeoutMs: 15_000,
  parse: (output) =>
    amdSmiRecords(output).records.flatMap((record) =>
      processesIn(record['process_list'] ?? record['process_info']).map((info) => ({ gpu: record.gpu, ...info })),
    ),
};

function processesIn(list: Json | undefined): readonly Omit<GpuProcess, 'gpu'>[] {
  return (Array.isArray(list) ? (list as readonly Json[]) : [list]).flatMap((entry) => {
    const info = at(entry, 'process_info') ?? entry;
    const pid = integerOf(at(info, 'pid'));
    if (!isObject(info) || pid === undefined) return []; // "No running processes detected"
    const used = mibOf(at(info, 'memory_usage', 'vram_mem') ?? at(info, 'vram_mem') ?? at(info, 'mem_usage'));
    return [told({ pid, name: textOf(info['name']), usedMiB: used })];
  });
}
