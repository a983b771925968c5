import type { HostPicture } from '../facts/host-picture.ts';
import type { EnginePlan, FoundUnit, Inventory, Lease, Plan, Serving } from '../plan/types.ts';
import { enginesOf, goingNames } from '../plan/units.ts';
import type { Measured } from './outcomes.ts';

/** What an operation found and has done, as plain JSON: what to undo comes from it and the plan alone. */
export interface Ledger extends Remains {
  /** The router's entries before anything was done. */
  readonly listed: readonly Listed[];
  /** Parts of units that go. */
  readonly leaving: readonly LeavingPart[];
  /** What serves by the record, is on no host any more, and is still listed: somebody else removed it. */
  readonly lost: readonly Pick<Serving['engines'][number], 'name' | 'url'>[];
  /** By host. */
  readonly leases: Readonly<Record<string, readonly Lease[]>>;
  /** Of hosts before anything was done there, by name. */
  readonly pictures: Readonly<Record<string, HostPicture>>;
  /** Ids by reference, as all hosts have them. */
  readonly images: Readonly<Record<string, string>>;
  /** By acceptance. */
  readonly measured?: Measured;
}

/** What an undo or a destroy could not take away, and what therefore stays with it. */
export interface Remains {
  /** Hosts where a unit could not be removed: their GPUs stay leased, since it may use them. */
  readonly held: readonly string[];
  /** Engines that could not be taken out of a router that stays: they run on, since requests still come to them. */
  readonly routed: readonly string[];
}

/** One engine as a router lists it. */
export interface Listed {
  readonly url: string;
  readonly role: string;
  readonly bootstrapPort?: number;
  readonly ready: boolean;
  /** Absent where the router has none. */
  readonly pairingKey?: string;
}

/** What one host holds of a unit. */
export interface LeavingPart extends Pick<FoundUnit, 'name' | 'runtime' | 'rank' | 'deployment' | 'running'> {
  readonly host: string;
}

/** The ledger of an operation that has done nothing yet. */
export function begun(
  plan: Plan,
  { hosts }: Inventory,
  listed: readonly Listed[],
  serving: Pick<Serving, 'engines'> | null,
): Ledger {
  const going = new Set(goingNames(plan));
  const found = new Set(hosts.flatMap((host) => host.found.map(({ name }) => name)));
  const planned = new Set(enginesOf(plan).map(({ url }) => url));
  return {
    listed,
    leaving: hosts.flatMap(({ host, found: units }) =>
      units
        .filter(({ name }) => going.has(name))
        .map(({ name, runtime, rank, deployment, running }) => ({ name, runtime, rank, deployment, host, running })),
    ),
    lost: (serving?.engines ?? [])
      .filter(({ name, url }) => !found.has(name) && !planned.has(url) && listed.some((entry) => entry.url === url))
      .map(({ name, url }) => ({ name, url })),
    leases: Object.fromEntries(hosts.map(({ host, leases }) => [host, leases])),
    pictures: {},
    images: {},
    held: [],
    routed: [],
  };
}

/** What moves and undos note. */
export type Note = Partial<Pick<Ledger, 'images' | 'pictures' | 'measured' | keyof Remains>>;

/** A ledger with what a move has done: lists and records grow by it. */
export function noted<L extends Remains & Partial<Ledger>>(ledger: L, note: Note): L {
  const { held = [], routed = [], images, pictures, measured } = note;
  return {
    ...ledger,
    held: [...new Set([...ledger.held, ...held])],
    routed: [...new Set([...ledger.routed, ...routed])],
    ...(images && { images: { ...ledger.images, ...images } }),
    ...(pictures && { pictures: { ...ledger.pictures, ...pictures } }),
    ...(measured && { measured }),
  };
}

/** Whether a router lists an engine under its key. */
export const isListed = ({ url, kvGeneration }: EnginePlan, { router }: Plan, listed: readonly Listed[]): boolean =>
  listed.some(
    (entry) => entry.url === url && entry.ready && (!router.pairingKeys || entry.pairingKey === kvGeneration),
  );
