import { didYouMean, nearest } from '../nearest.ts';
import type { HostSpec } from '../schema.ts';
import { showPath } from '../violation.ts';
import type { Path } from '../violation.ts';
import { error, ROLES, warning } from './rule.ts';
import type { Rule } from './rule.ts';

/** A host has one name, and a name has one host. */
export const distinctNames: Rule = function* ({ hosts }) {
  const remedy = 'Give every host its own name.';
  for (const { path, message } of repeats(hosts.list, 'name', ({ name }) => name))
    yield error({ path, message, remedy });
};

/** Two names for one SSH server would be planned as two machines. Behind one address with two ports may be two. */
export const distinctAddresses: Rule = function* ({ hosts }) {
  const place = (host: HostSpec) => `${host.address.toLowerCase()} port ${host.port ?? hosts.ssh.port}`;
  const remedy = 'List every machine once.';
  for (const { path, message } of repeats(hosts.list, 'address', place)) yield error({ path, message, remedy });
};

/** Engines bind and register at the fabric address, so a shared one would send requests to the wrong host. */
export const distinctFabricAddresses: Rule = function* ({ hosts }) {
  const withGpus = hosts.list.map((host) => (host.gpus.count > 0 ? fabricAddressOf(host).toLowerCase() : undefined));
  const firsts = new Map<string | undefined, number>();
  for (const [i, address] of withGpus.entries()) {
    const first = firsts.get(address) ?? i;
    firsts.set(address, first);
    if (address === undefined || first === i) continue;
    if (samePlace(hosts.list[first]!, hosts.list[i]!)) continue; // distinctAddresses says so.
    yield error({
      path: ['hosts', 'list', i, hosts.list[i]!.fabricAddress === undefined ? 'address' : 'fabricAddress'],
      message: `engines of ${hosts.list[first]!.name} and ${hosts.list[i]!.name} would both be at ${address}`,
      remedy: 'Give each host with GPUs its own fabricAddress.',
    });
  }
};

const samePlace = (a: HostSpec, b: HostSpec) => a.address === b.address && a.port === b.port;

/** Address that engines of a host bind and register at. */
export const fabricAddressOf = ({ fabricAddress, address }: HostSpec): string => fabricAddress ?? address;

function* repeats(list: readonly HostSpec[], field: string, keyOf: (host: HostSpec) => string) {
  const seen = new Map<string, Path>();
  for (const [i, host] of list.entries()) {
    const key = keyOf(host);
    const path = ['hosts', 'list', i, field];
    const first = seen.get(key);
    if (first) yield { path, message: `${key} is here twice, ${showPath(first)} has it too` };
    else seen.set(key, path);
  }
}

/** Every host that a role, the router or a waiver names is in hosts.list. */
export const knownHosts: Rule = function* ({ hosts, prefill, decode, router, checks }) {
  const names = hosts.list.map(({ name }) => name);
  const known = new Set(names);
  const unknown = (name: string, path: Path) =>
    error({
      path,
      message: `no host is named "${name}"${didYouMean(name, names)}`,
      remedy: hostRemedy(name, names),
    });
  for (const role of ROLES) {
    const before = new Set<string>();
    for (const [i, name] of ((role === 'prefill' ? prefill : decode).hosts ?? []).entries()) {
      const path = [role, 'hosts', i];
      if (!known.has(name)) yield unknown(name, path);
      else if (before.has(name)) {
        yield error({ path, message: `${name} is here twice`, remedy: 'Name every host once.' });
      }
      before.add(name);
    }
  }
  if (!('external' in router) && !known.has(router.host)) yield unknown(router.host, ['router', 'host']);
  for (const [i, { host }] of checks.waive.entries()) {
    if (host !== undefined && !known.has(host)) yield unknown(host, ['checks', 'waive', i, 'host']);
  }
};

function hostRemedy(name: string, names: readonly string[]): string {
  const found = nearest(name, names);
  if (found !== undefined) return `Write ${found}.`;
  const shown = names.slice(0, 8).join(', ');
  return `Add it to hosts.list, or name one of ${shown}${names.length > 8 ? ', …' : ''}.`;
}

/** A password for sudo is of no use without sudo, and most likely sudo was forgotten. */
export const passwordNeedsSudo: Rule = function* ({ hosts }) {
  if (hosts.ssh.becomePassword === undefined || hosts.ssh.become !== 'none') return;
  yield warning({
    path: ['hosts', 'ssh', 'becomePassword'],
    message: 'is not used while hosts.ssh.become is none',
    remedy: 'Set hosts.ssh.become: sudo, or take the password out.',
  });
};
