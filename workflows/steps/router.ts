import { ApplicationFailure } from '@temporalio/workflow';
import { isListed } from '../../src/operations/ledger.ts';
import type { EnginePlan, ManagedRouterPlan } from '../../src/plan/types.ts';
import type { Operation, Work } from '../operation.ts';
import type { Act } from '../proxies.ts';
import { enginesOf } from '../../src/plan/units.ts';
import { leaveRouted, leavingUnits, minutesOf, routerRef, unitAt, type DeployContext } from './context.ts';
import { stopUnits, undoUnit } from './engines.ts';

export function startRouter(context: DeployContext): Work {
  const { input, operation, ref, ledger } = context;
  const router = managedRouter(context);
  const at = { ref: ref(router.host), router, cluster: input.cluster, installation: input.installation };
  const unit = { ...unitAt(input, { ...router, rank: 0 }), ref: at.ref };
  return {
    run: async () => {
      const imageId = router.container && ledger().images[router.container.image];
      await operation.act({ summary: `start ${router.name} on ${router.host}` }).startRouter({
        ...at,
        ...(imageId ? { imageId } : {}),
      });
      await operation
        .act({ summary: `await ${router.name}`, minutes: minutesOf(router.readyTimeoutSeconds) })
        .awaitRouter(at);
    },
    undo: () => undoUnit(operation.act, unit, ROUTER_STOP_S, context),
  };
}

const ROUTER_STOP_S = 30;

/**
 * Registers every engine of the plan that is not listed under its key, kept ones included: a router may have lost its
 * list. What was listed at the URL of a new engine was another one, which made room for it. Then takes out what ended
 * behind Tandem's back, which no undo brings back.
 */
export function wireEngines(context: DeployContext, on: readonly string[]): Work {
  const { plan, input, operation, ref, ledger } = context;
  const { listed, lost } = ledger();
  const { router } = plan;
  const routerStays = router.kind === 'external' || router.action === 'keep';
  /** One in whose place nothing is started again: it does less harm running than listed and gone. */
  const outlives = ({ ranks }: EnginePlan) =>
    routerStays &&
    !plan.removals.some(
      ({ first, parts }) => first && parts.some((part) => ranks.some(({ host }) => host === part.host)),
    );
  const missing = enginesOf(plan).filter(
    (engine) => on.includes(engine.name) && (engine.action !== 'keep' || !isListed(engine, plan, listed)),
  );
  const at = { router, ...routerRef(plan, ref) };
  return {
    run: async () => {
      await operation.each(missing, async (engine, act) => {
        await act({ summary: `register ${engine.name}` }).wireEngine({
          ...at,
          engine,
          ref: ref(engine.host),
          kvGeneration: engine.kvGeneration,
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
            kvGeneration: before.pairingKey ?? engine.kvGeneration,
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

/** Takes units out of routing that the router lists. */
export function unwireUnits(context: DeployContext, on: readonly string[]): Work {
  const { plan, input, operation, ref, ledger } = context;
  const { listed } = ledger();
  const { spec } = input;
  const at = { router: plan.router, ...routerRef(plan, ref) };
  // One that ended long ago may have had the place and URL of an engine that serves now.
  const serves = new Set(enginesOf(plan).flatMap(({ action, url }) => (action === 'keep' ? [url] : [])));
  const removals = plan.removals.filter(({ name }) => on.includes(name));
  const routed = removals.flatMap((removal) => {
    const entry = listed.find(({ url }) => url === removal.url && !serves.has(url));
    return entry ? [{ removal, entry, host: ref(removal.parts[0]!.host) }] : [];
  });
  const key = spec.engine.apiKey ? { apiKey: spec.engine.apiKey } : {};
  const running = runningParts(context, on);
  const ran = routed.filter(({ removal }) => running.some(({ name }) => name === removal.name));
  return {
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
  };
}

export const stopLeaving = (context: DeployContext, on: readonly string[]): Work =>
  stopUnits(context, runningParts(context, on));

/** The parts of units that run: an undo starts again what ran, and only that. */
const runningParts = (context: DeployContext, on: readonly string[]) =>
  leavingUnits(context)
    .filter(({ name, running }) => running && on.includes(name))
    .map((unit) => ({ ...unitAt(context.input, unit), ref: unit.ref }));

function managedRouter({ plan: { router } }: DeployContext): ManagedRouterPlan {
  if (router.kind === 'managed') return router;
  throw ApplicationFailure.create({
    type: 'INTERNAL',
    nonRetryable: true,
    message: `${router.url} is not ours to start`,
  });
}

/**
 * A router that is replaced frees its port before the new one starts, which interrupts serving, as the plan says. On
 * undo the old one is started again and told its engines, since it forgets them.
 */
export function stopOldRouter(context: DeployContext, on: readonly string[]): Work {
  const { plan, input, operation, ref } = context;
  const { serving } = input;
  const units = runningParts(context, on);
  const stop = stopUnits(context, units);
  const before = enginesOf(plan).flatMap((engine) => {
    const served = serving?.engines.find(({ url }) => url === engine.url);
    return served ? [{ engine, kvGeneration: served.kvGeneration }] : [];
  });
  return {
    ...stop,
    undo: async () => {
      await stop.undo();
      if (!serving || units.length === 0) return; // One that had ended had no list any more.
      await operation.each(before, async ({ engine, kvGeneration }, act) => {
        await act({ summary: `register ${engine.name} again` }).rewireEngine({
          router: { ...plan.router, url: serving.router.url },
          ...routerRef(plan, ref),
          engine,
          ref: ref(engine.host),
          kvGeneration,
        });
      });
    },
  };
}
