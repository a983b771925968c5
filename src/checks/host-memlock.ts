import { type HostCheck, cannotTell, fail, pass } from './host-check.ts';

const MIB = 2 ** 20;
/** The kernel shows "unlimited" in other ways too, such as 2^64 - 2^20; no host locks a tebibyte. */
const UNLIMITED = 2 ** 40;
/** What a bandwidth test registers, with room: containers get engine.ulimits and need no more of the user. */
const TEST_MIN = 64 * MIB;
const REMEDY =
  'Set "* - memlock unlimited" in /etc/security/limits.d/ for the SSH user and log in anew (end its ssh master).';

/** RDMA pins memory: the SSH user may lock what a bandwidth test needs, and any amount where engines run as its processes. */
export const hostMemlock: HostCheck = {
  name: 'host-memlock',
  judge({ memlock }, { engineRuntime, rdma }) {
    if (engineRuntime === undefined || rdma.transport === 'tcp') return undefined;
    const asProcess = engineRuntime === 'process';
    const wanted = asProcess ? 'engine.runtime process needs unlimited' : `the RDMA test needs ${TEST_MIN / MIB} MiB`;
    if (memlock.value === undefined) {
      return cannotTell({ what: 'The memlock limit', why: memlock.why, wanted, remedy: REMEDY });
    }
    const evidence = `memlock is ${memlock.value >= UNLIMITED ? 'unlimited' : `${memlock.value / MIB} MiB`}, ${wanted}`;
    return memlock.value >= (asProcess ? UNLIMITED : TEST_MIN) ? pass(evidence) : fail(evidence, REMEDY);
  },
};
