import { adoptionOf, type FoundCluster } from '../src/plan/adopt.ts';
import { planCluster } from '../src/plan/plan.ts';
import { planDestroy, type DestroyPlan } from '../src/plan/destroy.ts';
import { externalRouter } from '../src/plan/router-row.ts';
import type { ExternalRouterPlan, Plan, PlanInput } from '../src/plan/types.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';

/**
 * The pure planner in activities, so that what it decided is in the event history and a later planner cannot break
 * the replay of a running operation.
 */
export const createPlanActivities = () => ({
  /** Errors: PLAN_IMPOSSIBLE, CHANGE_REFUSED, NAME_CONFLICT. */
  async planDeployment(input: PlanInput): Promise<Plan> {
    return planCluster(input);
  },

  /** Errors: CLUSTER_UNKNOWN, NAME_CONFLICT. */
  async planAdoption(input: Parameters<typeof adoptionOf>[0]): Promise<FoundCluster> {
    return adoptionOf(input);
  },

  /** Errors: NAME_CONFLICT. */
  async planDestruction({
    spec,
    ...input
  }: Parameters<typeof planDestroy>[0] & { readonly spec: ClusterSpec }): Promise<
    DestroyPlan & { readonly external?: ExternalRouterPlan }
  > {
    const external = externalRouter(spec);
    return { ...planDestroy(input), ...(external ? { external } : {}) };
  },
});
