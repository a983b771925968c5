import { DeployError } from '../errors.ts';
import { byText, groupBy } from './order.ts';
import type { FoundUnit, Inventory } from './types.ts';

/** Units of one name on all hosts together: an engine or a router as one deployment made it. */
export interface FoundGroup extends Pick<FoundUnit, 'name' | 'kind' | 'role' | 'index' | 'deployment' | 'runtime'> {
  /** Empty when its parts do not agree, which no planned row ever has. */
  readonly digest: string;
  readonly url?: string;
  /** Every part of it that is there runs. */
  readonly running: boolean;
  /** By rank. */
  readonly parts: readonly (Pick<FoundUnit, 'rank' | 'gpus' | 'nics'> & { readonly host: string })[];
}

/** What the hosts show of this cluster, one row per name, in the order of names. */
export function foundGroups({ hosts }: Inventory): readonly FoundGroup[] {
  const units = hosts.flatMap(({ host, found }) => found.map((unit) => ({ ...unit, host })));
  return [...groupBy(units, ({ name }) => name).values()]
    .map((parts): FoundGroup => {
      parts.sort((a, b) => a.rank - b.rank || byText(a.host, b.host));
      const { name, kind, role, index, deployment, runtime, digest } = parts[0]!;
      const url = parts.find((part) => part.url !== undefined)?.url;
      return {
        name,
        kind,
        role,
        index,
        deployment,
        runtime,
        digest: parts.every((part) => part.digest === digest) ? digest : '',
        ...(url !== undefined && { url }),
        running: parts.every(({ running }) => running),
        parts: parts.map(({ host, rank, gpus, nics }) => ({ host, rank, gpus, ...(nics && { nics }) })),
      };
    })
    .toSorted((a, b) => byText(a.name, b.name));
}

/**
 * What carries this cluster's label and was made by somebody else, as "host: unit, …", in the order of hosts. Tandem
 * touches none of it.
 */
export function strangers({ hosts }: Inventory, installation: string): readonly string[] {
  return hosts
    .flatMap(({ host, found }) =>
      found
        .filter((unit) => unit.installation !== installation)
        .map((unit) => `${host}: ${unit.name}, ${origin(unit.installation)}`),
    )
    .toSorted(byText);
}

const origin = (installation: string): string =>
  installation === '' ? 'of unknown origin (no installation label)' : `of installation ${installation}`;

/** Refuses to plan over units of this cluster's name that are not ours. Errors: NAME_CONFLICT. */
export function refuseStrangers(cluster: string, inventory: Inventory, installation: string): void {
  const found = strangers(inventory, installation);
  if (found.length === 0) return;
  const [first] = found;
  throw new DeployError({
    code: 'NAME_CONFLICT',
    message: `${found.length === 1 ? 'a unit' : `${found.length} units`} of cluster ${cluster} on the hosts belong to another installation than ${installation}: ${found.join('; ')}`,
    remedy: `Choose another name than ${cluster}, let its owner destroy it, or take it over with "tandem adopt".`,
    retryable: false,
    host: first!.slice(0, first!.indexOf(':')),
    evidence: found.join('\n'),
  });
}
