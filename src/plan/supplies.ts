import type { ClusterSpec } from '../spec/schema.ts';
import { usedInPlace } from './model.ts';
import { byText, groupBy } from './order.ts';
import type {
  ContainerPlan,
  EnginePlan,
  ImagePlan,
  Inventory,
  LeasePlan,
  ModelPlan,
  RouterPlan,
  StagingPlan,
} from './types.ts';

/** What engines need on their hosts before they start: GPUs, image, weights. */

/** Every GPU of every engine, by host, in address order. */
export const leasePlans = (engines: readonly EnginePlan[]): readonly LeasePlan[] =>
  byHost(engines.flatMap(({ ranks }) => ranks.map(({ host, gpus }) => ({ host, pci: gpus.map(({ pci }) => pci) }))));

/** Leases that this cluster holds and no engine of the plan needs. */
export function releasePlans(
  { name }: Pick<ClusterSpec, 'name'>,
  { hosts }: Inventory,
  installation: string,
  engines: readonly EnginePlan[],
): readonly LeasePlan[] {
  const needed = new Set(leasePlans(engines).flatMap(({ host, pci }) => pci.map((one) => `${host}/${one}`)));
  return byHost(
    hosts.map(({ host, leases }) => ({
      host,
      pci: leases
        .filter(
          (lease) =>
            lease.cluster === name && lease.installation === installation && !needed.has(`${host}/${lease.pci}`),
        )
        .map(({ pci }) => pci),
    })),
  );
}

const byHost = (rows: readonly LeasePlan[]): readonly LeasePlan[] =>
  [...groupBy(rows, ({ host }) => host)]
    .map(([host, parts]) => ({ host, pci: parts.flatMap(({ pci }) => pci).toSorted(byText) }))
    .filter(({ pci }) => pci.length > 0)
    .toSorted((a, b) => byText(a.host, b.host));

/** Images of what is started, each with the hosts that start it. What runs has its image. */
export function imagePlans(engines: readonly EnginePlan[], router: RouterPlan): readonly ImagePlan[] {
  const uses = [
    ...engines.flatMap(({ action, ranks }) => (action === 'keep' ? [] : ranks)),
    ...(router.kind === 'managed' && router.action !== 'keep' ? [router] : []),
  ];
  return imagesOf(uses);
}

/** Images of units, each with their hosts, in the order of names. */
export const imagesOf = (
  uses: readonly { readonly host: string; readonly container?: ContainerPlan }[],
): readonly ImagePlan[] =>
  [
    ...groupBy(
      uses.filter(({ container }) => container),
      ({ container }) => container!.image,
    ),
  ]
    .map(([reference, users]) => ({ reference, hosts: [...new Set(users.map(({ host }) => host))].toSorted(byText) }))
    .toSorted((a, b) => byText(a.reference, b.reference));

/** Weights of every host on which an engine starts. What runs has read its own. */
export function stagingPlans(
  { model: { source, copy, ...model } }: ClusterSpec,
  { path }: ModelPlan,
  engines: readonly EnginePlan[],
): readonly StagingPlan[] {
  const hosts = new Set(
    engines.flatMap(({ action, ranks }) => (action === 'keep' ? [] : ranks.map(({ host }) => host))),
  );
  return [...hosts]
    .toSorted(byText)
    .map((host) => ({ host, source, path, copy: !usedInPlace({ source, copy, ...model }) }));
}
