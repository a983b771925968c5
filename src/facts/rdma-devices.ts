import type { Fact } from './fact.ts';
import { type Gid, gidTypeOf } from './gid.ts';
import { told } from './gpu-record.ts';
import { type RdmaPort, linkLayerOf, physicalStateOf, providerOf, stateOf } from './rdma-port.ts';
import { findAndPrint, sysfsFiles } from './sysfs.ts';
import { integerOf } from './tool-json.ts';

const ROOT = '/sys/class/infiniband';

/** Every RDMA port with its GIDs, out of sysfs. Source: kernel ABI documentation, sysfs-class-infiniband. */
export const rdmaDevices: Fact<readonly RdmaPort[]> = {
  name: 'rdma-devices',
  command: () =>
    findAndPrint(ROOT, {
      depth: 6,
      // Behind `device` lies the whole PCI tree, and behind `subsystem` this folder again.
      prune: ['*/device/*/*', '*/subsystem', '*counters'],
      names: [
        ...['state', 'phys_state', 'rate', 'link_layer', 'gids/*'].map((file) => `*/ports/*/${file}`),
        ...['types/*', 'ndevs/*'].map((file) => `*/ports/*/gid_attrs/${file}`),
        ...['numa_node', 'uevent', 'vendor'].map((file) => `${ROOT}/*/device/${file}`),
      ],
    }),
  timeoutMs: 20_000,
  parse(output) {
    const files = sysfsFiles(ROOT, output);
    const ports = new Map<string, { device: string; port: number }>();
    for (const path of files.keys()) {
      const match = /\/infiniband\/([^/]+)\/ports\/(\d+)\//.exec(path);
      if (match) ports.set(`${match[1]}/${match[2]}`, { device: match[1]!, port: Number(match[2]) });
    }
    if (ports.size === 0) throw new SyntaxError(`${ROOT} shows no RDMA port`);
    return [...ports.values()].map(({ device, port }) => portOf(files, device, port));
  },
};

function portOf(files: ReadonlyMap<string, string>, device: string, port: number): RdmaPort {
  const ofDevice = (file: string) => files.get(`${ROOT}/${device}/device/${file}`);
  const ofPort = (file: string) => files.get(`${ROOT}/${device}/ports/${port}/${file}`);
  const rate = /^(\d+(?:\.\d+)?) Gb\/sec/.exec(ofPort('rate') ?? '')?.[1];
  const numaNode = integerOf(ofDevice('numa_node'));
  return told({
    device,
    port,
    driver: providerOf(/DRIVER=(\S+)/.exec(ofDevice('uevent') ?? '')?.[1], ofDevice('vendor'), device),
    state: stateOf(ofPort('state')),
    physicalState: physicalStateOf(ofPort('phys_state')),
    rateGbps: rate === undefined ? undefined : Number(rate),
    linkLayer: linkLayerOf(ofPort('link_layer')),
    gids: gidsOf(files, `${ROOT}/${device}/ports/${port}`),
    netdev: ofPort('gid_attrs/ndevs/0'),
    numaNode: numaNode === -1 ? undefined : numaNode,
  });
}

/** Undefined when no entry was shown: an empty table and one that could not be read look alike. */
function gidsOf(files: ReadonlyMap<string, string>, port: string): readonly Gid[] | undefined {
  const gids = [...files]
    .flatMap(([path, gid]) => {
      const index = path.startsWith(`${port}/gids/`) ? integerOf(path.slice(`${port}/gids/`.length)) : undefined;
      const type = gidTypeOf(files.get(`${port}/gid_attrs/types/${index}`));
      // An empty entry is all zeros, or a bare link-local prefix on InfiniBand that was never filled.
      return index === undefined || /^[0:]*$/.test(gid) ? [] : [{ index, gid: gid.toLowerCase(), type }];
    })
    .toSorted((one, other) => one.index - other.index);
  return gids.length === 0 ? undefined : gids;
}
