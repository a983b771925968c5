import type { Plan } from './types.ts';

/** True when carrying out the plan would change nothing. Kept apart so that a workflow can ask without the planner. */
export const isNoop = ({ changes }: Pick<Plan, 'changes'>): boolean => changes.every(({ action }) => action === 'keep');
