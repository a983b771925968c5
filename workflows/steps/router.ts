import type { EnginePlan, RemovalPlan } from '../../src/plan/types.ts';
import type { Operation, OperationStep } from '../operation.ts';
import type { Act } from '../proxies.ts';
import {
  enginesOf,
  isListed,
  leaveRouted,
  leavingUnits,
  lostEngines,
  minutesOf,
  routerRef,
  unitAt,
  type DeployContext,
} from './context.ts';
import { stopUnits, undoUnit } from './engines.ts';

export function startRouter(context: DeployContext): readonly OperationStep[] {
  const { plan, input, operation, ref } = context;
  const { router } = plan;
  if (router.kind === 'external' || router.action === 'keep') return [];
  const at = { ref: ref(router.host), router, cluster: input.cluster, installation: input.installation };
  const unit = { ...unitAt(input, { ...router, rank: 0 }), ref: at.ref };
  return [
    {
      name: 'start-router',
      run: async () => {
        const imageId = router.container && operation.images[router.container.image];
        await operation.act({ summary: `start ${router.name} on ${router.host}` }).startRouter({
          ...at,
          ...(imageId ? { imageId } : {}),
        });
        await operation
          .act({ summary: `await ${router.name}`, minutes: minutesOf(router.readyTimeoutSeconds) })
          .awaitRouter(at);
      },
      undo: () => undoUnit(operation.act, unit, ROUTER_STOP_S, context),
    },
  ];
}

const ROUTER_STOP_S = 30;

/**
 * Registers every engine of the plan that is not listed under its key, kept ones included: a router may have lost its
 * list. What was listed at the URL of a new engine was another one, which made room for it. Then takes out what ended
 * behind Tandem's back, which no undo brings back.
 */
export function wireEngines(context: DeployContext): OperationStep {
  const { plan, listed, input, operation, ref } = context;
  const { router, kvGeneration } = plan;
  const routerStays = router.kind === 'external' || router.action === 'keep';
  /** One in whose place nothing is started again: it does less harm running than listed and gone. */
  const outlives = ({ ranks }: EnginePlan) =>
    routerStays &&
    !plan.removals.some(
      ({ first, parts }) => first && parts.some((part) => ranks.some(({ host }) => host === part.host)),
    );
  const missing = enginesOf(plan).filter((engine) => engine.action !== 'keep' || !isListed(engine, plan, listed));
  const lost = lostEngines(context);
  const at = { router, ...routerRef(plan, ref) };
  return {
    name: 'wire-router',
    run: async () => {
      await operation.each(missing, async (engine, act) => {
        await act({ summary: `register ${engine.name}` }).wireEngine({
          ...at,
          engine,
          ref: ref(engine.host),
          kvGeneration,
        });
      });
      if (lost.length === 0) return;
      await operation.each(lost, async ({ name, url }, act) => {
        await unwire(operation, act, { ...at, engine: { name, url }, drainTimeoutSeconds: 0 });
      });
    },
    undo: () =>
      operation.each(missing, async (engine, act) => {
        // One that was listed before, under another key, goes back to it; a new one goes.
        const before = listed.find(({ url }) => url === engine.url);
        if (before && engine.action === 'keep') {
          await act({ summary: `register ${engine.name} as before` }).rewireEngine({
            ...at,
            engine,
            ref: ref(engine.host),
            kvGeneration: before.pairingKey ?? kvGeneration,
          });
        } else {
          const { drainTimeoutSeconds } = input.spec.upgrade;
          try {
            await unwire(operation, act, { ...at, engine, ref: ref(engine.host), drainTimeoutSeconds });
          } catch (error) {
            if (outlives(engine)) leaveRouted(context, engine.name, engine.ranks);
            throw error;
          }
        }
      }),
  };
}

/** Out of routing; requests that outlasted the drain limit are told. */
async function unwire(
  operation: Operation,
  act: Act,
  at: Parameters<ReturnType<Act>['unwireEngine']>[0],
): Promise<void> {
  const { name } = at.engine;
  const { drained, openRequests } = await act({
    summary: `take ${name} out of routing`,
    minutes: minutesOf(at.drainTimeoutSeconds),
  }).unwireEngine(at);
  if (drained) return;
  operation.warnings([
    `${name} was taken out with ${openRequests} requests open after upgrade.drainTimeoutSeconds (${at.drainTimeoutSeconds}); they are cut`,
  ]);
}

/** Takes units out of routing and stops them. They stay on their hosts, stopped, until nothing can fail any more. */
export function retire(
  context: DeployContext,
  name: 'make-room' | 'retire',
  removals: readonly RemovalPlan[],
): readonly OperationStep[] {
  const { plan, input, listed, operation, ref } = context;
  const { spec } = input;
  const at = { router: plan.router, ...routerRef(plan, ref) };
  if (removals.length === 0) return [];
  // One that ended long ago may have had the place and URL of an engine that serves now.
  const serves = new Set(enginesOf(plan).flatMap(({ action, url }) => (action === 'keep' ? [url] : [])));
  const routed = removals.flatMap((removal) => {
    const entry = listed.find(({ url }) => url === removal.url && !serves.has(url));
    return entry ? [{ removal, entry, host: ref(removal.parts[0]!.host) }] : [];
  });
  const key = spec.engine.apiKey ? { apiKey: spec.engine.apiKey } : {};
  const names = new Set(removals.map((removal) => removal.name));
  // An undo starts again what ran, and only that.
  const parts = leavingUnits(context)
    .filter((unit) => unit.running && names.has(unit.name))
    .map((unit) => ({ ...unitAt(input, unit), ref: unit.ref }));
  const ran = routed.filter(({ removal }) => parts.some((part) => part.name === removal.name));
  return [
    {
      name: `${name}-unwire`,
      run: () =>
        operation.each(routed, async ({ removal, entry, host }, act) => {
          await unwire(operation, act, {
            ...at,
            engine: { name: removal.name, url: entry.url, ...key },
            ref: host,
            drainTimeoutSeconds: spec.upgrade.drainTimeoutSeconds,
            settleSeconds: spec.upgrade.settleSeconds,
          });
        }),
      undo: () =>
        operation.each(ran, async ({ removal, entry, host }, act) => {
          const engine = {
            name: removal.name,
            role: entry.role,
            url: entry.url,
            ...(entry.bootstrapPort === undefined ? {} : { bootstrapPort: entry.bootstrapPort }),
            ...key,
          };
          // It was started again a moment ago and may load its weights first.
          const timeoutSeconds = spec.engine.readyTimeoutSeconds;
          await act({ summary: `register ${removal.name} again`, minutes: minutesOf(timeoutSeconds) }).rewireEngine({
            ...at,
            timeoutSeconds,
            engine,
            ref: host,
            kvGeneration: entry.pairingKey ?? plan.kvGeneration,
          });
        }),
    },
    stopUnits(context, `${name}-stop`, parts),
  ];
}

/**
 * A router that is replaced frees its port before the new one starts, which interrupts serving, as the plan says. On
 * undo the old one is started again and told its engines, since it forgets them.
 */
export function replaceRouter(context: DeployContext): readonly OperationStep[] {
  const { plan, input, operation, ref } = context;
  const { router } = plan;
  const replaced = router.kind === 'managed' ? router.replaces : [];
  const units = leavingUnits(context)
    .filter(({ name, running }) => running && replaced.includes(name))
    .map((unit) => ({ ...unitAt(input, unit), ref: unit.ref }));
  if (units.length === 0) return [];
  const step = stopUnits(context, 'stop-old-router', units);
  const { serving } = input;
  const before = enginesOf(plan).filter(({ url }) => serving?.engines.some((engine) => engine.url === url));
  return [
    {
      ...step,
      undo: async () => {
        await step.undo?.();
        if (!serving) return;
        await operation.each(before, async (engine, act) => {
          await act({ summary: `register ${engine.name} again` }).rewireEngine({
            router: { ...router, url: serving.router.url },
            ...routerRef(plan, ref),
            engine,
            ref: ref(engine.host),
            kvGeneration: serving.kvGeneration,
          });
        });
      },
    },
  ];
}
