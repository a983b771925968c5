import { ApplicationFailure } from '@temporalio/workflow';
import type { EnginePlan, HostRef, Inventory, ManagedRouterPlan, Plan } from '../../src/plan/types.ts';
import type { OperationInput } from '../messages.ts';
import type { Measured } from '../../src/operations/outcomes.ts';
import type { Serving } from '../../src/plan/types.ts';
import type { Operation } from '../operation.ts';
import type { Act } from '../proxies.ts';

export type RouterList = Awaited<ReturnType<ReturnType<Act>['routerEngines']>>;

/** What an operation could not take away, and what therefore stays with it. */
export interface Staying {
  /** Hosts where a unit could not be removed: their GPUs stay leased, since it may use them. */
  readonly held: Set<string>;
  /** Engines that could not be taken out of a router that stays: they run on, since requests still come to them. */
  readonly routed: Set<string>;
}

/** Leaves an engine that is still routed where it runs. */
export function leaveRouted({ held, routed }: Staying, name: string, at: readonly { readonly host: string }[]): void {
  routed.add(name);
  for (const { host } of at) held.add(host);
}

export interface DeployContext extends Staying {
  readonly input: OperationInput;
  readonly plan: Plan;
  readonly inventory: Inventory;
  /** What the router listed when the operation began: what an undo restores. */
  readonly listed: RouterList;
  readonly operation: Operation;
  /** Where acceptance leaves what it measured. */
  readonly measured: { value?: Measured };
  readonly ref: (host: string) => HostRef;
}

export const enginesOf = (plan: Plan): readonly EnginePlan[] => [...plan.prefill, ...plan.decode];

export const startingRanks = (plan: Plan) =>
  enginesOf(plan)
    .filter(({ action }) => action !== 'keep')
    .flatMap((engine) => engine.ranks.map(({ rank, host }) => ({ engine, rank, host })));

export function refsOf(plan: Plan): (host: string) => HostRef {
  const refs = new Map(plan.hosts.map((host) => [host.name, host]));
  return (host) => {
    const found = refs.get(host);
    if (!found)
      throw ApplicationFailure.create({
        type: 'INTERNAL',
        nonRetryable: true,
        message: `the plan names host ${host} and does not say how to reach it`,
      });
    return found;
  };
}

export const routerRef = ({ router }: Plan, ref: (host: string) => HostRef): { readonly routerRef?: HostRef } =>
  router.kind === 'managed' ? { routerRef: ref(router.host) } : {};

interface Unit {
  readonly name: string;
  readonly runtime: 'docker' | 'process';
  readonly rank: number;
  readonly deployment: number;
}

export const unitAt = ({ cluster, installation }: OperationInput, { name, runtime, rank, deployment }: Unit) => ({
  name,
  runtime,
  rank,
  deployment,
  cluster,
  installation,
});

/** Every part of removed units and of those that others replace, as the hosts show them. */
export function leavingUnits({
  plan,
  inventory,
  ref,
}: Pick<DeployContext, 'plan' | 'inventory' | 'ref'>): readonly (Unit & {
  readonly ref: HostRef;
  readonly running: boolean;
})[] {
  const names = new Set([...plan.removals.map(({ name }) => name), ...replacedNames(plan)]);
  return inventory.hosts.flatMap(({ host, found }) =>
    found
      .filter(({ name }) => names.has(name))
      .map(({ name, runtime, rank, deployment, running }) => ({
        name,
        runtime,
        rank,
        deployment,
        running,
        ref: ref(host),
      })),
  );
}

const replacedNames = (plan: Plan): readonly string[] => [
  ...enginesOf(plan).flatMap(({ replaces }) => replaces),
  ...(plan.router.kind === 'managed' ? plan.router.replaces : []),
];

/** What the kept router lists; nothing where it is new. */
export async function listedBefore(act: Act, plan: Plan): Promise<RouterList> {
  const { router } = plan;
  if (router.kind === 'managed' && router.action !== 'keep') return [];
  return await act({ summary: 'the router’s list' }).routerEngines({ router, ...routerRef(plan, refsOf(plan)) });
}

export const isListed = ({ url }: EnginePlan, { router, kvGeneration }: Plan, listed: RouterList): boolean =>
  listed.some(
    (entry) => entry.url === url && entry.ready && (!router.pairingKeys || entry.pairingKey === kvGeneration),
  );

/** What the record has serving, no host shows any more and the router still lists: somebody else removed it. */
export function lostEngines({ input, plan, inventory, listed }: DeployContext): readonly Serving['engines'][number][] {
  const found = new Set(inventory.hosts.flatMap((host) => host.found.map(({ name }) => name)));
  const planned = new Set(enginesOf(plan).map(({ url }) => url));
  return (input.serving?.engines ?? []).filter(
    ({ name, url }) => !found.has(name) && !planned.has(url) && listed.some((entry) => entry.url === url),
  );
}

/** The router lists what the plan says under its key, and nothing that was lost. */
export const isWired = (context: DeployContext): boolean =>
  enginesOf(context.plan).every((engine) => isListed(engine, context.plan, context.listed)) &&
  lostEngines(context).length === 0;

export function servingOf(plan: Plan, specDigest: string): Serving {
  const { router } = plan;
  const holding = new Set([
    ...enginesOf(plan).flatMap(({ ranks }) => ranks.map(({ host }) => host)),
    ...(router.kind === 'managed' ? [router.host] : []),
  ]);
  return {
    deployment: plan.deployment,
    site: plan.site,
    model: plan.model.id,
    kvGeneration: plan.kvGeneration,
    specDigest,
    engines: enginesOf(plan).map(({ name, role, ranks, url, digest, runtime }) => ({
      name,
      role,
      hosts: ranks.map(({ host }) => host),
      url,
      digest,
      runtime,
    })),
    router: { url: router.url, ...(router.kind === 'managed' ? managedRouter(router) : {}) },
    hosts: plan.hosts.filter(({ name }) => holding.has(name)),
  };
}

const managedRouter = ({ name, host, runtime }: ManagedRouterPlan) => ({ name, host, runtime });

/** Copying a model of a terabyte and fetching an image may take hours; both heartbeat. */
export const LONG = 24 * 60;
/** What an activity may take beyond the limit it keeps itself, in minutes. */
const SLACK = 5;
export const minutesOf = (seconds: number): number => Math.ceil(seconds / 60) + SLACK;
