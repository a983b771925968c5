import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { told } from './gpu-record.ts';
import { rdmaDevices } from './rdma-devices.ts';
import { type RdmaPort, linkLayerOf, physicalStateOf, providerOf, stateOf } from './rdma-port.ts';

/** Every RDMA port as ibstat(8) shows it; no GID. A captured listing of sysfs under this name is read as such. */
export const ibstat: Fact<readonly RdmaPort[]> = {
  name: 'ibstat',
  command: () => ['ibstat'],
  timeoutMs: 10_000,
  parse(output) {
    if (output.stdout.startsWith('/sys/class/infiniband/')) return rdmaDevices.parse(output);
    assertEndedWell('ibstat', output);
    const ports = output.stdout
      .split(/^CA '/m)
      .slice(1)
      .flatMap((section) => {
        const [head, ...rest] = section.split(/^\s*Port (?=\d+:)/m);
        const device = head!.split("'")[0]!;
        return rest.map((text) => portOf(device, text));
      });
    if (ports.length === 0) throw new SyntaxError(whyNothing('ibstat', output));
    return ports;
  },
};

function portOf(device: string, text: string): RdmaPort {
  const field = (name: string) => new RegExp(`^\\s*${name}:\\s+(.+?)\\s*$`, 'm').exec(text)?.[1];
  const rate = /^\d+(?:\.\d+)?$/.exec(field('Rate') ?? '')?.[0];
  return told({
    device,
    port: Number.parseInt(text, 10),
    driver: providerOf(device),
    state: stateOf(field('State')?.replace(/^Initializing$/, 'INIT')),
    physicalState: physicalStateOf(field('Physical state')),
    rateGbps: rate === undefined ? undefined : Number(rate),
    linkLayer: linkLayerOf(field('Link layer')),
  });
}
