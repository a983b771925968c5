import { ApplicationFailure, setWorkflowOptions, workflowInfo } from '@temporalio/workflow';
import { batch } from './batch.ts';
import { deploy } from './deploy.ts';
import { destroy } from './destroy.ts';
import { adoption, check, health, logs, plan, presence, readiness } from './inspect.ts';
import { breakLeases, leases } from './leases.ts';

/** What a Temporal worker bundles. */
export { cluster } from './cluster.ts';
export { adoption, batch, breakLeases, check, deploy, destroy, health, leases, logs, plan, presence, readiness };

/** Ends a workflow of a name that this release does not know; Temporal would try it for ever. */
export default async function unknown(): Promise<never> {
  throw ApplicationFailure.create({
    type: 'OPERATION_UNKNOWN',
    nonRetryable: true,
    message: `this Temporal worker does not know the workflow ${workflowInfo().workflowType}`,
    details: [{ remedy: 'Start Temporal workers of the release that asked for it.' }],
  });
}

// An error in workflow code ends the workflow; Temporal would try it for ever. The entity is left out: it must not end.
const ENDING = [
  adoption,
  batch,
  breakLeases,
  check,
  deploy,
  destroy,
  health,
  leases,
  logs,
  plan,
  presence,
  readiness,
  unknown,
];
for (const workflow of ENDING) setWorkflowOptions({ failureExceptionTypes: [Error] }, workflow as never);
