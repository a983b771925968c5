/** What a Temporal worker bundles. */
export { cluster } from './cluster.ts';
export { deploy } from './deploy.ts';
export { destroy } from './destroy.ts';
export { check, health, logs, plan, readiness } from './inspect.ts';
