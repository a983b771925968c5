import type { EnginePlan } from '../../src/plan/types.ts';
import { secretRefs } from '../../src/spec/secret-refs.ts';
import type { OperationStep } from '../operation.ts';
import type { Act } from '../proxies.ts';
import { minutesOf, startingRanks, unitAt, type DeployContext, type Staying } from './context.ts';

export function launch(context: DeployContext, role: EnginePlan['role']): OperationStep {
  const { plan, input, operation, ref } = context;
  const { cluster, installation } = input;
  const engines = plan[role].filter(({ proven }) => !proven);
  const ranks = startingRanks(plan).filter(({ engine }) => engine.role === role);
  return {
    name: `start-${role}`,
    cuttable: true,
    run: async () => {
      await operation.uncounted(ranks, async ({ engine, rank, host }, act) => {
        const image = engine.ranks.find((row) => row.rank === rank)?.container?.image;
        const imageId = image === undefined ? undefined : operation.images[image];
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
  { held, routed }: Staying,
): ReturnType<ReturnType<Act>['removeRank']> {
  if (routed.has(unit.name)) return undefined;
  const summary = `remove ${unit.name} from ${unit.ref.name}`;
  try {
    await act({ summary, minutes: minutesOf(timeoutSeconds) }).stopRank({ ...unit, timeoutSeconds });
    return await act({ summary }).removeRank(unit);
  } catch (error) {
    held.add(unit.ref.name);
    throw error;
  }
}

/** Stops units, or on undo starts them again as they were. */
export function stopUnits(
  { input, operation }: DeployContext,
  name: string,
  units: readonly Parameters<ReturnType<Act>['restartRank']>[0][],
): OperationStep {
  const timeoutSeconds = input.spec.engine.stopTimeoutSeconds;
  return {
    name,
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
