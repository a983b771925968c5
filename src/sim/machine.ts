import type { HostScenario, NicScenario } from './scenario.ts';
import { PRODUCTS, type Product } from './products.ts';

/** A simulated host as its tools see it: the scenario with every default resolved, and what engines use now. */
export interface Machine {
  readonly scenario: HostScenario;
  readonly product: Product;
  readonly gpus: readonly GpuView[];
  readonly nics: readonly NicView[];
  readonly providerLibraries: readonly string[];
  readonly bootId: string;
}

export interface GpuView {
  readonly index: number;
  /** "0000:05:00.0" */
  readonly pci: string;
  readonly numaNode: number;
  readonly serial: string;
  readonly hbmMiB: number;
  readonly usedMiB: number;
  /** Processes that hold memory on it. */
  readonly processes: readonly { readonly pid: number; readonly name: string; readonly usedMiB: number }[];
}

export interface NicView extends Omit<NicScenario, 'netdev' | 'address'> {
  readonly pci: string;
  readonly netdev: string | undefined;
  /** IPv4 address in the RoCE v2 GID. */
  readonly address: string | undefined;
  /** 48-bit MAC as six bytes. */
  readonly mac: readonly number[];
  readonly numaNode: number;
  readonly gids: readonly { readonly index: number; readonly gid: string; readonly type: string }[];
}

/** What an engine takes on a GPU of its host. */
export interface GpuUse {
  readonly pid: number;
  readonly name: string;
  readonly gpus: readonly number[];
  /** MiB on each of the GPUs. */
  readonly usedMiB: number;
}

const GPU_BUSES = ['05', '26', '46', '65', '85', 'a6', 'c6', 'e5'];
const NIC_BUSES = ['06', '27', '47', '66', '86', 'a7', 'c7', 'e6'];
/** What the driver holds on a GPU that nobody uses, as MI300X hosts show it. */
const IDLE_MIB = 283;

/** Resolves a host's defaults. `hostIndex` makes addresses and serial numbers unique within a scenario. */
export function machineOf(scenario: HostScenario, hostIndex: number, bootId: string, uses: readonly GpuUse[]): Machine {
  const { gpus: gpuScenario } = scenario;
  const product = PRODUCTS[gpuScenario.product]!;
  const hbmMiB = gpuScenario.hbmMiB ?? product.hbmMiB;
  const gpus = Array.from({ length: gpuScenario.count }, (_, index): GpuView => {
    const processes = uses
      .filter((use) => use.gpus.includes(index))
      .map(({ pid, name, usedMiB }) => ({ pid, name, usedMiB: Math.round(usedMiB) }));
    const usedMiB = (gpuScenario.usedMiB[index] ?? 0) + processes.reduce((sum, use) => sum + use.usedMiB, IDLE_MIB);
    return {
      index,
      pci: `0000:${GPU_BUSES[index]!}:00.0`,
      numaNode: index < 4 ? 0 : 1,
      serial: `0x${(0x9f00_0000_0000 + hostIndex * 256 + index).toString(16).toUpperCase().padStart(16, '0')}`,
      hbmMiB,
      usedMiB: Math.min(usedMiB, hbmMiB),
      processes,
    };
  });
  const nics = nicScenarios(scenario).map((nic, index) => nicView(nic, index, hostIndex));
  const providerLibraries =
    scenario.providerLibraries === 'auto'
      ? [...new Set(nics.map(({ driver }) => providerLibrary(driver)))]
      : scenario.providerLibraries;
  return { scenario, product, gpus, nics, providerLibraries, bootId };
}

function nicScenarios({ nics, gpus }: HostScenario): NicScenario[] {
  if (nics !== 'auto') return nics;
  return Array.from({ length: Math.max(gpus.count, 1) }, (_, index) => ({
    device: `bnxt_re${index}`,
    driver: 'bnxt_re',
    rateGbps: 400,
    state: 'ACTIVE',
    linkLayer: 'Ethernet',
    mtu: 4096,
    efficiency: 0.97,
  }));
}

function nicView(nic: NicScenario, index: number, hostIndex: number): NicView {
  const address =
    nic.address === null || nic.linkLayer === 'InfiniBand'
      ? undefined
      : (nic.address ?? `10.${index}.${hostIndex >> 8}.${(hostIndex & 255) + 1}`);
  const mac = [0x84, 0x16, 0x0c, hostIndex >> 8, hostIndex & 255, index];
  return {
    ...nic,
    address,
    mac,
    pci: `0000:${NIC_BUSES[index % 8]!}:00.${index >> 3}`,
    netdev: nic.netdev === '' ? undefined : (nic.netdev ?? `enp${parseInt(NIC_BUSES[index % 8]!, 16)}s0np0`),
    numaNode: index % 8 < 4 ? 0 : 1,
    gids: gidsOf(nic, mac, address),
  };
}

/** RoCE ports show each address twice, as v1 and as v2: link-local at 0 and 1, IPv4-mapped at 2 and 3. */
function gidsOf(nic: NicScenario, mac: readonly number[], address: string | undefined): NicView['gids'] {
  const linkLocal = `fe80:0000:0000:0000:${eui64(mac)}`;
  if (nic.linkLayer === 'InfiniBand') return [{ index: 0, gid: linkLocal, type: 'IB/RoCE v1' }];
  const rows = [
    { index: 0, gid: linkLocal, type: 'IB/RoCE v1' },
    { index: 1, gid: linkLocal, type: 'RoCE v2' },
  ];
  if (address === undefined) return rows;
  const [a, b, c, d] = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  const mapped = `0000:0000:0000:0000:0000:ffff:${a}${b}:${c}${d}`;
  return [...rows, { index: 2, gid: mapped, type: 'IB/RoCE v1' }, { index: 3, gid: mapped, type: 'RoCE v2' }];
}

const hex = (byte: number) => byte.toString(16).padStart(2, '0');

function eui64(mac: readonly number[]): string {
  const bytes = [mac[0]! ^ 2, mac[1]!, mac[2]!, 0xff, 0xfe, mac[3]!, mac[4]!, mac[5]!].map(hex);
  return [0, 2, 4, 6].map((at) => bytes[at]! + bytes[at + 1]!).join(':');
}

/** "84160cfffe000000", as the tools print node GUIDs. */
export const nodeGuid = (nic: NicView): string => eui64(nic.mac).replaceAll(':', '');

function providerLibrary(driver: NicScenario['driver']): string {
  return `/usr/lib64/libibverbs/lib${driver}-rdmav34.so`;
}
