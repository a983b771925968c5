import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { type Gid, gidTypeOf } from './gid.ts';
import { told } from './gpu-record.ts';
import { fieldsIn, linesOf, sectionsOf } from './lines.ts';
import { type RdmaPort, linkLayerOf, physicalStateOf, providerOf, stateOf } from './rdma-port.ts';

/** Every RDMA port as libibverbs shows it: a device whose provider library is missing is absent. Source: ibv_devinfo(1). */
export const ibvDevinfo: Fact<readonly RdmaPort[]> = {
  name: 'ibv-devinfo',
  command: () => ['ibv_devinfo', '-v'],
  timeoutMs: 20_000,
  parse(output) {
    assertEndedWell('ibv_devinfo', output);
    const ports = sectionsOf(linesOf(output.stdout), (line) => line.startsWith('hca_id:')).flatMap(portsOf);
    if (ports.length === 0) throw new SyntaxError(whyNothing('ibv_devinfo', output));
    return ports;
  },
};

const PORT = /^\s+port:\s+(\d+)/;

function portsOf(section: readonly string[]): readonly RdmaPort[] {
  const device = section[0]!.slice('hca_id:'.length).trim().split(/\s/)[0]!;
  const vendor = fieldsIn(section).get('vendor_id');
  return sectionsOf(section, (line) => PORT.test(line)).map((lines) => {
    const fields = fieldsIn(lines);
    return told({
      device,
      port: Number(PORT.exec(lines[0]!)?.[1]),
      driver: providerOf(vendor, device),
      state: stateOf(fields.get('state')),
      physicalState: physicalStateOf(fields.get('phys_state')),
      rateGbps: rateOf(fields.get('active_width'), fields.get('active_speed')),
      linkLayer: linkLayerOf(fields.get('link_layer')),
      gids: gidsOf(lines),
    });
  });
}

/** "4X (2)" lanes of "25.0 Gbps (32)" each. */
function rateOf(width: string | undefined, speed: string | undefined): number | undefined {
  const lanes = /^(\d+)X/.exec(width ?? '')?.[1];
  const laneGbps = /^(\d+(?:\.\d+)?) Gbps/.exec(speed ?? '')?.[1];
  return lanes === undefined || laneGbps === undefined ? undefined : Number(lanes) * Number(laneGbps);
}

/** Undefined when none is shown, as without -v. */
function gidsOf(lines: readonly string[]): readonly Gid[] | undefined {
  const gids = lines.flatMap((line) => {
    const [, index, printed, type] = /^\s*GID\[\s*(\d+)\]:\s+([0-9a-f:.]+)(?:,(.*))?$/i.exec(line.trimEnd()) ?? [];
    const gid = printed === undefined ? undefined : fullGid(printed);
    return gid === undefined ? [] : [{ index: Number(index), gid, type: gidTypeOf(type) }];
  });
  return gids.length === 0 ? undefined : gids;
}

/** Eight groups of four digits, or six of them and an IPv4 address. */
const LONGEST_GID = 45;

/** Newer releases print the short form: "::ffff:10.0.0.1" and "fe80::1" → eight groups of four digits. */
function fullGid(printed: string): string | undefined {
  if (printed.length > LONGEST_GID) return undefined;
  const quad = /:(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(printed);
  const hex = (value: number) => value.toString(16).padStart(2, '0');
  const bytes = quad?.slice(1).map((byte) => hex(Number(byte)));
  const text = bytes ? printed.replace(quad![0], `:${bytes[0]}${bytes[1]}:${bytes[2]}${bytes[3]}`) : printed;
  const [left, right, ...more] = text.split('::').map((half) => half.split(':').filter((group) => group !== ''));
  if (more.length > 0 || !left) return undefined;
  const zeros = right ? 8 - left.length - right.length : 0;
  const groups = [...left, ...Array.from({ length: Math.max(0, zeros) }, () => '0'), ...(right ?? [])];
  return groups.length === 8 ? groups.map((group) => group.padStart(4, '0').toLowerCase()).join(':') : undefined;
}
