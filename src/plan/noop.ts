import type { Plan } from './types.ts';
import { enginesOf } from './units.ts';

/** True when carrying out the plan would change nothing and all of it was accepted before. Kept apart so that a workflow can ask without the planner. */
export const isNoop = (plan: Pick<Plan, 'changes' | 'prefill' | 'decode'>): boolean =>
  plan.changes.every(({ action }) => action === 'keep') && enginesOf(plan).every(({ proven }) => proven);
