import type { Gid } from './gid.ts';

/** One port of an RDMA device, as one tool shows it. What the tool did not say is absent. */
export interface RdmaPort {
  readonly device: string;
  readonly port: number;
  /** The name that the provider library goes by: "mlx5", "bnxt_re", "ionic". */
  readonly driver?: string;
  /** "ACTIVE", "DOWN", "INIT", … */
  readonly state?: string;
  /** "LINKUP", "POLLING", "DISABLED", …; "UNKNOWN" when it is no physical state at all. */
  readonly physicalState?: string;
  /** Gigabits per second. */
  readonly rateGbps?: number;
  readonly linkLayer?: 'InfiniBand' | 'Ethernet' | 'unknown';
  readonly gids?: readonly Gid[];
  /** The network interface of the port. */
  readonly netdev?: string;
  readonly numaNode?: number;
}

/** True when traffic can pass: the state is ACTIVE and nothing contradicts it. */
export const isUp = ({ state, physicalState }: RdmaPort): boolean =>
  state === 'ACTIVE' && (physicalState === undefined || physicalState === 'LINKUP');

/** One port of each device, by its name: of several the first that is up, else the first. */
export function onePerDevice(ports: readonly RdmaPort[]): ReadonlyMap<string, RdmaPort> {
  const devices = new Map<string, RdmaPort>();
  for (const port of ports) {
    const known = devices.get(port.device);
    if (!known || (!isUp(known) && isUp(port))) devices.set(port.device, port);
  }
  return devices;
}

/** "4: ACTIVE", "PORT_ACTIVE (4)", "Active" → "ACTIVE"; undefined for what is no logical state. */
export function stateOf(text: string | undefined): string | undefined {
  const word = wordOf(text)?.replace(/^PORT_/, '');
  return word !== undefined && ['NOP', 'DOWN', 'INIT', 'ARMED', 'ACTIVE', 'ACTIVE_DEFER'].includes(word)
    ? word
    : undefined;
}

const PHYSICAL = ['SLEEP', 'POLLING', 'DISABLED', 'TRAINING', 'LINKUP', 'LINKERRORRECOVERY', 'PHYTEST'];

/** "5: LinkUp", "LINK_UP" → "LINKUP"; "UNKNOWN" for a text that is no physical state, undefined for none. */
export function physicalStateOf(text: string | undefined): string | undefined {
  const word = wordOf(text)?.replaceAll(/[_ ]|^PORTCONFIGURATION/g, '');
  return word === undefined ? undefined : PHYSICAL.includes(word) ? word : 'UNKNOWN';
}

/** "InfiniBand" and "Ethernet" are the link layers there are; anything else is unknown and never passes. */
export function linkLayerOf(text: string | undefined): RdmaPort['linkLayer'] {
  if (text === undefined) return undefined;
  return /^infiniband$/i.test(text.trim()) ? 'InfiniBand' : /^ethernet$/i.test(text.trim()) ? 'Ethernet' : 'unknown';
}

/** Kernel drivers and PCI vendors, and the name that their provider library goes by (rdma-core, providers/). */
const PROVIDERS: readonly (readonly [pattern: RegExp, driver: string])[] = [
  [/^mlx5_|^0x15b3$/, 'mlx5'],
  [/^mlx4_/, 'mlx4'],
  [/^bnxt_|^0x14e4$/, 'bnxt_re'],
  [/^ionic|^0x1dd8$/, 'ionic'],
  [/^irdma|^ice$|^idpf$/, 'irdma'],
  [/^hfi1/, 'hfi1verbs'],
  [/^efa/, 'efa'],
  [/^erdma/, 'erdma'],
  [/^rxe/, 'rxe'],
  [/^siw/, 'siw'],
];

/** The provider's name by the kernel driver, the PCI vendor or the device's own name, whichever tells first. */
export function providerOf(...hints: readonly (string | undefined)[]): string | undefined {
  for (const hint of hints) {
    const known = PROVIDERS.find(([pattern]) => hint !== undefined && pattern.test(hint));
    if (known) return known[1];
  }
  return undefined;
}

function wordOf(text: string | undefined): string | undefined {
  const word = text
    ?.trim()
    .replace(/^\d+:/, '')
    .replace(/\(\d+\)$/, '')
    .trim();
  return word !== undefined && /^[A-Za-z_ ]+$/.test(word) ? word.toUpperCase() : undefined;
}
