import { satisfies } from '../facts/version.ts';
import { type HostCheck, cannotTell, fail, pass } from './host-check.ts';

const REMEDY = 'Install a release of the amdgpu driver (amdgpu-dkms) that is in the range, or change rocm.driver.';

/** The amdgpu driver is loaded and of a release in `rocm.driver`. */
export const gpuDriver: HostCheck = {
  name: 'gpu-driver',
  judge({ driver }, { gpus, rocm }) {
    if (!gpus) return undefined;
    const wanted = `rocm.driver is ${rocm.driver}`;
    if (!driver.value) return cannotTell({ what: 'The amdgpu driver', why: driver.why, wanted, remedy: REMEDY });
    if (driver.value.kind === 'in-tree') {
      const evidence = `amdgpu is the driver of kernel ${driver.value.kernel} and no release of its own; ${wanted}`;
      return fail(evidence, `${REMEDY} To use the driver of the kernel, waive gpu-driver.`);
    }
    const evidence = `amdgpu ${driver.value.version}, ${wanted}`;
    return satisfies(driver.value.version, rocm.driver) ? pass(evidence) : fail(evidence, REMEDY);
  },
};
