import { normaliseProduct } from '../facts/products.ts';
import { type HostCheck, cannotTell, fail, list, pass } from './host-check.ts';
import { LOOK_AT_TOOLS, gpuName, plannedGpus } from './planned-gpus.ts';

/** Every planned GPU is the product that the spec says. */
export const gpuProduct: HostCheck = {
  name: 'gpu-product',
  judge({ gpus }, { gpus: demand }) {
    if (!demand) return undefined;
    const product = normaliseProduct(demand.product) ?? demand.product;
    const wanted = `hosts.list gpus.product is ${demand.product}`;
    const unread = (why: string) => cannotTell({ what: 'The GPU product', why, wanted, remedy: LOOK_AT_TOOLS });
    if (!gpus.value) return unread(gpus.why);
    const planned = plannedGpus(gpus.value, demand);
    const nameless = planned.filter((gpu) => gpu.product === undefined);
    if (planned.length === 0) return unread('no planned GPU is listed');
    if (nameless.length > 0) return unread(`no tool names that of ${list(nameless.map(gpuName))}`);
    const others = planned.filter((gpu) => gpu.product !== product);
    if (others.length === 0) return pass(`${planned.length} × ${product}, ${wanted}`);
    const evidence = `${list(others.map((gpu) => `${gpuName(gpu)} is ${gpu.product!}`))}; ${wanted}`;
    return fail(evidence, 'Correct gpus.product of the host, or take another host.');
  },
};
