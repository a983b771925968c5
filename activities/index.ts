import type { Drivers } from '../src/drivers/types.ts';
import { openWeights } from '../src/drivers/weights/stage.ts';
import type { Weights } from '../src/drivers/weights/types.ts';
import { createAcceptanceActivities } from './acceptance.ts';
import { createConfirmActivities } from './confirm.ts';
import { createEngineActivities } from './engines.ts';
import { forTemporal } from './failure.ts';
import { createHostActivities } from './hosts.ts';
import { createImageActivities } from './images.ts';
import { createInspectActivities } from './inspect.ts';
import { createPictureActivities } from './picture.ts';
import { createLeaseActivities } from './leases.ts';
import { createPlanActivities } from './plan.ts';
import { createRdmaActivities } from './rdma.ts';
import { createReadinessActivities } from './readiness.ts';
import { createRocmActivities } from './rocm.ts';
import { createRouterActivities } from './router.ts';
import { createWeightsActivities } from './weights.ts';
import type { Redact } from '../src/text/printable.ts';

/** How often an activity looks again at what it waits for; each has its own default. */
export interface Pace {
  /** First pause between two looks, in milliseconds. */
  readonly pollMs?: number;
}

/**
 * Every activity of a site, fit for Temporal. `redact` removes secrets from any text that leaves this machine; tests
 * put other `weights` behind it, and look again sooner. `stopping` aborts when this Temporal worker is to end.
 */
export const createActivities = (
  drivers: Drivers,
  redact: Redact,
  weights: Weights = openWeights(),
  pace: Pace = {},
  stopping?: AbortSignal,
) =>
  forTemporal(
    {
      ...createHostActivities(drivers),
      ...createPlanActivities(),
      ...createLeaseActivities(drivers),
      ...createRocmActivities(drivers),
      ...createRdmaActivities(drivers),
      ...createImageActivities(drivers),
      ...createWeightsActivities(drivers, weights),
      ...createEngineActivities(drivers, redact, pace),
      ...createRouterActivities(drivers, pace),
      ...createAcceptanceActivities(drivers),
      ...createConfirmActivities(drivers),
      ...createInspectActivities(drivers, redact),
      ...createReadinessActivities(drivers),
      ...createPictureActivities(drivers),
    },
    redact,
    stopping,
  );

export type Activities = ReturnType<typeof createActivities>;
