import { DeployError } from '../errors.ts';
import { specDigest } from '../spec/canonical.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import { changesOf } from './changes.ts';
import { engineDigest, kvGeneration, routerDigest } from './digest.ts';
import { devicesUp, engineRows, type RowOf } from './engine-row.ts';
import { type Fleet, fleetOf } from './fleet.ts';
import { type FoundGroup, foundGroups, refuseStrangers } from './found.ts';
import { knownRefs } from './host-ref.ts';
import { modelPlan, modelWarnings } from './model.ts';
import { byText } from './order.ts';
import { type Place, placeEngines, seatName } from './placement.ts';
import { portClashes } from './ports.ts';
import { removals } from './removals.ts';
import { linkRounds } from './rounds.ts';
import { externalRouter, routerListeners, routerRow } from './router-row.ts';
import { pairUp } from './sample.ts';
import { fillSeats, type Seats } from './seats.ts';
import { stagesOf } from './stages.ts';
import { imagePlans, leasePlans, releasePlans, stagingPlans } from './supplies.ts';
import type { EnginePlan, HostRef, ManagedRouterPlan, Plan, PlanInput, Role, RouterPlan } from './types.ts';
import { raw } from '../text/raw.ts';

const ROLES: readonly Role[] = ['prefill', 'decode'];

/**
 * Everything that will be where, from what the spec asks for and the hosts show. The same input gives the same plan
 * byte for byte, in whatever order the inventory lists its rows. Errors: NAME_CONFLICT, CHANGE_REFUSED,
 * PLAN_IMPOSSIBLE; each names all of its reasons at once.
 */
export function planCluster(input: PlanInput): Plan {
  const { spec, inventory, installation, deployment } = input;
  refuseStrangers(spec.name, inventory, { installation, deployment });
  const fleet = fleetOf(spec, inventory.hosts, installation);
  const model = modelPlan(spec);
  const rowOf = engineRows(spec, fleet, model);
  const groups = foundGroups(inventory);
  const seats = ROLES.map((role) => fillSeats(spec, fleet, rowOf, role, groups, input.serving?.deployment ?? 0));
  refuseChanges(
    spec.name,
    seats.flatMap(({ refused }) => refused),
  );

  const places = place(spec, fleet, seats);
  const generation = kvGeneration(spec, model);
  const engines = seats.flatMap((role) => enginePlans(input, generation, fleet, rowOf, role, places));
  const router = routerPlan(input, groups);
  refuseClashes(input, fleet, engines);
  const former = formerGeneration(input, engines, groups);
  refuseGenerations(input, former, router, engines);

  const going = removals(groups, seats, engines, router);
  const releases = releasePlans(spec, inventory, installation, engines);
  const { rounds, warnings: linkWarnings } = linkRounds(spec, fleet, engines);
  const [prefill, decode] = ROLES.map((role) => engines.filter((engine) => engine.role === role));
  const touched = new Set([
    ...engines.flatMap(({ ranks }) => ranks.map(({ host }) => host)),
    ...(router.kind === 'managed' ? [router.host] : []),
    ...going.flatMap(({ parts }) => parts.map(({ host }) => host)),
    ...releases.map(({ host }) => host),
  ]);
  const plan = {
    cluster: spec.name,
    site: spec.site,
    deployment,
    installation,
    specDigest: specDigest(spec),
    kvGeneration: generation,
    model,
    hosts: hostRefs(input, touched),
    prefill: prefill!,
    decode: decode!,
    router,
    removals: going,
    leases: leasePlans(engines),
    releases,
    images: imagePlans(engines, router),
    staging: stagingPlans(spec, model, engines),
    rounds,
    pairs: pairUp(
      {
        sources: prefill!,
        targets: decode!,
        isNew: ({ proven }) => !proven,
        mayPair: () => true,
      },
      spec.rdma.coverage,
    ).pairs.map(([source, target]) => ({ prefill: source.name, decode: target.name })),
  };
  const missing = missingUnits(input, groups);
  return {
    ...plan,
    stages: stagesOf(plan),
    changes: changesOf(spec, inventory, installation, plan, missing),
    warnings: [
      ...missing.map((name) => `${name} serves by the record and is on no host any more: Tandem did not remove it`),
      ...modelWarnings(spec),
      ...linkWarnings,
      ...deviceWarnings(spec, fleet, engines),
      ...routerWarnings(router, groups),
      ...(former === undefined
        ? []
        : [`the KV generation changes from ${former} to ${generation}: engines that stay get the new pairing key`]),
    ],
  };
}

function place(spec: ClusterSpec, fleet: Fleet, seats: readonly Seats[]): ReadonlyMap<string, Place> {
  const kept = new Map(
    seats.flatMap((role) => role.kept.map(({ seat, place: at }): [string, Place] => [seatName(seat), at])),
  );
  const { places, impossible } = placeEngines({
    spec,
    fleet,
    kept,
    leaving: seats.flatMap(({ gone }) =>
      gone.flatMap(({ unit }) => unit.parts.map(({ host, gpus }) => ({ hosts: [host], gpus }))),
    ),
    seats: seats.flatMap(({ wanted }) => wanted.map(({ seat }) => seat)),
  });
  if (impossible.length > 0) throw planImpossible(spec.name, impossible);
  return places;
}

/** Units that the record has serving and that no host shows any more. */
const missingUnits = ({ serving }: PlanInput, groups: readonly FoundGroup[]): readonly string[] =>
  [...(serving?.engines ?? []), ...(serving?.router ? [serving.router] : [])].flatMap(({ name }) =>
    name === undefined || groups.some((group) => group.name === name) ? [] : [name],
  );

function enginePlans(
  { spec, deployment, serving }: PlanInput,
  generation: string,
  fleet: Fleet,
  rowOf: RowOf,
  { kept, wanted }: Seats,
  places: ReadonlyMap<string, Place>,
): EnginePlan[] {
  const stay = kept.map(({ unit, row }): EnginePlan => ({
    name: unit.name,
    deployment: unit.deployment,
    kvGeneration: generation,
    digest: unit.digest,
    action: 'keep',
    proven: unit.deployment <= (serving?.deployment ?? 0),
    replaces: [],
    ...row,
  }));
  const start = wanted.map(({ seat, ended }): EnginePlan => {
    const at = places.get(seatName(seat))!;
    const row = rowOf(seat, at, devicesUp(fleet, at));
    return {
      name: `tandem-${spec.name}-${seat.role}-${seat.index}-${deployment}`,
      deployment,
      kvGeneration: generation,
      digest: engineDigest(row),
      action: ended.length > 0 ? 'replace' : 'create',
      proven: false,
      replaces: ended.filter(({ parts }) => parts.every(({ host }) => at.hosts.includes(host))).map(({ name }) => name),
      ...row,
    };
  });
  return [...stay, ...start].toSorted((a, b) => a.index - b.index);
}

function routerPlan({ spec, deployment }: PlanInput, groups: readonly FoundGroup[]): RouterPlan {
  const external = externalRouter(spec);
  if (external || 'external' in spec.router) return external!;
  const row = routerRow(spec, spec.router);
  const digest = routerDigest(row);
  const found = groups.filter(({ kind }) => kind === 'router');
  const same = found.find((unit) => unit.running && unit.digest === digest && unit.parts[0]!.host === row.host);
  const here = found.filter(({ parts }) => parts.every(({ host }) => host === row.host));
  const fate: Pick<ManagedRouterPlan, 'name' | 'deployment' | 'action' | 'replaces'> = same
    ? { name: same.name, deployment: same.deployment, action: 'keep', replaces: [] }
    : {
        name: `tandem-${spec.name}-router-0-${deployment}`,
        deployment,
        action: found.length > 0 ? 'replace' : 'create',
        replaces: here.map(({ name }) => name),
      };
  return { ...fate, digest, ...row };
}

/** Every host by name; of those that the spec no longer names, what the cluster's record knows. */
function hostRefs({ spec, serving, inventory }: PlanInput, names: ReadonlySet<string>): readonly HostRef[] {
  const refs = knownRefs(spec, serving?.hosts ?? []);
  const lost = [...names].filter((name) => !refs.has(name)).toSorted(byText);
  if (lost.length > 0) {
    const units = inventory.hosts.flatMap(({ host, found }) =>
      lost.includes(host) ? found.map(({ name }) => name) : [],
    );
    throw planImpossible(spec.name, [
      `${lost.join(', ')}: holds ${units.join(', ') || 'leases'} of the cluster, but neither the spec nor the record says how to reach it`,
    ]);
  }
  return [...names].toSorted(byText).map((name) => refs.get(name)!);
}

function refuseChanges(cluster: string, refused: readonly string[]): void {
  if (refused.length === 0) return;
  throw new DeployError({
    code: 'CHANGE_REFUSED',
    message: `${refused.length} running ${refused.length === 1 ? 'engine' : 'engines'} of ${cluster} would become something else, which is a rolling change of what an engine is and not done by this operation: ${refused.join('; ')}`,
    remedy: `Deploy the spec that runs with other replicas only, or destroy ${cluster} and deploy the new spec.`,
    retryable: false,
    evidence: raw(refused.join('\n')),
  });
}

/** A KV generation that a kept engine has, by the record or else by its label, and not in this plan. */
function formerGeneration(
  { serving }: PlanInput,
  engines: readonly EnginePlan[],
  groups: readonly FoundGroup[],
): string | undefined {
  const known = new Map(
    [...groups, ...(serving?.engines ?? [])].flatMap(({ name, kvGeneration: one }) => (one ? [[name, one]] : [])),
  );
  const changes = ({ name, action, kvGeneration: wanted }: EnginePlan) =>
    action === 'keep' && (known.get(name) ?? wanted) !== wanted;
  return known.get(engines.find(changes)?.name ?? '');
}

/** A router without pairing keys pairs any prefill engine with any decode engine: two generations may never meet there. */
function refuseGenerations(
  { spec }: PlanInput,
  former: string | undefined,
  router: RouterPlan,
  engines: readonly EnginePlan[],
): void {
  if (router.pairingKeys || former === undefined) return;
  const kept = engines.filter(({ action }) => action === 'keep');
  const generation = kept[0]!.kvGeneration;
  throw new DeployError({
    code: 'CHANGE_REFUSED',
    message: `the KV generation of ${spec.name} would change from ${former} to ${generation} while ${kept.map(({ name }) => name).join(', ')} serve, and ${router.implementation} ${router.version} cannot keep generations apart`,
    remedy: `Use smg 1.11 or newer as the router, or destroy ${spec.name} and deploy the new spec.`,
    retryable: false,
  });
}

function refuseClashes({ spec }: PlanInput, fleet: Fleet, engines: readonly EnginePlan[]): void {
  const clashes = portClashes([
    ...engines.flatMap(({ role, index, ranks }) =>
      ranks.flatMap(({ host, ports }) => {
        const { fabricAddress, address } = fleet.get(host)!.spec;
        return ports.map((port) => ({
          owner: seatName({ role, index }),
          host,
          address: fabricAddress ?? address,
          port,
        }));
      }),
    ),
    ...('external' in spec.router ? [] : routerListeners(spec, spec.router)),
  ]);
  if (clashes.length > 0) throw planImpossible(spec.name, clashes);
}

const planImpossible = (cluster: string, reasons: readonly string[]): DeployError =>
  new DeployError({
    code: 'PLAN_IMPOSSIBLE',
    message: `the hosts cannot hold ${cluster}: ${reasons.join('; ')}`,
    remedy: 'Add hosts, free GPUs that others lease, or ask for fewer replicas, GPUs or other ports.',
    retryable: false,
    evidence: raw(reasons.join('\n')),
  });

function deviceWarnings(spec: ClusterSpec, fleet: Fleet, engines: readonly EnginePlan[]): string[] {
  if (spec.rdma.transport === 'tcp') return [];
  const owners = new Map<string, string>();
  return engines.flatMap((engine) =>
    engine.ranks.flatMap(({ host, nics }) => {
      const seat = seatName(engine);
      if (nics.length === 0) return [`${seat}: no RDMA device was seen on ${host}`];
      const down = nics.filter((device) => !fleet.get(host)!.nics.some((nic) => nic.device === device && nic.up));
      const shared = nics.flatMap((device) => {
        const other = owners.get(`${host}/${device}`);
        owners.set(`${host}/${device}`, seat);
        return other === undefined ? [] : [`${seat} shares ${device} on ${host} with ${other}`];
      });
      return [
        ...(down.length > 0 ? [`${seat} runs with ${down.join(', ')} on ${host}, whose link is down`] : []),
        ...shared,
      ];
    }),
  );
}

function routerWarnings(router: RouterPlan, groups: readonly FoundGroup[]): string[] {
  const serving = groups.filter(({ kind, running }) => kind === 'router' && running);
  if (serving.length === 0) return [];
  if (router.kind === 'external')
    return [`${serving[0]!.name} is removed: clients must use ${router.url} from then on`];
  if (router.action === 'keep') return [];
  return [
    `${serving[0]!.name} is replaced: serving is interrupted until the new router at ${router.url} lists the engines`,
  ];
}
