import { someRows } from '../text/some.ts';

/** The kinds of things that Tandem can leave on a host. */
export const THINGS = ['container', 'job', 'process', 'file', 'port', 'mount', 'lease', 'router-entry'] as const;

export type Thing = (typeof THINGS)[number];

/** Whose things a picture shows, and where they can be. */
export interface PictureScope {
  readonly cluster: string;
  /** What carries the label (or lease) of another installation is left out, with its folders: strangers are named elsewhere. */
  readonly installation: string;
  /** Whether containers may be there; Docker is asked only then. */
  readonly docker: boolean;
  /** Ports that the cluster's engines and router listen on at this host. */
  readonly ports: readonly number[];
  /** Folder of the model's complete weights on this host, and the images the cluster runs: named as `kept`. */
  readonly modelPath: string;
  readonly images: readonly string[];
}

/** Everything of one cluster on one host, in a stable order: two pictures are equal when nothing changed in between. */
export interface HostPicture {
  readonly host: string;
  /** Rows as people read them, sorted, by kind; a kind without rows is left out. After 200 rows one says how many more. */
  readonly things: Readonly<Partial<Record<Thing, readonly string[]>>>;
  /** What undo and destroy leave: caches, and logs of what an undo removed. */
  readonly kept: readonly Kept[];
}

export interface Kept {
  readonly kind: 'image' | 'weights' | 'log';
  readonly what: string;
  readonly bytes: number;
}

/** One thing in which two pictures of a host differ. */
export interface Difference {
  readonly host: string;
  readonly kind: Thing;
  readonly what: string;
  /** `left`: there now, and not before; `gone`: there before, and not now. */
  readonly change: 'left' | 'gone';
}

/** Most rows of one kind; the rest is counted. */
const ROWS_LIMIT = 200;

/** A picture of these rows, in order and bounded. */
export function hostPicture(
  host: string,
  rows: Readonly<Partial<Record<Thing, readonly string[]>>>,
  kept: readonly Kept[],
): HostPicture {
  const things = THINGS.flatMap((kind) => {
    const all = [...new Set(rows[kind])].toSorted();
    return all.length === 0 ? [] : [[kind, someRows(all, ROWS_LIMIT)]];
  });
  const order = ({ kind, what }: Kept) => `${kind} ${what}`;
  return {
    host,
    things: Object.fromEntries(things) as HostPicture['things'],
    kept: kept.toSorted((a, b) => (order(a) < order(b) ? -1 : 1)),
  };
}

/** The picture with these entries of a router in it. */
export const withEntries = (picture: HostPicture, entries: readonly string[]): HostPicture => ({
  ...picture,
  things: { ...picture.things, ...hostPicture(picture.host, { 'router-entry': entries }, []).things },
});

/** The row of a container or job. */
export const unitRow = (name: string, running: boolean): string => name + (running ? RUNS : STANDS);
const RUNS = ' runs';
const STANDS = ' does not run';

/**
 * What is there now and was not, and what was there and is not. Without `before` nothing was there: all of it counts
 * as left. A unit that ran and does not is gone too. Of kinds that were cut off, what lies beyond the last listed row
 * is compared by number.
 */
export function differences(before: HostPicture | undefined, after: HostPicture): Difference[] {
  return THINGS.flatMap((kind) => {
    const was = listing(before?.things[kind]);
    const is = listing(after.things[kind]);
    const last = [was, is].flatMap(({ rows, more }) => (more > 0 ? [rows.at(-1)!] : [])).toSorted()[0];
    const old = upTo(was, last);
    const now = upTo(is, last);
    const change = (what: string, how: Difference['change']): Difference => ({
      host: after.host,
      kind,
      what,
      change: how,
    });
    const extra = now.beyond - old.beyond;
    return [
      ...[...now.rows].flatMap((row) => {
        if (old.rows.has(row)) return [];
        if (!old.rows.has(twin(row))) return [change(row, 'left')];
        return row.endsWith(RUNS) ? [change(`${nameOf(row)} runs, and did not`, 'left')] : [];
      }),
      ...[...old.rows].flatMap((row) => {
        if (now.rows.has(row)) return [];
        if (!now.rows.has(twin(row))) return [change(nameOf(row), 'gone')];
        return row.endsWith(RUNS) ? [change(`${nameOf(row)} no longer runs`, 'gone')] : [];
      }),
      ...(extra === 0 ? [] : [change(`${Math.abs(extra)} that are not listed`, extra > 0 ? 'left' : 'gone')]),
    ];
  });
}

interface Listing {
  readonly rows: readonly string[];
  readonly more: number;
}

function listing(rows: readonly string[] = []): Listing {
  const more = rows.length > ROWS_LIMIT ? Number(/^and (\d+) more$/.exec(rows.at(-1)!)?.[1] ?? 0) : 0;
  return { rows: more > 0 ? rows.slice(0, -1) : rows, more };
}

/** The rows up to `last`, and how many there are beyond it. */
function upTo({ rows, more }: Listing, last: string | undefined) {
  const within = last === undefined ? rows : rows.filter((row) => row <= last);
  return { rows: new Set(within), beyond: rows.length - within.length + more };
}

/** The row of the same unit in its other state; of what is no unit, a row that nobody has. */
function twin(row: string): string {
  if (row.endsWith(RUNS)) return nameOf(row) + STANDS;
  return row.endsWith(STANDS) ? nameOf(row) + RUNS : '';
}

const nameOf = (row: string): string =>
  [RUNS, STANDS].reduce((name, state) => (name.endsWith(state) ? name.slice(0, -state.length) : name), row);
