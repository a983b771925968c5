import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { told } from './gpu-record.ts';
import { linesOf } from './lines.ts';
import { type RdmaPort, physicalStateOf, providerOf, stateOf } from './rdma-port.ts';
import { type Json, at, integerOf, jsonIn, textOf } from './tool-json.ts';

/** State and network interface of every RDMA port; no rate, no GID. Source: rdma-link(8); older iproute2 prints text. */
export const rdmaLink: Fact<readonly RdmaPort[]> = {
  name: 'rdma-link',
  command: () => ['rdma', '-j', 'link'],
  timeoutMs: 10_000,
  parse(output) {
    assertEndedWell('rdma', output);
    const root = jsonIn(output.stdout);
    const ports = Array.isArray(root) ? (root as readonly Json[]).flatMap(fromEntry) : fromText(output.stdout);
    if (ports.length === 0) throw new SyntaxError(whyNothing('rdma link', output));
    return ports;
  },
};

function fromEntry(entry: Json): readonly RdmaPort[] {
  const device = textOf(at(entry, 'ifname'));
  const port = integerOf(at(entry, 'port'));
  if (device === undefined || port === undefined) return [];
  const text = (key: string) => textOf(at(entry, key));
  return [portOf(device, port, text('state'), text('physical_state'), text('netdev'))];
}

/** "link mlx5_0/1 subnet_prefix … state ACTIVE physical_state LINK_UP netdev ib0": names and values in turn. */
function fromText(text: string): readonly RdmaPort[] {
  return linesOf(text).flatMap((line) => {
    const [kind, name = '', ...words] = line.trimEnd().split(' ');
    const slash = name.lastIndexOf('/');
    const after = (word: string) => (words.includes(word) ? words[words.indexOf(word) + 1] : undefined);
    if (kind !== 'link' || slash < 1 || !/^\d+$/.test(name.slice(slash + 1)) || !after('state')) return [];
    const port = Number(name.slice(slash + 1));
    return [portOf(name.slice(0, slash), port, after('state'), after('physical_state'), after('netdev'))];
  });
}

const portOf = (
  device: string,
  port: number,
  state: string | undefined,
  physical: string | undefined,
  netdev: string | undefined,
): RdmaPort =>
  told({
    device,
    port,
    driver: providerOf(device),
    state: stateOf(state),
    physicalState: physicalStateOf(physical),
    netdev,
  });
