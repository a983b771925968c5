import { ClusterSpec } from '../../src/spec/schema.ts';

type DeepPartial<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { readonly [K in keyof T]?: DeepPartial<T[K]> }
    : T;

/** As a user writes it: defaults may be left out, also inside lists. */
type SpecInput = (typeof ClusterSpec)['_zod']['input'];

const TINY: SpecInput = {
  specVersion: 1,
  name: 'tiny',
  model: { id: 'tandem/tiny-chat', source: 'file:///models/tiny-chat' },
  engine: { image: 'rocm/sgl-dev:v0.5.23' },
  hosts: {
    ssh: { user: 'ops' },
    list: [
      { name: 'p0', address: '10.0.0.1', gpus: { product: 'MI300X', count: 8 } },
      { name: 'd0', address: '10.0.0.2', gpus: { product: 'MI300X', count: 8 } },
      { name: 'router-0', address: '10.0.0.3', gpus: { product: 'MI300X', count: 0 } },
    ],
  },
  prefill: { replicas: 1, gpus: { product: 'MI300X', count: 8 } },
  decode: { replicas: 1, gpus: { product: 'MI300X', count: 8 } },
  router: { host: 'router-0', runtime: 'process' },
};

/**
 * A valid spec of one prefill and one decode engine on three hosts, with `overrides` merged in: objects key by key,
 * lists and scalars as a whole, `undefined` takes a key out. `router: { external: … }` replaces the managed router.
 */
export function aSpec(overrides: DeepPartial<SpecInput> = {}): ClusterSpec {
  const external = overrides.router !== undefined && 'external' in overrides.router;
  return ClusterSpec.parse(merge(external ? { ...TINY, router: {} } : TINY, overrides));
}

/** `override` in `base`: objects key by key, lists and scalars as a whole. */
export function merge(base: unknown, override: unknown): unknown {
  if (!isObject(base) || !isObject(override)) return override;
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(override)) merged[key] = merge(base[key], value);
  return merged;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
