import type { ClusterSpec, HostSpec } from '../spec/schema.ts';
import type { HostRef } from './types.ts';

/** All that a driver needs to reach one host of the spec, with the defaults that the host leaves to `hosts.ssh`. */
export function hostRef(spec: ClusterSpec, host: HostSpec): HostRef {
  const { ssh, stateDir, leaseDir } = spec.hosts;
  return {
    name: host.name,
    address: host.address,
    port: host.port ?? ssh.port,
    user: host.user ?? ssh.user,
    fabricAddress: fabricAddress(host),
    ...(host.hostKey !== undefined && { hostKey: host.hostKey }),
    ssh: {
      knownHostsFile: ssh.knownHostsFile,
      jump: ssh.jump,
      become: ssh.become,
      ...(ssh.identityFile !== undefined && { identityFile: ssh.identityFile }),
      ...(ssh.becomePassword !== undefined && { becomePassword: ssh.becomePassword }),
      ...(ssh.configFile !== undefined && { configFile: ssh.configFile }),
    },
    stateDir,
    leaseDir,
  };
}

/** How to reach every host that the spec names, and of those that it does not what is known from before, by name. */
export function knownRefs(spec: ClusterSpec, before: readonly HostRef[]): ReadonlyMap<string, HostRef> {
  const refs = new Map(before.map((ref) => [ref.name, ref]));
  for (const host of spec.hosts.list) refs.set(host.name, hostRef(spec, host));
  return refs;
}

/** The address that engines of this host bind and register at. */
export const fabricAddress = (host: HostSpec): string => host.fabricAddress ?? host.address;
