import type { DeploymentRecord } from '../../src/operations/record.ts';
import { patient, patientSeconds } from '../support/patience.ts';
import type { Stack } from '../support/stack.ts';
import { difference, shown } from './oracle.ts';
import { settled, slotSpec, type Place } from './run.ts';

const LIMIT_MS = patient(600_000);

/** What became of a race. */
export interface RaceResult {
  readonly winner: string;
  /** Code with which the other was refused. */
  readonly refused: string;
  readonly violations: readonly string[];
}

/** A cluster of the given name that wants every GPU of the hosts of a slot. */
export const contender = (place: Place, name: string, port: number) =>
  slotSpec(place, name, {
    decode: { replicas: 2, gpus: { product: 'MI300X', count: 2 }, hosts: [`d${place.slot}`] },
    router: {
      host: `r${place.slot}`,
      runtime: 'process',
      port,
      readyTimeoutSeconds: patientSeconds(60),
      args: { 'prometheus-port': port + 1 },
    },
  });

/**
 * Two Temporal servers that know nothing of each other deploy two clusters for the same GPUs at the same time. One wins
 * whole, the other is refused naming the holder and leaves nothing; the winner is destroyed again.
 */
export async function race(stacks: readonly [Stack, Stack], place: Place, round: number): Promise<RaceResult> {
  const hosts = [`p${place.slot}`, `d${place.slot}`, `r${place.slot}`];
  const picture = (names: readonly string[]) => stacks[0].picture(names);
  const empty = await picture(hosts);
  // The worst order: each is late at the host that the other one comes to in time.
  const late = (cluster: string, host: string) =>
    ({ match: `^sh -c .*ln -- .*"cluster":"${cluster}-`, host, does: 'answersLate', afterMs: 2_000 }) as const;
  await stacks[0].simulation.setFaults([late('one', hosts[1]!), late('two', hosts[0]!)]);
  const specs = [contender(place, `one-${round}`, 30000), contender(place, `two-${round}`, 31000)] as const;
  const records = await Promise.all(
    specs.map(async (spec, index) => {
      const stack = stacks[index]!;
      return stack.ended(spec.name, await stack.begin(spec), LIMIT_MS);
    }),
  );
  await stacks[0].simulation.setFaults([]);
  const violations: string[] = [];
  const won = records.findIndex(({ outcome }) => outcome === 'succeeded');
  const said = records.map(({ outcome, failed }) => `${outcome} ${failed?.code ?? ''}`.trim());
  if (records.filter(({ outcome }) => outcome === 'succeeded').length !== 1) {
    violations.push(
      `not one of two won: ${said.join(', ')}: ${records.map(({ failed }) => failed?.message).join('; ')}`,
    );
  } else {
    const loser = records[1 - won]!;
    violations.push(...refusedFor(loser, specs[won]!.name));
    const now = Object.values(await picture(hosts));
    const leases = now.flatMap((host) => host.leases);
    const left = now
      .flatMap(({ containers, files }) => [...containers, ...files])
      .filter((row) => row.includes(specs[1 - won]!.name));
    violations.push(...left.map((row) => `left of the loser: ${row}`));
    if (leases.length !== 8) violations.push(`the winner holds ${leases.length} leases of 8`);
  }
  for (const [index, { outcome }] of records.entries()) {
    if (UNDONE.includes(outcome)) continue;
    const stack = stacks[index]!;
    const destroyed = await stack.ended(specs[index]!.name, await stack.begin(specs[index]!, 'destroy'), LIMIT_MS);
    if (destroyed.outcome !== 'succeeded') violations.push(`destroy ended ${destroyed.outcome}`);
  }
  const rows = await settled(async () => difference(empty, await picture(hosts)).map(shown));
  violations.push(...rows.map((row) => `after destroy ${row}`));
  const loser = records[1 - won];
  return { winner: specs[won]?.name ?? '', refused: (won >= 0 && loser?.failed?.code) || '', violations };
}

/** Outcomes after which a host is as before. */
const UNDONE = ['rolled-back', 'refused'];

function refusedFor({ outcome, failed, leftBehind }: DeploymentRecord, holder: string): string[] {
  const text = `${failed?.message} ${failed?.evidence}`;
  return [
    ...(UNDONE.includes(outcome) && leftBehind.length === 0
      ? []
      : [`the loser ended ${outcome}: ${leftBehind.join(', ')}`]),
    ...(failed && /^(LEASE_HELD|PLAN_IMPOSSIBLE)$/.test(failed.code)
      ? []
      : [`the loser was refused by ${failed?.code}`]),
    ...(text.includes(holder) ? [] : [`the refusal does not name ${holder}: ${text}`]),
  ];
}
