import { someText } from '../text/some.ts';
import type { GpuRecord } from '../facts/gpu-record.ts';
import { productNamed } from '../facts/products.ts';
import { type HostCheck, cannotTell, fail, list, pass } from './host-check.ts';
import { LOOK_AT_TOOLS, gpuName } from './planned-gpus.ts';

const WANTED = 'wanted are whole GPUs, SPX and NPS1';

/** No GPU is cut into partitions: an engine is planned on whole ones. Products that know no partitions pass. */
export const gpuPartition: HostCheck = {
  name: 'gpu-partition',
  judge({ gpus }, { gpus: demand }) {
    if (!demand) return undefined;
    const unread = (why: string) =>
      cannotTell({ what: 'The GPU partitions', why, wanted: WANTED, remedy: LOOK_AT_TOOLS });
    if (!gpus.value) return unread(gpus.why);
    const cut = gpus.value.filter(
      (gpu) =>
        !isWhole(gpu.computePartition, 'SPX') || !isWhole(gpu.memoryPartition, 'NPS1') || (gpu.partitionId ?? 0) > 0,
    );
    if (cut.length > 0) {
      const modes = [...new Set(cut.map((gpu) => `${gpu.computePartition ?? '?'}/${gpu.memoryPartition ?? '?'}`))];
      return fail(
        `${list(modes)} on ${someText(cut.map(gpuName), 8)}; ${WANTED}`,
        'Set them back: `sudo amd-smi set --compute-partition SPX` and `sudo amd-smi set --memory-partition NPS1`.',
      );
    }
    const untold = gpus.value.filter((gpu) => !tellsAll(gpu));
    return untold.length > 0
      ? unread(`no tool tells those of ${list(untold.map(gpuName))}`)
      : pass(`${gpus.value.length} whole GPUs, ${WANTED}`);
  },
};

const isWhole = (mode: string | undefined, whole: string): boolean =>
  mode === undefined || mode === 'N/A' || mode === whole;

/** "N/A" is an answer only of a product that has no partitions. */
function tellsAll({ product, computePartition, memoryPartition }: GpuRecord): boolean {
  if (product !== undefined && productNamed(product)?.partitions === false) return true;
  return computePartition === 'SPX' && memoryPartition === 'NPS1';
}
