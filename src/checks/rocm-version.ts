import { satisfies } from '../facts/version.ts';
import { type HostCheck, cannotTell, fail, pass } from './host-check.ts';

const REMEDY = 'Install a ROCm release that is in the range on the host, or change rocm.version.';

/** The ROCm release of the host is in `rocm.version`. */
export const rocmVersion: HostCheck = {
  name: 'rocm-version',
  judge({ rocm }, { gpus, rocm: { version } }) {
    if (!gpus) return undefined;
    const wanted = `rocm.version is ${version}`;
    if (rocm.value === undefined) return cannotTell({ what: 'ROCm', why: rocm.why, wanted, remedy: REMEDY });
    const evidence = `ROCm ${rocm.value}, ${wanted}`;
    return satisfies(rocm.value, version) ? pass(evidence) : fail(evidence, REMEDY);
  },
};
