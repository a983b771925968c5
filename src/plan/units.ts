import type { EnginePlan, Plan, RouterPlan } from './types.ts';

/** The units of a plan. */

export const enginesOf = ({ prefill, decode }: Pick<Plan, 'prefill' | 'decode'>): readonly EnginePlan[] => [
  ...prefill,
  ...decode,
];

/** Names of units that are gone once the plan is carried out: removed, or replaced by one that starts. */
export const goingNames = (plan: Pick<Plan, 'prefill' | 'decode' | 'router' | 'removals'>): readonly string[] => [
  ...plan.removals.map(({ name }) => name),
  ...enginesOf(plan).flatMap(({ replaces }) => replaces),
  ...replacedRouters(plan.router),
];

export const replacedRouters = (router: RouterPlan): readonly string[] =>
  router.kind === 'managed' ? router.replaces : [];
