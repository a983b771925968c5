import type { FoundGroup } from './found.ts';
import { byText } from './order.ts';
import type { Seats } from './seats.ts';
import type { EnginePlan, RemovalPlan, RouterPlan } from './types.ts';

/** The units that the plan no longer has, in the order in which they go: what blocks a start first, then decode, prefill and router, highest index first. */
export function removals(
  groups: readonly FoundGroup[],
  seats: readonly Seats[],
  engines: readonly EnginePlan[],
  router: RouterPlan,
): readonly RemovalPlan[] {
  const starting = engines.filter(({ action }) => action !== 'keep').flatMap(({ ranks }) => ranks);
  const blocks = ({ url, parts }: FoundGroup): boolean =>
    starting.some(({ host, gpus, ports }) =>
      parts.some(
        (part) =>
          part.host === host &&
          (gpus.some(({ index }) => part.gpus.includes(index)) ||
            ports.includes(Number(url?.slice(url.lastIndexOf(':') + 1)))),
      ),
    );
  const going = [
    ...seats.flatMap(({ gone }) => gone),
    // An ended unit on a host that its successor does not use: nobody else would remove it.
    ...seats
      .flatMap(({ wanted }) => wanted.flatMap(({ ended }) => ended))
      .filter(({ name }) => engines.every(({ replaces }) => !replaces.includes(name)))
      .map((unit) => ({ unit, reason: 'it ended, and its successor runs elsewhere' })),
    ...groups
      .filter(({ kind, name }) => kind === 'router' && !routerHas(router, name))
      .map((unit) => ({ unit, reason: routerReason(router, unit) })),
  ];
  return going.map(({ unit, reason }) => removal(unit, blocks(unit), reason)).toSorted(inOrder);
}

const routerHas = (router: RouterPlan, name: string): boolean =>
  router.kind === 'managed' && (router.name === name || router.replaces.includes(name));

function routerReason(router: RouterPlan, { deployment, parts }: FoundGroup): string {
  if (router.kind === 'external') return 'router.external is used';
  if (parts.some(({ host }) => host !== router.host)) return `router.host is ${router.host}`;
  return `left over from deployment ${deployment}`;
}

/** One row of a removal, as planned or for a destroy. */
export function removal(unit: FoundGroup, first: boolean, reason: string): RemovalPlan {
  const { name, kind, role, index, digest, deployment, runtime, parts, url } = unit;
  return {
    name,
    kind,
    role,
    index,
    digest,
    deployment,
    runtime,
    parts: parts.map(({ host, rank, gpus }) => ({ host, rank, gpus })),
    ...(url !== undefined && { url }),
    first,
    reason,
  };
}

const ORDER = { decode: 0, prefill: 1, router: 2 } as const;

const inOrder = (a: RemovalPlan, b: RemovalPlan): number =>
  Number(b.first) - Number(a.first) || ORDER[a.role] - ORDER[b.role] || b.index - a.index || byText(a.name, b.name);
