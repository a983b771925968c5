import { someText } from '../text/some.ts';
import { DeployError } from '../errors.ts';
import { byText, groupBy } from './order.ts';
import type { FoundUnit, Inventory } from './types.ts';
import { raw } from '../text/raw.ts';

/** Units of one name on all hosts together: an engine or a router as one deployment made it. */
export interface FoundGroup extends Pick<FoundUnit, 'name' | 'kind' | 'role' | 'index' | 'deployment' | 'runtime'> {
  /** Empty when its parts do not agree, which no planned row ever has. */
  readonly digest: string;
  readonly url?: string;
  readonly kvGeneration?: string;
  /** Every part of it that is there runs. */
  readonly running: boolean;
  /** Some parts of it run and others have ended: it serves nobody and holds what its parts hold. */
  readonly broken: boolean;
  /** By rank. */
  readonly parts: readonly (Pick<FoundUnit, 'rank' | 'gpus' | 'nics'> & { readonly host: string })[];
}

/** What the hosts show of this cluster, one row per name, in the order of names. */
export function foundGroups({ hosts }: Inventory): readonly FoundGroup[] {
  const units = hosts.flatMap(({ host, found }) => found.map((unit) => ({ ...unit, host })));
  return [...groupBy(units, ({ name }) => name).values()]
    .map((parts): FoundGroup => {
      parts.sort((a, b) => a.rank - b.rank || byText(a.host, b.host));
      const { name, kind, role, index, deployment, runtime, digest, kvGeneration } = parts[0]!;
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
        ...(kvGeneration !== undefined && { kvGeneration }),
        running: parts.every(({ running }) => running),
        broken: parts.some(({ running }) => running) && parts.some(({ running }) => !running),
        parts: parts.map(({ host, rank, gpus, nics }) => ({ host, rank, gpus, ...(nics && { nics }) })),
      };
    })
    .toSorted((a, b) => byText(a.name, b.name));
}

/** Whose units Tandem may touch. */
export interface Owner {
  readonly installation: string;
  /** The number of the operation that asks: whatever this installation made has a lower one. Absent where no record says. */
  readonly deployment?: number;
}

/** Whether a unit was made by this installation, under a number that it has given. */
export const isOwn = (unit: FoundUnit, { installation, deployment = Infinity }: Owner): boolean =>
  installation !== '' && unit.installation === installation && unit.deployment >= 1 && unit.deployment < deployment;

/**
 * What carries this cluster's label and was made by somebody else, or by a deployment that nobody here knows, as
 * "host: unit, …", in the order of hosts. Tandem touches none of it.
 */
export function strangers({ hosts }: Inventory, owner: Owner): readonly string[] {
  return hosts
    .flatMap(({ host, found }) =>
      found.filter((unit) => !isOwn(unit, owner)).map((unit) => `${host}: ${unit.name}, ${origin(unit, owner)}`),
    )
    .toSorted(byText);
}

function origin({ installation, deployment }: FoundUnit, owner: Owner): string {
  if (installation === '') return 'of unknown origin (no installation label)';
  if (installation !== owner.installation) return `of installation ${installation}`;
  return `of deployment ${deployment >= 1 ? deployment : '(no number)'}, which is not known here`;
}

/** Refuses to plan over units of this cluster's name that are not ours. Errors: NAME_CONFLICT. */
export function refuseStrangers(cluster: string, inventory: Inventory, owner: Owner): void {
  const found = strangers(inventory, owner);
  if (found.length === 0) return;
  const [first] = found;
  throw new DeployError({
    code: 'NAME_CONFLICT',
    message: `${found.length === 1 ? 'a unit' : `${found.length} units`} of cluster ${cluster} on the hosts ${found.length === 1 ? 'is' : 'are'} not of installation ${owner.installation} as it is known here: ${found.join('; ')}`,
    remedy: `Choose another name than ${cluster}, let its owner destroy it, or where the record was lost take it over with \`tandem adopt FILE\`.`,
    retryable: false,
    host: first!.slice(0, first!.indexOf(':')),
    evidence: raw(found.join('\n')),
  });
}

/** The installations whose units or leases of this cluster the hosts show, with what each has there, in the order of names. */
export function installationsOn(cluster: string, { hosts }: Inventory): ReadonlyMap<string, readonly string[]> {
  const rows = hosts.flatMap(({ host, found, leases }) => [
    ...found.map(({ installation, name }) => ({ installation, what: `${host}: ${name}` })),
    ...[
      ...groupBy(
        leases.filter((lease) => lease.cluster === cluster),
        ({ installation }) => installation,
      ),
    ].map(([installation, its]) => ({
      installation,
      what: `${host}: ${its.length} ${its.length === 1 ? 'GPU' : 'GPUs'} leased`,
    })),
  ]);
  const known = rows.filter(({ installation }) => installation !== '').toSorted((a, b) => byText(a.what, b.what));
  return new Map(
    [...groupBy(known, ({ installation }) => installation)]
      .map(([installation, its]): [string, string[]] => [installation, its.map(({ what }) => what)])
      .toSorted(([a], [b]) => byText(a, b)),
  );
}

/** The one installation of which the hosts show anything; undefined where there is none. Errors: NAME_CONFLICT naming all. */
export function onlyInstallation(cluster: string, inventory: Inventory): string | undefined {
  const found = [...installationsOn(cluster, inventory)];
  if (found.length <= 1) return found[0]?.[0];
  const names = found.map(([installation]) => installation);
  throw new DeployError({
    code: 'NAME_CONFLICT',
    message: `the hosts show ${found.length} installations of cluster ${cluster}: ${names.join(', ')}`,
    remedy: `Say which one: \`tandem adopt FILE --installation ID\`; the others are left alone.`,
    retryable: false,
    evidence: raw(found.map(([installation, its]) => `${installation}: ${some(its)}`).join('\n')),
  });
}

const NAMED_MAX = 8;

const some = (rows: readonly string[]): string => someText(rows, NAMED_MAX);
