import { ApplicationFailure } from '@temporalio/workflow';
import {
  isListed,
  noted,
  type LeavingPart,
  type Ledger,
  type Listed,
  type Note,
  type Remains,
} from '../../src/operations/ledger.ts';
import type { HostRef, ManagedRouterPlan, Plan, Serving } from '../../src/plan/types.ts';
import { enginesOf } from '../../src/plan/units.ts';
import type { OperationInput } from '../messages.ts';
import type { Operation } from '../operation.ts';
import type { Act } from '../proxies.ts';

/** The ledger of an operation, which its moves read when they run and add to. */
export interface Book<L extends Remains = Ledger> {
  readonly ledger: () => L;
  readonly note: (note: Note) => void;
}

export function bookOf<L extends Remains>(first: L): Book<L> {
  let ledger = first;
  return { ledger: () => ledger, note: (note) => void (ledger = noted(ledger, note)) };
}

/** Leaves an engine that is still routed where it runs. */
export const leaveRouted = ({ note }: Book<Remains>, name: string, at: readonly { readonly host: string }[]): void =>
  note({ routed: [name], held: at.map(({ host }) => host) });

export interface DeployContext extends Book {
  readonly input: OperationInput;
  readonly plan: Plan;
  readonly operation: Operation;
  readonly ref: (host: string) => HostRef;
}

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

type Unit = Pick<LeavingPart, 'name' | 'runtime' | 'rank' | 'deployment'>;

export const unitAt = ({ cluster, installation }: OperationInput, { name, runtime, rank, deployment }: Unit) => ({
  name,
  runtime,
  rank,
  deployment,
  cluster,
  installation,
});

/** Parts of units that go, where they are. */
export const leavingUnits = ({ ledger, ref }: Pick<DeployContext, 'ledger' | 'ref'>) =>
  ledger().leaving.map(({ host, ...part }) => ({ ...part, ref: ref(host) }));

/** What the kept router lists; nothing where it is new. */
export async function listedBefore(act: Act, plan: Plan): Promise<readonly Listed[]> {
  const { router } = plan;
  if (router.kind === 'managed' && router.action !== 'keep') return [];
  return await act({ summary: 'the router’s list' }).routerEngines({ router, ...routerRef(plan, refsOf(plan)) });
}

/** The router lists what the plan says under its key, and nothing that was lost. */
export const isWired = (plan: Plan, { listed, lost }: Ledger): boolean =>
  enginesOf(plan).every((engine) => isListed(engine, plan, listed)) && lost.length === 0;

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
    specDigest,
    engines: enginesOf(plan).map(({ name, kvGeneration, role, ranks, url, digest, runtime }) => ({
      name,
      kvGeneration,
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
