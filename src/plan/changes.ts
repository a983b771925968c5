import type { ClusterSpec } from '../spec/schema.ts';
import { usedInPlace } from './model.ts';
import { byText } from './order.ts';
import { imagesOf } from './supplies.ts';
import { enginesOf } from './units.ts';
import type { Change, EnginePlan, Inventory, Plan } from './types.ts';

/** What differs from what is there, by kind: when it is done the stages say. `missing` as of `missingUnits`. */
export function changesOf(
  spec: ClusterSpec,
  inventory: Inventory,
  installation: string,
  plan: Omit<Plan, 'stages' | 'changes' | 'warnings'>,
  missing: readonly string[],
): readonly Change[] {
  const engines = enginesOf(plan);
  return [
    ...leaseChanges(inventory, installation, plan),
    ...imageChanges(plan, engines),
    ...weightsChanges(spec, inventory, plan, engines),
    ...engines.map((engine) => engineChange(plan.cluster, engine, missing)),
    routerChange(plan, missing),
    ...plan.removals.map(removeChange),
    ...plan.releases.map(({ host, pci }): Change => ({
      action: 'remove',
      kind: 'lease',
      name: host,
      hosts: [host],
      reason: `no engine of the plan uses ${gpus(pci.length)} leased here`,
    })),
  ];
}

const gpus = (count: number): string => `${count} ${count === 1 ? 'GPU' : 'GPUs'}`;

const removeChange = ({ kind, name, parts, reason }: Plan['removals'][number]): Change => ({
  action: 'remove',
  kind,
  name,
  hosts: parts.map(({ host }) => host),
  reason,
});

function leaseChanges(
  { hosts }: Inventory,
  installation: string,
  { cluster, leases }: Pick<Plan, 'cluster' | 'leases'>,
): Change[] {
  const held = new Set(
    hosts.flatMap(({ host, leases: there }) =>
      there
        .filter((lease) => lease.cluster === cluster && lease.installation === installation)
        .map(({ pci }) => `${host}/${pci}`),
    ),
  );
  return leases.map(({ host, pci }) => {
    const missing = pci.filter((one) => !held.has(`${host}/${one}`));
    return missing.length === 0
      ? { action: 'keep', kind: 'lease', name: host, hosts: [host], reason: `${gpus(pci.length)} leased already` }
      : {
          action: 'create',
          kind: 'lease',
          name: host,
          hosts: [host],
          reason: `${missing.length} of ${gpus(pci.length)} not leased yet`,
        };
  });
}

function imageChanges({ router, images }: Pick<Plan, 'router' | 'images'>, engines: readonly EnginePlan[]): Change[] {
  const used = imagesOf([...engines.flatMap(({ ranks }) => ranks), ...(router.kind === 'managed' ? [router] : [])]);
  return used.map(({ reference, hosts }) => {
    const fetched = images.find((image) => image.reference === reference);
    return fetched
      ? {
          action: 'create',
          kind: 'image',
          name: reference,
          hosts: fetched.hosts,
          reason: 'what starts there needs it; fetched where it is missing',
        }
      : { action: 'keep', kind: 'image', name: reference, hosts, reason: 'what runs there runs it' };
  });
}

function weightsChanges(
  spec: ClusterSpec,
  { hosts }: Inventory,
  { model, staging }: Pick<Plan, 'model' | 'staging'>,
  engines: readonly EnginePlan[],
): Change[] {
  const folder = `${model.id}/${model.revision}`;
  const complete = new Set(hosts.filter(({ weights }) => weights.includes(folder)).map(({ host }) => host));
  const wanted = new Map(staging.map((row) => [row.host, row]));
  const all = [...new Set(engines.flatMap(({ ranks }) => ranks.map(({ host }) => host)))].toSorted(byText);
  const missing = all.filter((host) => wanted.get(host)?.copy && !complete.has(host));
  const kept = all.filter((host) => !missing.includes(host));
  const row = (action: 'create' | 'keep', at: readonly string[], reason: string): Change[] =>
    at.length === 0 ? [] : [{ action, kind: 'weights', name: model.id, hosts: at, reason }];
  return [
    ...row('create', missing, `not complete there, staged from ${spec.model.source}`),
    ...row('keep', kept, usedInPlace(spec.model) ? `${model.path} is used in place` : `${model.path} is complete`),
  ];
}

function engineChange(
  cluster: string,
  { action, name, role, index, ranks, replaces }: EnginePlan,
  missing: readonly string[],
): Change {
  const reason = {
    keep: 'runs as the spec has it',
    create: `${role} engine to start${removed(`tandem-${cluster}-${role}-${index}-`, missing)}`,
    replace: `ended: ${replaces.join(', ') || 'on another host'}`,
  }[action];
  return { action, kind: 'engine', name, hosts: ranks.map(({ host }) => host), reason };
}

/** Says of a unit that is made anew that its predecessor was taken away behind Tandem's back. */
function removed(prefix: string, missing: readonly string[]): string {
  const was = missing.find((name) => name.startsWith(prefix));
  return was === undefined ? '' : `: ${was} is gone from its hosts, and Tandem did not remove it`;
}

function routerChange(
  { cluster, router, removals }: Pick<Plan, 'cluster' | 'router' | 'removals'>,
  missing: readonly string[],
): Change {
  if (router.kind === 'external')
    return {
      action: 'keep',
      kind: 'router',
      name: router.url,
      hosts: [],
      reason: 'external: engines are registered there, it is never started or stopped',
    };
  const { action, name, host, replaces } = router;
  const old = [...replaces, ...removals.filter(({ kind }) => kind === 'router').map((row) => row.name)];
  const reason = {
    keep: 'runs as the spec has it',
    create: `router to start${removed(`tandem-${cluster}-router-0-`, missing)}`,
    replace: `ended or differs: ${old.join(', ')}`,
  }[action];
  return { action, kind: 'router', name, hosts: [host], reason };
}
