import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { type Gid, gidTypeOf } from './gid.ts';
import { told } from './gpu-record.ts';
import { type RdmaPort, linkLayerOf, physicalStateOf, providerOf, stateOf } from './rdma-port.ts';

/** Every RDMA port as libibverbs shows it: a device whose provider library is missing is absent. Source: ibv_devinfo(1). */
export const ibvDevinfo: Fact<readonly RdmaPort[]> = {
  name: 'ibv-devinfo',
  command: () => ['ibv_devinfo', '-v'],
  timeoutMs: 20_000,
  parse(output) {
    assertEndedWell('ibv_devinfo', output);
    const ports = output.stdout
      .split(/^hca_id:/m)
      .slice(1)
      .flatMap(portsOf);
    if (ports.length === 0) throw new SyntaxError(whyNothing('ibv_devinfo', output));
    return ports;
  },
};

function portsOf(section: string): readonly RdmaPort[] {
  const [head, ...ports] = section.split(/^\s+port:\s+/m);
  const device = head!.trim().split(/\s/)[0]!;
  const vendor = field(head!, 'vendor_id');
  return ports.map((text) => {
    const layer = linkLayerOf(field(text, 'link_layer'));
    return told({
      device,
      port: Number.parseInt(text, 10),
      driver: providerOf(vendor, device),
      state: stateOf(field(text, 'state')),
      physicalState: physicalStateOf(field(text, 'phys_state')),
      rateGbps: rateOf(field(text, 'active_width'), field(text, 'active_speed')),
      linkLayer: layer,
      gids: gidsOf(text),
    });
  });
}

const field = (text: string, name: string): string | undefined =>
  new RegExp(`^\\s*${name}:\\s+(.+?)\\s*$`, 'm').exec(text)?.[1];

/** "4X (2)" lanes of "25.0 Gbps (32)" each. */
function rateOf(width: string | undefined, speed: string | undefined): number | undefined {
  const lanes = /^(\d+)X/.exec(width ?? '')?.[1];
  const laneGbps = /^(\d+(?:\.\d+)?) Gbps/.exec(speed ?? '')?.[1];
  return lanes === undefined || laneGbps === undefined ? undefined : Number(lanes) * Number(laneGbps);
}

/** Undefined when none is shown, as without -v. */
function gidsOf(text: string): readonly Gid[] | undefined {
  const gids = [...text.matchAll(/GID\[\s*(\d+)\]:\s+([0-9a-f:.]+)(?:,\s*(.+?))?\s*$/gim)].flatMap(
    ([, index, printed, type]) => {
      const gid = fullGid(printed!);
      return gid === undefined ? [] : [{ index: Number(index), gid, type: gidTypeOf(type) }];
    },
  );
  return gids.length === 0 ? undefined : gids;
}

/** Newer releases print the short form: "::ffff:10.0.0.1" and "fe80::1" → eight groups of four digits. */
function fullGid(printed: string): string | undefined {
  const quad = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(printed);
  const hex = (value: number) => value.toString(16).padStart(2, '0');
  const bytes = quad?.slice(1).map((byte) => hex(Number(byte)));
  const text = bytes ? printed.replace(quad![0], `${bytes[0]}${bytes[1]}:${bytes[2]}${bytes[3]}`) : printed;
  const [left, right, ...more] = text.split('::').map((half) => half.split(':').filter((group) => group !== ''));
  if (more.length > 0 || !left) return undefined;
  const zeros = right ? 8 - left.length - right.length : 0;
  const groups = [...left, ...Array.from({ length: Math.max(0, zeros) }, () => '0'), ...(right ?? [])];
  return groups.length === 8 ? groups.map((group) => group.padStart(4, '0').toLowerCase()).join(':') : undefined;
}
