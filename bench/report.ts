/** What one deploy by the product took. */
export interface ProductRun {
  readonly seconds: number;
  readonly events: number;
  readonly bytes: number;
  readonly retries: number;
  readonly memoryMiB: number;
  readonly workerCpuSeconds: number;
  readonly serverCpuSeconds: number;
  readonly masters: number;
  readonly logins: number;
  readonly activities: number;
  readonly byActivity: Readonly<Record<string, number>>;
  /** CPU that others used just before it, of all cores, 0–1. */
  readonly load: number;
}

/** What the same remote work took without Temporal. */
export interface FloorRun {
  readonly seconds: number;
  readonly memoryMiB: number;
  readonly cpuSeconds: number;
  readonly retries: number;
  readonly masters: number;
  readonly logins: number;
  readonly byActivity: Readonly<Record<string, number>>;
  readonly load: number;
}

export interface Size {
  readonly hosts: number;
  readonly product: readonly ProductRun[];
  readonly floor: readonly FloorRun[];
}

/** Highest ratio of the product's seconds to the floor's that is accepted. */
const RATIO_MAX = 1.5;
/** Most that a host may take longer where there are more of them. */
const GROWTH_MAX = 1.3;
const EVENTS_MAX = 10_000;
const MEMORY_MAX_MIB = 500;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Seconds of the product for each of the floor's, by medians. */
const ratioOf = ({ product, floor }: Size): number => median(secondsOf(product)) / median(secondsOf(floor));

/** What is wrong with how a size compares to the one before it, and with what it needs; empty when nothing is. */
export function breaches(sizes: readonly Size[]): readonly string[] {
  return sizes.flatMap((size, index) => {
    const { hosts, product } = size;
    const before = sizes[index - 1];
    const growth = before ? perHost(size) / perHost(before) : 0;
    const events = Math.max(...product.map((run) => run.events));
    const memory = Math.max(...product.map(({ memoryMiB }) => memoryMiB));
    return [
      ...(ratioOf(size) > RATIO_MAX ? [`ratio ${ratioOf(size).toFixed(2)} is above ${RATIO_MAX}`] : []),
      ...(differsInWork(size) ? ['deploy and floor ran different work, so their ratio says nothing'] : []),
      ...(growth > GROWTH_MAX ? [`a host takes ${growth.toFixed(2)} times as long as one of ${before!.hosts}`] : []),
      ...(events > EVENTS_MAX ? [`a history has ${events} events, more than ${EVENTS_MAX}`] : []),
      ...(memory > MEMORY_MAX_MIB
        ? [`the Temporal worker held ${memory.toFixed(0)} MiB, above ${MEMORY_MAX_MIB}`]
        : []),
    ].map((what) => `${hosts} hosts: ${what}`);
  });
}

/** Seconds of a deploy for each of its hosts. */
const perHost = ({ hosts, product }: Size): number => median(secondsOf(product)) / hosts;

/** Part by which the command lines over ssh may differ: how often a start is looked at depends on its length. */
const WORK_TOLERANCE = 0.1;

/** True where the floor did not do the product's work, so that their ratio says nothing. */
function differsInWork({ product, floor }: Size): boolean {
  const [ours, theirs] = [product, floor].map((runs) => median(runs.map(({ logins }) => logins)));
  return Math.abs(ours! - theirs!) > WORK_TOLERANCE * ours!;
}

const secondsOf = (runs: readonly { readonly seconds: number }[]) => runs.map(({ seconds }) => seconds);

/** Two Markdown tables: the sizes, then where the time of the largest one goes. */
export function renderReport(sizes: readonly Size[]): string {
  const of = <T>(runs: readonly T[], pick: (run: T) => number) => median(runs.map(pick));
  const row = (name: string, cell: (size: Size) => string) => [name, ...sizes.map(cell)];
  const spread = (runs: readonly { readonly seconds: number }[]) => {
    const seconds = secondsOf(runs);
    return `${median(seconds).toFixed(1)} (${Math.min(...seconds).toFixed(1)}–${Math.max(...seconds).toFixed(1)})`;
  };
  const percent = (runs: readonly { readonly load: number }[]) =>
    `${runs.map(({ load }) => (100 * load).toFixed(0)).join(', ')} %`;
  const table = markdown([
    row('simulated hosts', ({ hosts }) => String(hosts)),
    row('deploy, seconds: median (least–most)', ({ product }) => spread(product)),
    row('floor, seconds: median (least–most)', ({ floor }) => spread(floor)),
    row('**ratio to the floor**', (size) => `**${ratioOf(size).toFixed(2)}**`),
    row('deploy, seconds per host', (size) => perHost(size).toFixed(2)),
    row('runs of each, interleaved', ({ product, floor }) => `${product.length} and ${floor.length}`),
    row('activities', ({ product }) => of(product, ({ activities }) => activities).toFixed(0)),
    row('events of the longest history', ({ product }) => of(product, ({ events }) => events).toFixed(0)),
    row('all histories, KiB', ({ product }) => (of(product, ({ bytes }) => bytes) / 1024).toFixed(0)),
    row('retries of activities: product, floor', ({ product, floor }) =>
      [product, floor].map((runs) => runs.map(({ retries }) => retries).join('+')).join(', '),
    ),
    row('Temporal worker, peak RSS, MiB', ({ product }) => of(product, ({ memoryMiB }) => memoryMiB).toFixed(0)),
    row('floor, peak RSS, MiB', ({ floor }) => of(floor, ({ memoryMiB }) => memoryMiB).toFixed(0)),
    row('Temporal worker, CPU seconds', ({ product }) => of(product, (run) => run.workerCpuSeconds).toFixed(1)),
    row('floor, CPU seconds', ({ floor }) => of(floor, (run) => run.cpuSeconds).toFixed(1)),
    row('Temporal server, CPU seconds', ({ product }) => of(product, (run) => run.serverCpuSeconds).toFixed(1)),
    row(
      'ssh masters: product, floor',
      ({ product, floor }) => `${of(product, ({ masters }) => masters)}, ${of(floor, ({ masters }) => masters)}`,
    ),
    row(
      'command lines over ssh: product, floor',
      ({ product, floor }) => `${of(product, ({ logins }) => logins)}, ${of(floor, ({ logins }) => logins)}`,
    ),
    row('CPU used by others before a deploy', ({ product }) => percent(product)),
    row('CPU used by others before a floor', ({ floor }) => percent(floor)),
  ]);
  return `${table}\n\n${renderActivities(sizes.at(-1)!)}`;
}

function renderActivities({ hosts, product, floor }: Size): string {
  const names = Object.keys(product[0]?.byActivity ?? {});
  const seconds = (runs: readonly { readonly byActivity: Readonly<Record<string, number>> }[], name: string) =>
    median(runs.map(({ byActivity }) => byActivity[name] ?? 0));
  return markdown([
    [`activity, ${hosts} hosts`, 'deploy, seconds', 'floor, seconds'],
    ...names.map((name) => [name, seconds(product, name).toFixed(2), seconds(floor, name).toFixed(2)]),
  ]);
}

function markdown([head, ...rows]: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head!), line(head!.map((_, index) => (index === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}
