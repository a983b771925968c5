import { normaliseProduct, productNamed } from '../facts/products.ts';
import { type HostCheck, cannotTell, fail, list, pass, warn } from './host-check.ts';
import { LOOK_AT_TOOLS, gpuName, plannedGpus } from './planned-gpus.ts';

/** Tools show a little less than the nominal size: firmware keeps some, and more under virtualisation. */
const TOLERANCE = 0.02;

/** Every planned GPU shows the memory of its product. */
export const gpuHbm: HostCheck = {
  name: 'gpu-hbm',
  judge({ gpus }, { gpus: demand }) {
    if (!demand) return undefined;
    const nominalGiB = productNamed(normaliseProduct(demand.product) ?? demand.product)?.hbmGiB;
    const wanted =
      nominalGiB === undefined
        ? `the size of gpus.product ${demand.product} is not known to Tandem`
        : `gpus.product ${demand.product} has ${nominalGiB} GiB`;
    const unread = (why: string) => cannotTell({ what: 'GPU memory', why, wanted, remedy: LOOK_AT_TOOLS });
    if (!gpus.value) return unread(gpus.why);
    const planned = plannedGpus(gpus.value, demand);
    const unsized = planned.filter((gpu) => gpu.hbmMiB === undefined);
    if (planned.length === 0) return unread('no planned GPU is listed');
    if (unsized.length > 0) return unread(`no tool tells that of ${list(unsized.map(gpuName))}`);
    const sizes = `${list([...new Set(planned.map(({ hbmMiB }) => gib(hbmMiB!)))])} GiB on ${planned.length} GPUs`;
    if (nominalGiB === undefined) return warn(`${sizes}; ${wanted}`, 'Compare the size with the data sheet.');
    const small = planned.filter(({ hbmMiB }) => hbmMiB! < nominalGiB * 1024 * (1 - TOLERANCE));
    if (small.length === 0) return pass(`${sizes}, ${wanted}`);
    return fail(
      `${list(small.map((gpu) => `${gpuName(gpu)} shows ${gib(gpu.hbmMiB!)} GiB`))}; ${wanted}`,
      'Look for a partitioned or failing GPU (`amd-smi partition`, `amd-smi bad-pages`).',
    );
  },
};

const gib = (mib: number): string => (mib / 1024).toFixed(1);
