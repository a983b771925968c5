import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { told } from './gpu-record.ts';
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

const LINE = /^link (\S+)\/(\d+) (?:.*?\s)?state (\S+)(?: physical_state (\S+))?(?: netdev (\S+))?/gm;

const fromText = (text: string): readonly RdmaPort[] =>
  [...text.matchAll(LINE)].map(([, device, port, state, physical, netdev]) =>
    portOf(device!, Number(port), state, physical, netdev),
  );

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
