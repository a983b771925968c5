import { type HostCheck, cannotTell, fail, list, pass } from './host-check.ts';
import { LOOK_AT_RDMA, NO_DEVICE, plannedPorts, usesRdma } from './planned-ports.ts';

/** The provider library of every planned NIC is on the host, from where it is mounted into the containers. */
export const rdmaProvider: HostCheck = {
  name: 'rdma-provider',
  judge({ rdma, providerLibraries }, demand) {
    const { providerLibrary } = demand.rdma;
    if (!usesRdma(demand) || providerLibrary === 'none') return undefined;
    const wanted = `rdma.providerLibrary is ${providerLibrary}`;
    const remedy =
      'Install the user-space RDMA package of the NIC’s vendor, or name the library in rdma.providerLibrary.';
    const unread = (why: string) => cannotTell({ what: 'RDMA provider libraries', why, wanted, remedy });
    if (!providerLibraries.value) return unread(providerLibraries.why);
    const libraries = providerLibraries.value;
    if (providerLibrary !== 'auto') {
      return libraries.some(({ path }) => path === providerLibrary)
        ? pass(`${providerLibrary} is there, ${wanted}`)
        : fail(`the file is not on the host; ${wanted}`, remedy);
    }
    if (!rdma.value) return cannotTell({ what: 'RDMA devices', why: rdma.why, wanted, remedy: LOOK_AT_RDMA });
    const ports = plannedPorts(rdma.value, demand);
    if (ports.length === 0) return unread(NO_DEVICE);
    const untold = ports.filter(({ driver }) => driver === undefined);
    if (untold.length > 0) return unread(`the driver of ${list(untold.map(({ device }) => device))} is not known`);
    const drivers = [...new Set(ports.map(({ driver }) => driver!))];
    const missing = drivers.filter((name) => !libraries.some(({ driver }) => driver === name));
    const found = libraries.filter(({ driver }) => drivers.includes(driver)).map(({ path }) => path);
    return missing.length === 0
      ? pass(`${list(found)}; ${wanted}`)
      : fail(`no library lib${missing.join(', lib')} in the folders of libibverbs; ${wanted}`, remedy);
  },
};
