import type { Work } from '../operation.ts';
import { enginesOf } from '../../src/plan/units.ts';
import { leavingUnits, minutesOf, routerRef, type DeployContext } from './context.ts';

/** Every new pair answers by itself; then every new engine through the router, measured. */
export function accept({ plan, input, operation, ref, note }: DeployContext, on: readonly string[]): Work {
  const { acceptance, engine: common } = input.spec;
  const engines = enginesOf(plan);
  const asked = (name: string) => {
    const engine = engines.find((row) => row.name === name)!;
    return { engine, ref: ref(engine.host) };
  };
  return {
    cuttable: true,
    run: async () => {
      await operation.each(plan.pairs, async ({ prefill, decode }, act) => {
        await act({
          summary: `${prefill} and ${decode} answer together`,
          minutes: minutesOf(4 * acceptance.timeoutSeconds),
        }).acceptPair({
          prefill: asked(prefill),
          decode: asked(decode),
          model: plan.model.id,
          timeoutSeconds: acceptance.timeoutSeconds,
        });
      });
      const { load } = await operation.act({ summary: 'requests through the router', minutes: 60 }).acceptRouted({
        router: plan.router,
        ...routerRef(plan, ref),
        model: plan.model.id,
        acceptance,
        engines: on.map(asked),
        ...(common.apiKey ? { engineKey: common.apiKey } : {}),
      });
      const { requests, ttftMs, itlMs, outputTokensPerSecond: tokensPerSecond } = load;
      note({ measured: { requests, ttftMs, itlMs, tokensPerSecond } });
    },
  };
}

/** What runs, held against the plan: nothing is taken for done because a step said so. */
export function confirm(context: DeployContext, on: readonly string[]): Work {
  const { plan, input, operation, ref, ledger } = context;
  const engines = enginesOf(plan);
  const { router } = plan;
  const leaving = [...new Set(leavingUnits(context).map(({ name }) => name))];
  return {
    cuttable: true,
    run: async () => {
      await operation.each(on, async (name, act) => {
        await act({ summary: `compare ${name} with the plan` }).confirmHost({
          ref: ref(name),
          cluster: input.cluster,
          engines: engines.filter((engine) => engine.ranks.some(({ host }) => host === name)),
          ...(router.kind === 'managed' && router.host === name ? { router } : {}),
          imageIds: ledger().images,
          leaving,
        });
      });
      await operation.act({ summary: 'compare the router’s list with the plan' }).confirmRouter({
        router,
        ...routerRef(plan, ref),
        engines,
      });
    },
  };
}
