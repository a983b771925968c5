import type { DeploymentRecord } from '../../src/operations/record.ts';
import { engineAt } from './memory-http.ts';
import { enginesOf, type Cluster, type Course, type Picture } from './memory-scenarios.ts';
import type { ActivityCall } from './memory-site.ts';
import type { FanOut } from './memory-temporal.ts';

/** An activity that an unwind called: the first has number 1. */
export interface Undo {
  readonly number: number;
  readonly activity: string;
  readonly hosts: readonly string[];
}

/** What an operation called after the activities that failed. */
export function undosIn(calls: readonly ActivityCall[], operation: string, { ids }: FanOut): readonly Undo[] {
  const last = ids.at(-1)!;
  return calls
    .filter((call) => call.operation === operation && call.id > last && call.attempt === 1)
    .toSorted((a, b) => a.id - b.id)
    .map(({ id, activity, host, input }) => {
      const { routerRef } = input as { routerRef?: { name: string } };
      const hosts = [host, routerRef?.name].filter((name) => name !== undefined && name !== '');
      return { number: id - last, activity, hosts: hosts as string[] };
    });
}

/** What comes after the last step that is undone: there a failure leaves something over and takes nothing down. */
export function isTidying({ scenario, fanOuts }: Course, fanOut: FanOut): boolean {
  const confirmed = fanOuts.findLastIndex(({ step }) => step === 'confirm');
  return scenario.operation === 'deploy' && fanOuts.indexOf(fanOut) > confirmed;
}

/** Looks after every change of a host whether what is kept still serves; `end` tells what it saw. */
export function watched({ site, name }: Cluster, { scenario, keeps }: Course): { end(): readonly string[] } {
  const wrong = new Set<string>();
  const stop = site.watch(() => {
    if (scenario.operation === 'destroy') return;
    const running = enginesOf(site, name);
    for (const engine of keeps) if (!running.includes(engine)) wrong.add(`${engine} was stopped`);
    if (!scenario.before || scenario.interrupts) return;
    if (!site.serves()) wrong.add('serving was interrupted');
    const all = [...site.hosts.values()];
    const listed = all.flatMap(({ units }) =>
      [...units.values()].flatMap((unit) => [...unit.listed.values()].map(({ url }) => engineAt(site, url)?.name)),
    );
    for (const engine of keeps) {
      const unit = engine.split(' ')[1]!.replace('tandem-', `tandem-${name}-`);
      if (!listed.includes(unit)) wrong.add(`${engine} was taken out of the router`);
    }
  });
  return {
    end() {
      stop();
      return [...wrong];
    },
  };
}

/** Rows that only one of two pictures has, "host kind row". */
export function differing(before: Picture, after: Picture): readonly string[] {
  const [was, is] = [rowsOf(before), rowsOf(after)];
  return [
    ...was.filter((row) => !is.includes(row)).map((row) => `${row} is gone`),
    ...is.filter((row) => !was.includes(row)).map((row) => `${row} is there`),
  ];
}

const rowsOf = (picture: Picture): readonly string[] =>
  Object.entries(picture).flatMap(([host, things]) =>
    Object.entries(things).flatMap(([kind, rows]) => rows.map((row) => `${host} ${kind} ${row}`)),
  );

export const told = ({ outcome, failed, leftBehind }: DeploymentRecord): string =>
  `it ended ${outcome} at ${failed?.step} (${failed?.code} ${failed?.message}), left behind ${JSON.stringify(leftBehind)}`;
