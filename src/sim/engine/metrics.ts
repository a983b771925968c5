import type { Role } from '../../plan/types.ts';
import { FAMILIES, type Family } from './metric-families.ts';
import type { Release } from './release.ts';

export type Labels = Readonly<Record<string, string>>;

interface Row {
  readonly labels: Labels;
  value: number;
  /** Of a histogram: events per bucket, not yet summed up; the last is +Inf. */
  readonly buckets: number[];
  count: number;
}

/** The numbers behind /metrics of one engine, kept by name and labels and printed in Prometheus' text format. */
export class Metrics {
  readonly #families = new Map<string, { readonly family: Family; readonly rows: Map<string, Row> }>();
  readonly #model: string;
  readonly #release: Release;
  /** Names that this release has for a family, where those are others. */
  readonly #names: Readonly<Record<string, string>>;

  constructor({ role, model, release }: { role: Role | 'null'; model: string; release: Release }) {
    this.#model = model;
    this.#release = release;
    this.#names = { num_prefill_bootstrap_queue_reqs: `num_prefill_${release.bootstrapQueue}_queue_reqs` };
    for (const family of FAMILIES) {
      if (family.only !== undefined && role !== 'null' && family.only !== role) continue;
      if (!release.has(family)) continue;
      this.#families.set(family.name, { family, rows: new Map() });
      for (const labels of family.rows ?? [{}]) this.set(family.name, labels, family.idle ?? 0);
    }
  }

  /** Names that the role does not have are left out, as in the real engine. */
  set(name: string, labels: Labels, value: number): void {
    const row = this.#row(name, labels);
    if (row !== undefined) row.value = value;
  }

  add(name: string, labels: Labels, by = 1): void {
    const row = this.#row(name, labels);
    if (row !== undefined) row.value += by;
  }

  observe(name: string, labels: Labels, value: number): void {
    const row = this.#row(name, labels);
    const bounds = this.#families.get(name)?.family.buckets;
    if (row === undefined || bounds === undefined) return;
    const bucket = bounds.findIndex((bound) => value <= bound);
    const at = bucket < 0 ? bounds.length : bucket;
    row.buckets[at] = (row.buckets[at] ?? 0) + 1;
    row.value += value;
    row.count += 1;
  }

  print(role: Role | 'null'): string {
    return [...this.#families.values()]
      .filter(({ rows }) => rows.size > 0)
      .flatMap(({ family, rows }) => [
        `# HELP sglang:${this.#nameOf(family)} ${this.#nameOf(family).replaceAll('_', ' ')}`,
        `# TYPE sglang:${this.#nameOf(family)} ${family.type}`,
        ...[...rows.values()].flatMap((row) => this.#lines(family, row, role)),
      ])
      .join('\n')
      .concat('\n');
  }

  #row(name: string, given: Labels): Row | undefined {
    const entry = this.#families.get(name);
    if (entry === undefined) return undefined;
    const { is_streaming: _, ...others } = given;
    const labels = this.#unlabelled(entry.family) ? others : given;
    const key = JSON.stringify(labels);
    const there = entry.rows.get(key);
    if (there !== undefined) return there;
    const row: Row = { labels, value: 0, buckets: (entry.family.buckets ?? []).map(() => 0).concat(0), count: 0 };
    entry.rows.set(key, row);
    return row;
  }

  #unlabelled(family: Family): boolean {
    return family.labels === 'engine' && !this.#release.labelsRequests;
  }

  #nameOf({ name }: Family): string {
    return this.#names[name] ?? name;
  }

  #lines(family: Family, row: Row, role: Role | 'null'): string[] {
    const name = `sglang:${this.#nameOf(family)}`;
    const common = {
      ...(family.labels !== 'none' && { model_name: this.#model }),
      ...(family.labels !== 'none' && !this.#unlabelled(family) && { engine_type: role === 'null' ? 'unified' : role }),
      ...(family.labels === 'scheduler' && { moe_ep_rank: '0', pp_rank: '0', tp_rank: '0' }),
    };
    const labels = { ...common, ...row.labels };
    if (family.type !== 'histogram') return [`${name}${braces(labels)} ${number(row.value)}`];
    let sum = 0;
    return [
      `${name}_sum${braces(labels)} ${number(row.value)}`,
      ...[...(family.buckets ?? []), Infinity].map((bound, index) => {
        sum += row.buckets[index] ?? 0;
        return `${name}_bucket${braces({ ...labels, le: number(bound) })} ${number(sum)}`;
      }),
      `${name}_count${braces(labels)} ${number(row.count)}`,
    ];
  }
}

function braces(labels: Labels): string {
  const pairs = Object.entries(labels)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

/** Python's way of writing floats, which Prometheus clients print: 1.0, 1e+06, +Inf, NaN. */
function number(value: number): string {
  if (value === Infinity) return '+Inf';
  if (Number.isNaN(value)) return 'NaN';
  if (Math.abs(value) >= 1e6) return value.toExponential().replace(/e\+(\d)$/, 'e+0$1');
  return Number.isInteger(value) ? `${value}.0` : String(value);
}
