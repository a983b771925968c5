import { didYouMean } from '../nearest.ts';
import type { ClusterSpec, HostSpec } from '../schema.ts';
import { error, ROLES } from './rule.ts';
import type { Rule } from './rule.ts';

/**
 * The hosts can hold both roles: what can be known before any host is asked. The planner then places engine by engine,
 * on the GPUs that are there and free.
 */
export const enoughGpus: Rule = function* (spec) {
  const alone = ROLES.flatMap((role) => [...roleFits(spec, role)]);
  yield* alone;
  if (alone.length === 0) yield* bothFit(spec);
};

/** Hosts whose GPUs one of the roles may use: of its product, and among its `hosts` where it names some. */
export function eligibleHosts(spec: ClusterSpec, ...roles: readonly ('prefill' | 'decode')[]): HostSpec[] {
  const wanted = roles.map((role) => {
    const { gpus, hosts } = spec[role];
    return { product: gpus.product, names: hosts && new Set(hosts) };
  });
  return spec.hosts.list.filter(
    ({ name, gpus }) =>
      gpus.count > 0 && wanted.some(({ product, names }) => gpus.product === product && (names?.has(name) ?? true)),
  );
}

function* roleFits(spec: ClusterSpec, role: 'prefill' | 'decode') {
  const { replicas, hostsPerReplica, gpus, hosts: named } = spec[role];
  const known = new Set(spec.hosts.list.map(({ name }) => name));
  if (named?.some((name) => !known.has(name))) return; // knownHosts says so.
  const eligible = eligibleHosts(spec, role);
  const among = named ? ` among ${role}.hosts` : '';
  if (eligible.length === 0) {
    const products = [
      ...new Set(spec.hosts.list.filter((host) => host.gpus.count > 0).map((host) => host.gpus.product)),
    ];
    yield error({
      path: [role, 'gpus', 'product'],
      message: `no host${among} has ${gpus.product} GPUs${didYouMean(gpus.product, products)}`,
      remedy: products.length > 0 ? `The hosts have ${products.join(', ')}.` : 'Give the hosts their gpus.',
    });
    return;
  }
  const most = Math.max(...eligible.map((host) => host.gpus.count));
  if (gpus.count > most) {
    yield error({
      path: [role, 'gpus', 'count'],
      message: `${gpus.count} ${gpus.product} GPUs are wanted on one host, the largest${among} has ${most}`,
      remedy: 'Lower count and raise hostsPerReplica: an engine may span hosts.',
    });
    return;
  }
  // A host holds whole parts of engines only, so what is left over on it is of no use to this role.
  const parts = eligible.reduce((sum, host) => sum + Math.floor(host.gpus.count / gpus.count), 0);
  const able = eligible.filter((host) => host.gpus.count >= gpus.count).length;
  if (hostsPerReplica > able) {
    yield error({
      path: [role, 'hostsPerReplica'],
      message: `an engine spans ${hostsPerReplica} hosts, ${able} host${able === 1 ? '' : 's'}${among} can hold a part of it`,
      remedy: 'Lower hostsPerReplica, or add hosts.',
    });
  } else if (replicas * hostsPerReplica > parts) {
    const each = `${replicas} × ${hostsPerReplica * gpus.count}`;
    yield error({
      path: [role, 'replicas'],
      message: `${each} ${gpus.product} GPUs are wanted, the hosts${among} have room for ${Math.floor(parts / hostsPerReplica)} such engines`,
      remedy: 'Lower replicas, or add hosts.',
    });
  }
}

function* bothFit(spec: ClusterSpec) {
  const { prefill, decode } = spec;
  if (prefill.gpus.product !== decode.gpus.product) return;
  const have = eligibleHosts(spec, ...ROLES).reduce((sum, host) => sum + host.gpus.count, 0);
  const [forPrefill, forDecode] = ROLES.map(
    (role) => spec[role].replicas * spec[role].hostsPerReplica * spec[role].gpus.count,
  ) as [number, number];
  if (forPrefill + forDecode <= have) return;
  yield error({
    path: ['decode', 'replicas'],
    message: `prefill and decode together want ${forPrefill} + ${forDecode} ${decode.gpus.product} GPUs, the hosts have ${have}`,
    remedy: 'Lower replicas of prefill or decode, or add hosts.',
  });
}
