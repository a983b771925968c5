import { sharedFlags } from '../sglang/engine-argv.ts';
import { digestOf } from '../spec/canonical.ts';
import type { ClusterSpec } from '../spec/schema.ts';
import type { EnginePlan, ManagedRouterPlan, ModelPlan } from './types.ts';

/** What is not part of what an engine or router is: who made it, what happens to it now, and how long we wait. */
type Circumstance =
  | 'name'
  | 'deployment'
  | 'kvGeneration'
  | 'action'
  | 'proven'
  | 'replaces'
  | 'digest'
  | 'readyTimeoutSeconds'
  | 'stopTimeoutSeconds';

export type EngineRow = Omit<
  EnginePlan,
  'name' | 'deployment' | 'kvGeneration' | 'action' | 'proven' | 'replaces' | 'digest'
>;
export type RouterRow = Omit<ManagedRouterPlan, 'name' | 'deployment' | 'action' | 'replaces' | 'digest'>;

/** The digest of an engine's row: equal exactly when it would be started the same way in the same place. */
export function engineDigest(row: EngineRow): string {
  const { readyTimeoutSeconds: _ready, stopTimeoutSeconds: _stop, ...is } = row;
  return digestOf(is satisfies Omit<EnginePlan, Circumstance>);
}

/** The digest of the router's row. */
export function routerDigest(row: RouterRow): string {
  const { readyTimeoutSeconds: _ready, ...is } = row;
  return digestOf(is satisfies Omit<ManagedRouterPlan, Circumstance>);
}

/**
 * "kv-" and 12 hex digits over what two engines must have in common to hand over KV pages: both roles' images, the
 * model revision and the shared flags. One per spec, the same for both roles: it is their pairing key at the router.
 */
export function kvGeneration(spec: ClusterSpec, model: ModelPlan): string {
  const { image, runtime, command, version } = spec.engine;
  const software = (role: 'prefill' | 'decode') =>
    runtime === 'docker' ? { image: spec[role].image ?? image } : { command, version };
  const digest = digestOf({
    prefill: { ...software('prefill'), flags: sharedFlags(spec, 'prefill') },
    decode: { ...software('decode'), flags: sharedFlags(spec, 'decode') },
    model: { id: model.id, revision: model.revision },
  });
  return `kv-${digest.slice('sha256:'.length).slice(0, 12)}`;
}
