import { type HostCheck, cannotTell, fail, pass } from './host-check.ts';
import { LOOK_AT_TOOLS } from './planned-gpus.ts';

/** The host has as many whole GPUs as the spec says; partitions of one GPU count once. */
export const gpuCount: HostCheck = {
  name: 'gpu-count',
  judge({ gpus }, { gpus: demand }) {
    if (!demand) return undefined;
    const wanted = `hosts.list gpus.count is ${demand.count}`;
    if (!gpus.value) return cannotTell({ what: 'The GPUs', why: gpus.why, wanted, remedy: LOOK_AT_TOOLS });
    const whole = gpus.value.filter(({ partitionId }) => partitionId === undefined || partitionId === 0).length;
    const rows = gpus.value.length === whole ? '' : ` (listed as ${gpus.value.length} partitions)`;
    const evidence = `${whole} GPUs${rows}, ${wanted}`;
    return whole >= demand.count
      ? pass(evidence)
      : fail(evidence, 'Look for a GPU that fell off the bus (`lspci -d 1002:`, kernel log), or correct gpus.count.');
  },
};
