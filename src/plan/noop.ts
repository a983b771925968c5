import type { Plan } from './types.ts';

/** True when carrying out the plan would change nothing and all of it was accepted before. Kept apart so that a workflow can ask without the planner. */
export const isNoop = ({ changes, prefill, decode }: Pick<Plan, 'changes' | 'prefill' | 'decode'>): boolean =>
  changes.every(({ action }) => action === 'keep') && [...prefill, ...decode].every(({ proven }) => proven);
