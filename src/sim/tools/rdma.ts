import { nodeGuid, type NicView } from '../machine.ts';
import { parseArgs, printed, refused, UnknownFlag, type Tool } from './tool.ts';

/** `ibv_devices`, `ibv_devinfo`, `ibstat` and `rdma` of the simulated host. */

export const ibvDevices: Tool = ({ nics }) =>
  printed(
    `    device          \t   node GUID\n    ------          \t----------------\n${nics
      .map((nic) => `    ${nic.device.padEnd(16)}\t${nodeGuid(nic)}\n`)
      .join('')}`,
  );

export const ibvDevinfo: Tool = ({ nics }, args) => {
  try {
    const { flags, words } = parseArgs(args, {
      '-v': 'bare',
      '--verbose': 'bare',
      '-l': 'bare',
      '--list': 'bare',
      '-d': 'value',
      '-i': 'value',
    });
    if (words.length > 0) throw new UnknownFlag(words[0]!);
    if (nics.length === 0) return refused('No IB devices found\n', 255);
    if (flags.has('-l') || flags.has('--list')) {
      return printed(`${nics.length} HCAs found:\n${nics.map((nic) => `\t${nic.device}\n`).join('')}\n`);
    }
    const device = flags.get('-d')?.at(-1);
    const chosen = device === undefined ? nics : nics.filter((nic) => nic.device === device);
    if (chosen.length === 0) return refused(`IB device '${device}' wasn't found\n`, 255);
    const verbose = flags.has('-v') || flags.has('--verbose');
    return printed(chosen.map((nic) => devinfo(nic, verbose)).join(''));
  } catch (error) {
    return badOption('ibv_devinfo', error);
  }
};

export const ibstat: Tool = ({ nics }, args) => {
  try {
    const { flags, words } = parseArgs(args, { '-l': 'bare', '-s': 'bare', '-p': 'bare' });
    const device = words[0];
    const chosen = device === undefined ? nics : nics.filter((nic) => nic.device === device);
    if (chosen.length === 0) return refused(`ibstat: iberror: '${device ?? ''}' IB device can't be found\n`, 255);
    if (flags.has('-l')) return printed(chosen.map((nic) => `${nic.device}\n`).join(''));
    return printed(chosen.map(stat).join(''));
  } catch (error) {
    return badOption('ibstat', error);
  }
};

/** `rdma [-j] [-p] link|dev [show]`, options before or after the object. */
export const rdma: Tool = ({ nics }, args) => {
  const options = args.filter((arg) => arg.startsWith('-'));
  const unknown = options.find((option) => !['-j', '-p', '-jp', '-pj', '-d', '--json', '--pretty'].includes(option));
  if (unknown) return refused(`Option "${unknown}" is unknown, try "rdma -help".\n`, 255);
  const [object, action, name] = args.filter((arg) => !arg.startsWith('-'));
  if (object === undefined || !['link', 'dev'].includes(object)) {
    return refused(`Object "${object ?? ''}" is unknown, try "rdma help".\n`, 254);
  }
  if (action !== undefined && !['show', 'list'].includes(action)) {
    return refused(`Unknown argument "${action}".\n`, 234);
  }
  const device = name?.split('/')[0];
  const chosen = device === undefined ? nics : nics.filter((nic) => nic.device === device);
  if (device !== undefined && chosen.length === 0) return refused('Wrong device name\n', 254);
  const json = options.some((option) => option.includes('j'));
  if (object === 'dev') {
    const rows = chosen.map((nic) => ({
      ifindex: nics.indexOf(nic),
      ifname: nic.device,
      node_type: 'ca',
      fw: FIRMWARE[nic.driver],
      node_guid: colons(nodeGuid(nic)),
      sys_image_guid: colons(nodeGuid(nic)),
    }));
    if (json) return printed(`${JSON.stringify(rows)}\n`);
    return printed(
      rows
        .map(
          (row) =>
            `${row.ifindex}: ${row.ifname}: node_type ca fw ${row.fw} node_guid ${row.node_guid} sys_image_guid ${row.sys_image_guid} \n`,
        )
        .join(''),
    );
  }
  const rows = chosen.map((nic) => ({
    ifindex: nics.indexOf(nic),
    ifname: nic.device,
    port: 1,
    state: nic.state,
    physical_state: nic.state === 'DOWN' ? 'DISABLED' : 'LINK_UP',
    ...(nic.netdev === undefined ? {} : { netdev: nic.netdev, netdev_index: nics.indexOf(nic) + 3 }),
  }));
  if (json) return printed(`${JSON.stringify(rows)}\n`);
  return printed(
    rows
      .map(
        (row) =>
          `link ${row.ifname}/1 state ${row.state} physical_state ${row.physical_state} ${'netdev' in row ? `netdev ${row.netdev} ` : ''}\n`,
      )
      .join(''),
  );
};

const FIRMWARE: Readonly<Record<NicView['driver'], string>> = {
  bnxt_re: '231.2.63.0',
  mlx5: '28.41.1000',
  ionic: '1.117.1-a-63',
};
const VENDOR: Readonly<Record<NicView['driver'], readonly [vendor: string, part: string]>> = {
  bnxt_re: ['0x14e4', '5984'],
  mlx5: ['0x02c9', '4129'],
  ionic: ['0x1dd8', '4098'],
};
const MTU_CODE: Readonly<Record<number, number>> = { 1024: 3, 2048: 4, 4096: 5 };

const colons = (guid: string) => guid.replace(/(.{4})(?=.)/g, '$1:');

function devinfo(nic: NicView, verbose: boolean): string {
  const row = (indent: string, name: string, value: string) => `${indent}${`${name}:`.padEnd(32)}${value}\n`;
  const port = (name: string, value: string) => row('\t\t\t', name, value);
  const state = { ACTIVE: 'PORT_ACTIVE (4)', DOWN: 'PORT_DOWN (1)', INIT: 'PORT_INIT (2)' }[nic.state];
  const [vendor, part] = VENDOR[nic.driver];
  const mtu = `${nic.mtu} (${MTU_CODE[nic.mtu]})`;
  const gids = nic.gids.map(
    (gid) =>
      `\t\t\tGID[${String(gid.index).padStart(3)}]:\t\t${gid.gid}${gid.type === 'RoCE v2' ? ', RoCE v2' : nic.linkLayer === 'Ethernet' ? ', RoCE v1' : ''}\n`,
  );
  return (
    `hca_id:\t${nic.device}\n` +
    row('\t', 'transport', 'InfiniBand (0)') +
    row('\t', 'fw_ver', FIRMWARE[nic.driver]) +
    row('\t', 'node_guid', colons(nodeGuid(nic))) +
    row('\t', 'sys_image_guid', colons(nodeGuid(nic))) +
    row('\t', 'vendor_id', vendor) +
    row('\t', 'vendor_part_id', part) +
    row('\t', 'hw_ver', '0x0') +
    row('\t', 'phys_port_cnt', '1') +
    '\t\tport:\t1\n' +
    port('state', state) +
    port('max_mtu', '4096 (5)') +
    port('active_mtu', mtu) +
    port('sm_lid', '0') +
    port('port_lid', '0') +
    port('port_lmc', '0x00') +
    port('link_layer', nic.linkLayer) +
    (verbose ? port('phys_state', nic.state === 'DOWN' ? 'DISABLED (3)' : 'LINK_UP (5)') + gids.join('') : '') +
    '\n'
  );
}

function stat(nic: NicView): string {
  const state = { ACTIVE: 'Active', DOWN: 'Down', INIT: 'Initializing' }[nic.state];
  return (
    `CA '${nic.device}'\n\tCA type: ${VENDOR[nic.driver][1]}\n\tNumber of ports: 1\n\tFirmware version: ${FIRMWARE[nic.driver]}\n\tHardware version: 0\n` +
    `\tNode GUID: 0x${nodeGuid(nic)}\n\tSystem image GUID: 0x${nodeGuid(nic)}\n\tPort 1:\n\t\tState: ${state}\n` +
    `\t\tPhysical state: ${nic.state === 'DOWN' ? 'Disabled' : 'LinkUp'}\n\t\tRate: ${nic.rateGbps}\n\t\tBase lid: 0\n\t\tLMC: 0\n\t\tSM lid: 0\n` +
    `\t\tCapability mask: 0x00010000\n\t\tPort GUID: 0x${nodeGuid(nic)}\n\t\tLink layer: ${nic.linkLayer}\n`
  );
}

function badOption(tool: string, error: unknown) {
  if (!(error instanceof UnknownFlag)) throw error;
  return refused(`${tool}: invalid option -- '${error.flag.replace(/^-+/, '')}'\n`, 255);
}
