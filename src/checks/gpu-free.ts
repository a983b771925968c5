import type { GpuProcess } from '../facts/amd-smi-process.ts';
import type { GpuRecord } from '../facts/gpu-record.ts';
import type { HostDemand } from './demand.ts';
import { type HostCheck, cannotTell, fail, list, pass } from './host-check.ts';
import { LOOK_AT_TOOLS, gpuName } from './planned-gpus.ts';

/** The driver lists a process on every GPU it has opened, with small buffers on each: below this it is not at work there. */
const PROCESS_MIN_MIB = 512;

/** Nobody else uses a GPU that the plan wants. GPUs on which this cluster's own engines are, are passed over. */
export const gpuFree: HostCheck = {
  name: 'gpu-free',
  judge({ gpus, processes }, demand) {
    if (!demand.gpus) return undefined;
    const { planned, serving } = demand.gpus;
    const fresh = planned.filter((index) => !serving.includes(index));
    const wanted = `rocm.maxUsedGiB is ${demand.rocm.maxUsedGiB}`;
    if (fresh.length === 0) return pass(`no GPU is wanted anew, ${wanted}`);
    const unread = (why: string) => cannotTell({ what: 'GPU memory in use', why, wanted, remedy: LOOK_AT_TOOLS });
    if (!gpus.value) return unread(gpus.why);
    const rows = fresh.map((index) => gpus.value.find((gpu) => gpu.index === index));
    const known = rows.filter((gpu) => gpu?.usedMiB !== undefined) as readonly (GpuRecord & { usedMiB: number })[];
    const busy = known.flatMap((gpu) => {
      const why = whyBusy(gpu, processes.value ?? [], demand);
      return why.length === 0 ? [] : [`${gpuName(gpu)}: ${why.join(', ')}`];
    });
    const leased = fresh.flatMap((index) => {
      const gpu = gpus.value.find((row) => row.index === index);
      if (!gpu || known.some((row) => row.index === index)) return [];
      return leasedBy(gpu, demand).map((why) => `${gpuName(gpu)}: ${why}`);
    });
    if (busy.length > 0 || leased.length > 0) {
      return fail(`${[...busy, ...leased].join('; ')}; ${wanted}`, 'Stop what runs on these GPUs, or take others.');
    }
    if (known.length < fresh.length) {
      const missing = fresh.filter((index) => !known.some((gpu) => gpu.index === index));
      return unread(`no tool tells that of GPU ${list(missing)}`);
    }
    const most = Math.max(...known.map(({ usedMiB }) => usedMiB));
    return pass(`at most ${gib(most)} GiB in use on GPU ${list(fresh)}, ${wanted}`);
  },
};

function whyBusy(
  gpu: GpuRecord & { readonly usedMiB: number },
  processes: readonly GpuProcess[],
  demand: HostDemand,
): readonly string[] {
  const atWork = processes.filter(
    ({ gpu: toolIndex, usedMiB }) => toolIndex === (gpu.toolIndex ?? gpu.index) && (usedMiB ?? 0) >= PROCESS_MIN_MIB,
  );
  const used = gpu.usedMiB > demand.rocm.maxUsedGiB * 1024 ? [`${gib(gpu.usedMiB)} GiB in use`] : [];
  const running = atWork.map(
    ({ pid, name, usedMiB }) => `process ${pid}${name ? ` ${name}` : ''} holds ${gib(usedMiB!)} GiB`,
  );
  return [...used, ...running, ...leasedBy(gpu, demand)];
}

/** The other clusters that hold a lease on the GPU or one of its partitions. */
const leasedBy = ({ bdf }: GpuRecord, { leases, cluster }: HostDemand): readonly string[] =>
  leases
    .filter((lease) => lease.cluster !== cluster && bdf !== undefined && lease.pci.startsWith(bdf))
    .map((lease) => `leased by cluster ${lease.cluster}`);

const gib = (mib: number): string => (mib / 1024).toFixed(1);
