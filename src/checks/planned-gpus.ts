import type { GpuRecord } from '../facts/gpu-record.ts';
import type { GpuDemand } from './demand.ts';

/** The GPUs that the plan is about; all of the host where no plan names any. */
export const plannedGpus = (gpus: readonly GpuRecord[], { planned }: GpuDemand): readonly GpuRecord[] =>
  planned.length === 0 ? gpus : gpus.filter(({ index }) => planned.includes(index));

/** "GPU 3 (0000:85:00.0)" */
export const gpuName = ({ index, bdf }: GpuRecord): string => `GPU ${index}${bdf === undefined ? '' : ` (${bdf})`}`;

/** Where to look when the GPU tools say nothing. */
export const LOOK_AT_TOOLS =
  'Run `amd-smi static` on the host as the SSH user; it needs amd-smi, the amdgpu driver and membership in the groups video and render.';
