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
    const ports = new Map<string, Port>();
    for (const [path, value] of files) {
      const [device = '', room, number = '', ...file] = path.slice(ROOT.length + 1).split('/');
      if (room !== 'ports' || !/^\d+$/.test(number) || file.length === 0) continue;
      const port = ports.get(`${device}/${number}`) ?? { device, port: Number(number), files: new Map() };
      ports.set(`${device}/${number}`, port);
      port.files.set(file.join('/'), value);
    }
    if (ports.size === 0) throw new SyntaxError(`${ROOT} shows no RDMA port`);
    return [...ports.values()].map((port) => portOf(files, port));
  },
};

/** A port and what its own files hold, by their path below it. */
interface Port {
  readonly device: string;
  readonly port: number;
  readonly files: Map<string, string>;
}

function portOf(files: ReadonlyMap<string, string>, { device, port, files: own }: Port): RdmaPort {
  const ofDevice = (file: string) => files.get(`${ROOT}/${device}/device/${file}`);
  const ofPort = (file: string) => own.get(file);
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
    gids: gidsOf(own),
    netdev: ofPort('gid_attrs/ndevs/0'),
    numaNode: numaNode === -1 ? undefined : numaNode,
  });
}

/** Undefined when no entry was shown: an empty table and one that could not be read look alike. */
function gidsOf(own: ReadonlyMap<string, string>): readonly Gid[] | undefined {
  const gids = [...own]
    .flatMap(([path, gid]) => {
      const index = path.startsWith('gids/') ? integerOf(path.slice('gids/'.length)) : undefined;
      const type = gidTypeOf(own.get(`gid_attrs/types/${index}`));
      // An empty entry is all zeros, or a bare link-local prefix on InfiniBand that was never filled.
      return index === undefined || /^[0:]*$/.test(gid) ? [] : [{ index, gid: gid.toLowerCase(), type }];
    })
    .toSorted((one, other) => one.index - other.index);
  return gids.length === 0 ? undefined : gids;
}
