import type { Drivers } from '../src/drivers/types.ts';
import { openWeights } from '../src/drivers/weights/stage.ts';
import { createAcceptanceActivities } from './acceptance.ts';
import { createConfirmActivities } from './confirm.ts';
import { createEngineActivities } from './engines.ts';
import { forTemporal } from './failure.ts';
import { createHostActivities } from './hosts.ts';
import { createImageActivities } from './images.ts';
import { createInspectActivities } from './inspect.ts';
import { createPlanActivities } from './plan.ts';
import { createRdmaActivities } from './rdma.ts';
import { createReadinessActivities } from './readiness.ts';
import { createRocmActivities } from './rocm.ts';
import { createRouterActivities } from './router.ts';
import { createWeightsActivities } from './weights.ts';

/** Every activity of a site, fit for Temporal. `redact` removes secrets from any text that leaves this machine. */
export const createActivities = (drivers: Drivers, redact: (text: string) => string) =>
  forTemporal(
    {
      ...createHostActivities(drivers),
      ...createPlanActivities(),
      ...createRocmActivities(drivers),
      ...createRdmaActivities(drivers),
      ...createImageActivities(drivers),
      ...createWeightsActivities(drivers, openWeights()),
      ...createEngineActivities(drivers),
      ...createRouterActivities(drivers),
      ...createAcceptanceActivities(drivers),
      ...createConfirmActivities(drivers),
      ...createInspectActivities(drivers),
      ...createReadinessActivities(drivers),
    },
    redact,
  );

export type Activities = ReturnType<typeof createActivities>;
