import { isVirtualFunction } from '../facts/products.ts';
import { type HostCheck, cannotTell, pass, warn } from './host-check.ts';

const WANTED = 'iommu=pt should be on the kernel command line';
const REMEDY = 'Add iommu=pt to the kernel command line and reboot.';

/** Advisory: on bare metal the IOMMU passes DMA through, else transfers between GPU and NIC are slow. */
export const iommu: HostCheck = {
  name: 'iommu',
  judge({ kernelCmdline, gpus: { value: gpus } }, { gpus: demand }) {
    if (!demand) return undefined;
    if (gpus?.some(({ deviceId }) => isVirtualFunction(deviceId))) {
      return pass('the GPUs are virtual functions: the IOMMU is the hypervisor’s');
    }
    if (!kernelCmdline.value) {
      const why = kernelCmdline.why;
      return cannotTell({ what: 'The kernel command line', why, wanted: WANTED, remedy: REMEDY }, 'warn');
    }
    const through = kernelCmdline.value.some((word) => word === 'iommu=pt' || word === 'iommu.passthrough=1');
    return through ? pass(`iommu=pt is set, ${WANTED}`) : warn(`iommu=pt is absent, ${WANTED}`, REMEDY);
  },
};
