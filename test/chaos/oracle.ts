import type { DeploymentRecord } from '../../src/operations/record.ts';
import type { Picture } from '../support/stack.ts';

/** What an operation may leave, judged by pictures that were taken on the hosts and not by the product. */

export interface Row {
  readonly host: string;
  readonly kind: keyof Picture[string];
  readonly what: string;
  readonly change: 'left' | 'gone';
}

/** The rows in which two pictures differ. */
export function difference(before: Picture, after: Picture): readonly Row[] {
  return Object.entries(before).flatMap(([host, was]) =>
    (Object.keys(was) as (keyof Picture[string])[]).flatMap((kind) => {
      const [old, now] = [was[kind].map(String), after[host]![kind].map(String)];
      const rows = (change: Row['change'], list: readonly string[], other: readonly string[]) =>
        list.filter((what) => !other.includes(what)).map((what): Row => ({ host, kind, what, change }));
      return [...rows('left', now, old), ...rows('gone', old, now)];
    }),
  );
}

export const shown = ({ host, kind, what, change }: Row): string =>
  `${host}: ${change === 'left' ? 'there now' : 'gone'}: ${kind} ${what.slice(0, 200)}`;

/** Whether the record of an operation that ended stuck tells of a row: of the thing itself, or of a host not reached. */
export function isNamed(row: Row, { leftBehind }: Pick<DeploymentRecord, 'leftBehind'>): boolean {
  const about = leftBehind.filter((line) => line.includes(row.host));
  if (about.some((line) => /not reached|cannot be reached|lost the connection/.test(line))) return true;
  const names = namesIn(row);
  return about.some((line) =>
    names.length > 0 ? names.some((name) => line.includes(name)) : /tandem-|\bport\b|\bprocess\b/.test(line),
  );
}

/** What a line about the row would call it: its unit, its address on the PCI bus, its deployment. A port or process belongs to a unit. */
function namesIn({ kind, what }: Row): readonly string[] {
  switch (kind) {
    case 'containers':
      return [what.split(' ')[0]!];
    case 'leases':
      return [what];
    case 'files':
      return (
        what.match(/tandem-[\w-]+|[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.\d|[\w-]+-\d+(?=\/)/g) ?? [what.split(' ')[0]!]
      );
    case 'listening':
    case 'processes':
      return [];
  }
}

/** Rows that the crash itself makes on the hosts it struck: what ran there does not, and its exit is written down. */
export function ofTheCrash({ host, kind, what, change }: Row, struck: readonly string[]): boolean {
  if (!struck.includes(host)) return false;
  switch (kind) {
    case 'containers':
      return what.endsWith(change === 'gone' ? ' running' : ' exited');
    case 'listening':
    case 'processes':
      return change === 'gone';
    case 'files':
      return change === 'left' && /^\.tandem\/jobs\/[^/]+\/\d+\/exit /.test(what);
    case 'leases':
      return false;
  }
}
