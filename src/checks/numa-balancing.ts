import { type HostCheck, cannotTell, pass, warn } from './host-check.ts';

const WANTED = 'kernel.numa_balancing should be 0';
const REMEDY = 'Run `sudo sysctl kernel.numa_balancing=0` and keep it in /etc/sysctl.d/.';

/** Advisory: the kernel does not move memory between NUMA nodes, which stalls GPUs. */
export const numaBalancing: HostCheck = {
  name: 'numa-balancing',
  judge({ numaBalancing: value }, { gpus }) {
    if (!gpus) return undefined;
    if (value.value === undefined) {
      return cannotTell({ what: 'NUMA balancing', why: value.why, wanted: WANTED, remedy: REMEDY }, 'warn');
    }
    const evidence = `kernel.numa_balancing is ${value.value}, ${WANTED}`;
    return value.value === 0 ? pass(evidence) : warn(evidence, REMEDY);
  },
};
