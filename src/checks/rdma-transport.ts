import { type HostCheck, warn } from './host-check.ts';

/** Warns of `rdma.transport: tcp`: the KV cache of every request then crosses the ordinary network. */
export const rdmaTransport: HostCheck = {
  name: 'rdma-transport',
  judge(_facts, { engineRuntime, rdma }) {
    if (engineRuntime === undefined || rdma.transport === 'rdma') return undefined;
    return warn(
      'rdma.transport is tcp, wanted for production is rdma: no RDMA device, link or bandwidth is checked',
      'Set rdma.transport: rdma once the hosts have RDMA.',
    );
  },
};
