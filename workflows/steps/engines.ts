import type { Remains } from '../../src/operations/ledger.ts';
import { secretRefs } from '../../src/spec/secret-refs.ts';
import type { Work } from '../operation.ts';
import type { Act } from '../proxies.ts';
import { enginesOf } from '../../src/plan/units.ts';
import { leavingUnits, minutesOf, startingRanks, unitAt, type Book, type DeployContext } from './context.ts';

/** Starts engines and waits until they are ready; of those that run already, but were never accepted, only the latter. */
export function startEngines(context: DeployContext, on: readonly string[]): Work {
  const { plan, input, operation, ref, ledger } = context;
  const { cluster, installation } = input;
  const engines = enginesOf(plan).filter(({ name }) => on.includes(name));
  const ranks = startingRanks(plan).filter(({ engine }) => on.includes(engine.name));
  return {
    cuttable: true,
    run: async () => {
      await operation.uncounted(ranks, async ({ engine, rank, host }, act) => {
        const image = engine.ranks.find((row) => row.rank === rank)?.container?.image;
        const imageId = image === undefined ? undefined : ledger().images[image];
        await act({ summary: `start ${engine.name}${rank > 0 ? ` rank ${rank}` : ''} on ${host}` }).startRank({
          ref: ref(host),
          engine,
          rank,
          cluster,
          installation,
          ...(imageId === undefined ? {} : { imageId }),
        });
      });
      await operation.each(engines, async (engine, act) => {
        const refs = engine.ranks.map(({ host }) => ref(host));
        await act({ summary: `await ${engine.name}`, minutes: minutesOf(engine.readyTimeoutSeconds) }).awaitEngine({
          refs,
          engine,
          cluster,
          installation,
        });
      });
    },
    undo: () =>
      operation.each(ranks, async ({ engine, rank, host }, act) => {
        const unit = { ...unitAt(input, { ...engine, rank }), ref: ref(host) };
        await undoUnit(act, unit, engine.stopTimeoutSeconds, context);
      }),
  };
}

/** As `removeUnit`, of a unit that this deployment started: it may be why the deployment failed, and the end of its log stays. */
export async function undoUnit(
  act: Act,
  unit: UnitOnHost,
  timeoutSeconds: number,
  context: DeployContext,
): Promise<void> {
  const { input, operation } = context;
  const log = await removeUnit(act, { ...unit, keepLog: secretRefs(input.spec) }, timeoutSeconds, context);
  if (log) operation.keptLog({ host: unit.ref.name, unit: unit.name, ...log });
}

type UnitOnHost = Parameters<ReturnType<Act>['removeRank']>[0];

/** Stops and forgets a unit that is not routed any more; where that fails, its host is noted in `held`. */
export async function removeUnit(
  act: Act,
  unit: UnitOnHost,
  timeoutSeconds: number,
  { ledger, note }: Book<Remains>,
): ReturnType<ReturnType<Act>['removeRank']> {
  if (ledger().routed.includes(unit.name)) return undefined;
  const summary = `remove ${unit.name} from ${unit.ref.name}`;
  try {
    await act({ summary, minutes: minutesOf(timeoutSeconds) }).stopRank({ ...unit, timeoutSeconds });
    return await act({ summary }).removeRank(unit);
  } catch (error) {
    note({ held: [unit.ref.name] });
    throw error;
  }
}

/** Stops units, or on undo starts them again as they were. They stay on their hosts until nothing can fail any more. */
export function stopUnits(
  { input, operation }: DeployContext,
  units: readonly Parameters<ReturnType<Act>['restartRank']>[0][],
): Required<Omit<Work, 'cuttable'>> {
  const timeoutSeconds = input.spec.engine.stopTimeoutSeconds;
  return {
    run: () =>
      operation.each(units, async (unit, act) => {
        await act({ summary: `stop ${unit.name} on ${unit.ref.name}`, minutes: minutesOf(timeoutSeconds) }).stopRank({
          ...unit,
          timeoutSeconds,
        });
      }),
    undo: () =>
      operation.each(units, async (unit, act) => {
        await act({ summary: `start ${unit.name} on ${unit.ref.name} again` }).restartRank(unit);
      }),
  };
}

/** Every part of units that go, wherever it is found; it cannot be undone. */
export function removeLeaving(context: DeployContext, on: readonly string[]): Work {
  const { input, operation } = context;
  const leaving = leavingUnits(context).filter(({ name }) => on.includes(name));
  return {
    run: () =>
      operation.each(leaving, async (unit, act) => {
        await act({ summary: `remove ${unit.name} from ${unit.ref.name}` }).removeRank({
          ...unitAt(input, unit),
          ref: unit.ref,
        });
      }),
  };
}
