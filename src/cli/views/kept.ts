import { groupBy } from '../../plan/order.ts';
import type { Shown } from './shown.ts';

/** What stays on hosts, caches and logs: a line for each kind with its number and size; each row where that is asked for. */
export function keptRows(kept: readonly string[], { verbose }: Shown): readonly string[] {
  if (verbose) return kept;
  const read = kept.map((row) => ({ row, ...ROW.exec(row)?.groups }) as Row);
  const unread = read.filter(({ kind }) => kind === undefined).map(({ row }) => row);
  const kinds = groupBy(
    read.filter(({ kind }) => kind !== undefined),
    ({ kind }) => kind!,
  );
  return [...[...kinds].map(([kind, rows]) => summary(kind, rows)), ...unread];
}

/** As a host's picture words it: "gpu-a: image rocm/sgl-dev:v0.5 (20.0 GiB)". */
const ROW = /^(?<host>[^ ]+): (?<kind>image|weights|log) (?<what>.+) \((?<size>[\d.]+) (?<unit>GiB|MiB)\)$/;
/** Several of a kind. */
const MANY: Readonly<Record<string, string>> = { image: 'images', weights: 'models', log: 'logs' };

interface Row {
  readonly row: string;
  readonly host?: string;
  readonly kind?: string;
  readonly what?: string;
  readonly size?: string;
  readonly unit?: string;
}

function summary(kind: string, rows: readonly Row[]): string {
  const whats = [...new Set(rows.map(({ what }) => what!))];
  const hosts = new Set(rows.map(({ host }) => host!));
  const size = rows.reduce((sum, row) => sum + Number(row.size), 0);
  const named = whats.length === 1 ? `${kind} ${whats[0]}` : `${whats.length} ${MANY[kind]}`;
  return `${named} on ${hosts.size === 1 ? [...hosts][0] : `${hosts.size} hosts`} (${size.toFixed(1)} ${rows[0]!.unit})`;
}
