import type { Fact } from './fact.ts';
import { assertEndedWell, whyNothing } from './failure.ts';
import { told } from './gpu-record.ts';
import { fieldsIn, linesOf, sectionsOf } from './lines.ts';
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
    const ports = sectionsOf(linesOf(output.stdout), (line) => line.startsWith("CA '")).flatMap((section) => {
      const device = section[0]!.split("'")[1]!;
      return sectionsOf(section, (line) => PORT.test(line)).map((lines) => portOf(device, lines));
    });
    if (ports.length === 0) throw new SyntaxError(whyNothing('ibstat', output));
    return ports;
  },
};

const PORT = /^\s*Port (\d+):/;

function portOf(device: string, lines: readonly string[]): RdmaPort {
  const fields = fieldsIn(lines);
  const rate = /^\d+(?:\.\d+)?$/.exec(fields.get('Rate') ?? '')?.[0];
  return told({
    device,
    port: Number(PORT.exec(lines[0]!)?.[1]),
    driver: providerOf(device),
    state: stateOf(fields.get('State')?.replace(/^Initializing$/, 'INIT')),
    physicalState: physicalStateOf(fields.get('Physical state')),
    rateGbps: rate === undefined ? undefined : Number(rate),
    linkLayer: linkLayerOf(fields.get('Link layer')),
  });
}
