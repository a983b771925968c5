import type { ClusterSpec } from '../spec/schema.ts';
import { engineDigest, type EngineRow } from './digest.ts';
import { devicesAll, devicesUp, type RowOf } from './engine-row.ts';
import { type Fleet, mayUse } from './fleet.ts';
import type { FoundGroup } from './found.ts';
import { groupBy } from './order.ts';
import { type Place, type Seat, seatName } from './placement.ts';
import type { Role } from './types.ts';

/** What becomes of the engines of one role that the hosts show, and which are wanted beside them. */
export interface Seats {
  /** Engines that run as the spec has them. */
  readonly kept: readonly {
    readonly seat: Seat;
    readonly unit: FoundGroup;
    readonly place: Place;
    readonly row: EngineRow;
  }[];
  /** Engines to start: ended ones with the units they replace, then new ones. */
  readonly wanted: readonly { readonly seat: Seat; readonly ended: readonly FoundGroup[] }[];
  readonly gone: readonly { readonly unit: FoundGroup; readonly reason: string }[];
  /** Engines that run as something else than the spec has: one sentence each. */
  readonly refused: readonly string[];
}

type Judged =
  | {
      readonly seat: Seat;
      readonly units: readonly FoundGroup[];
      readonly kept: { unit: FoundGroup; place: Place; row: EngineRow };
    }
  | { readonly seat: Seat; readonly units: readonly FoundGroup[]; readonly differs: string }
  | { readonly seat: Seat; readonly units: readonly FoundGroup[]; readonly ended: true };

/**
 * Fills the seats of a role: engines that run stay, lowest index first, then ended ones come back, then the lowest
 * free indexes are new. What is beyond `replicas` goes, so scaling down takes the highest indexes; so does what never
 * served, begun above the deployment number `served`, when it is not what the spec has.
 */
export function fillSeats(
  spec: ClusterSpec,
  fleet: Fleet,
  rowOf: RowOf,
  role: Role,
  groups: readonly FoundGroup[],
  served: number,
): Seats {
  const { replicas } = spec[role];
  const mine = groups.filter((group) => group.kind === 'engine' && group.role === role);
  const useless = mine.flatMap((unit) => {
    const reason = uselessness(
      unit,
      served,
      () => 'differs' in judge(spec, fleet, rowOf, { role, index: unit.index }, [unit]),
    );
    return reason === undefined ? [] : [{ unit, reason }];
  });
  const useful = mine.filter((unit) => useless.every((one) => one.unit !== unit));
  const judged = [...groupBy(useful, ({ index }) => index)]
    .map(([index, units]) => judge(spec, fleet, rowOf, { role, index }, units))
    .toSorted((a, b) => Number('ended' in a) - Number('ended' in b) || a.seat.index - b.seat.index);
  const staying = judged.slice(0, replicas);
  const going = judged.slice(replicas);
  const used = new Set(staying.map(({ seat }) => seat.index));
  const fresh: Seat[] = [];
  for (let index = 0; staying.length + fresh.length < replicas; index += 1)
    if (!used.has(index)) fresh.push({ role, index });
  const byIndex = <T extends { readonly seat: Seat }>(rows: readonly T[]) =>
    rows.toSorted((a, b) => a.seat.index - b.seat.index);
  return {
    kept: byIndex(staying.flatMap((one) => ('kept' in one ? [{ seat: one.seat, ...one.kept }] : []))),
    wanted: byIndex([
      ...staying.flatMap((one) => ('ended' in one ? [{ seat: one.seat, ended: one.units }] : [])),
      ...fresh.map((seat) => ({ seat, ended: [] })),
    ]),
    gone: [
      ...useless,
      ...going.flatMap(({ units }) => units.map((unit) => ({ unit, reason: `${role}.replicas is ${replicas}` }))),
      ...staying.flatMap((one) =>
        'kept' in one
          ? one.units
              .filter((unit) => unit !== one.kept.unit)
              .map((unit) => ({ unit, reason: `left over from deployment ${unit.deployment}` }))
          : [],
      ),
    ],
    refused: byIndex(staying).flatMap((one) => ('differs' in one ? [one.differs] : [])),
  };
}

function uselessness(unit: FoundGroup, served: number, differs: () => boolean): string | undefined {
  if (unit.broken) return 'a part of it has ended';
  return unit.running && unit.deployment > served && differs()
    ? `deployment ${unit.deployment} began it as something else and did not finish`
    : undefined;
}

function judge(spec: ClusterSpec, fleet: Fleet, rowOf: RowOf, seat: Seat, units: readonly FoundGroup[]): Judged {
  const newestFirst = units.toSorted((a, b) => b.deployment - a.deployment);
  const running = newestFirst.filter((unit) => unit.running);
  if (running.length === 0) {
    const preferred = placeOf(newestFirst[0]!);
    const fits =
      preferred.gpus.length === spec[seat.role].gpus.count &&
      preferred.hosts.length === spec[seat.role].hostsPerReplica;
    return { seat: fits ? { ...seat, preferred } : seat, units, ended: true };
  }
  for (const unit of running) {
    const place = placeOf(unit);
    const row =
      differences(spec, fleet, seat.role, unit).length > 0 ? undefined : sameRow(spec, fleet, rowOf, seat, unit, place);
    if (row) return { seat, units, kept: { unit, place, row } };
  }
  return {
    seat,
    units,
    differs: `${seatName(seat)} (${running[0]!.name}): ${whatDiffers(spec, fleet, rowOf, seat, running[0]!)}`,
  };
}

const placeOf = ({ parts }: FoundGroup): Place => ({ hosts: parts.map(({ host }) => host), gpus: parts[0]!.gpus });

/**
 * The row that has the digest of a running unit. A link that went down or came up since it started does not make
 * another engine of it, so its devices may be those that are up, those that its GPUs have, or with `rdma.devices: auto`
 * the part of these that its label names.
 */
function sameRow(
  { rdma }: ClusterSpec,
  fleet: Fleet,
  rowOf: RowOf,
  seat: Seat,
  unit: FoundGroup,
  place: Place,
): EngineRow | undefined {
  const all = devicesAll(fleet, place);
  const labelled = unit.parts.map(({ nics }) => nics ?? []);
  const partOfAll = labelled.every((nics, rank) => nics.length > 0 && nics.every((nic) => all[rank]!.includes(nic)));
  const candidates = [devicesUp(fleet, place), all, ...(rdma.devices === 'auto' && partOfAll ? [labelled] : [])];
  return candidates.map((nics) => rowOf(seat, place, nics)).find((row) => engineDigest(row) === unit.digest);
}

/** Where a running unit is against what the spec allows; empty when its place is as good as any. */
function differences(spec: ClusterSpec, fleet: Fleet, role: Role, { parts, runtime }: FoundGroup): string[] {
  const { gpus, hostsPerReplica } = spec[role];
  const found: string[] = [];
  if (runtime !== spec.engine.runtime) found.push(`it runs by ${runtime}, engine.runtime is ${spec.engine.runtime}`);
  if (parts.length !== hostsPerReplica)
    found.push(`it runs on ${parts.length} hosts, ${role}.hostsPerReplica is ${hostsPerReplica}`);
  for (const { host: name, gpus: indices } of parts) {
    const host = fleet.get(name);
    if (!host) found.push(`${name} is not in hosts.list`);
    else if (!mayUse(spec, role, host)) found.push(`${name} is not open to ${role} engines of ${gpus.product}`);
    else if (indices.length !== gpus.count)
      found.push(`it has ${indices.length} GPUs on ${name}, ${role}.gpus.count is ${gpus.count}`);
    else if (!indices.every((index) => host.gpus.some((gpu) => gpu.index === index)))
      found.push(`its GPUs ${indices.join(', ')} on ${name} could not be read`);
  }
  return found;
}

function whatDiffers(spec: ClusterSpec, fleet: Fleet, rowOf: RowOf, seat: Seat, unit: FoundGroup): string {
  const found = differences(spec, fleet, seat.role, unit);
  if (found.length > 0) return found.join(', ');
  const place = placeOf(unit);
  const { url } = rowOf(seat, place, devicesUp(fleet, place));
  if (unit.url !== undefined && unit.url !== url) return `it serves ${unit.url}, the spec has ${url}`;
  return 'its image, flags, environment, mounts, devices or model differ (the host keeps only their digest)';
}
