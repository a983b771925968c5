import { type RdmaPort, onePerDevice } from '../facts/rdma-port.ts';
import type { HostDemand } from './demand.ts';

/** True where engines exchange KV cache by RDMA. */
export const usesRdma = ({ engineRuntime, rdma }: HostDemand): boolean =>
  engineRuntime !== undefined && rdma.transport === 'rdma';

/** Names of the devices that must be there: all that the spec names, else the plan's; undefined for "all that are found". */
export function namedDevices({ nics, rdma }: HostDemand): readonly string[] | undefined {
  if (rdma.devices !== 'auto') return rdma.devices;
  return nics.length > 0 ? nics : undefined;
}

/**
 * One port of each device that engines get: the plan's, and without a plan every one that they could get. Of several
 * ports of a device the first that is up.
 */
export function plannedPorts(ports: readonly RdmaPort[], demand: HostDemand): readonly RdmaPort[] {
  const found = onePerDevice(ports);
  const devices = demand.nics.length > 0 ? demand.nics : (namedDevices(demand) ?? [...found.keys()]);
  return devices.flatMap((device) => found.get(device) ?? []);
}

/** What to do when no tool shows RDMA devices. */
export const LOOK_AT_RDMA =
  'Load the NIC’s RDMA driver and look at `rdma link` on the host, or set rdma.transport: tcp.';

export const NO_DEVICE = 'none of the planned RDMA devices is there';
