/** What a Temporal worker bundles. */
export { batch } from './batch.ts';
export { cluster } from './cluster.ts';
export { deploy } from './deploy.ts';
export { destroy } from './destroy.ts';
export { adoption, check, health, logs, plan, readiness } from './inspect.ts';
export { breakLeases, leases } from './leases.ts';
