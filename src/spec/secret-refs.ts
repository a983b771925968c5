import type { ClusterSpec, SecretRef } from './schema.ts';

/** Every secret that a spec refers to, each once: what none of its texts may show. */
export function secretRefs(spec: ClusterSpec): readonly SecretRef[] {
  const found = new Map<string, SecretRef>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return;
    if (isRef(value)) found.set(JSON.stringify(value), value);
    else Object.values(value).forEach(visit);
  };
  visit(spec);
  return [...found.values()];
}

/** By its form, so that a new key of the spec is found too. A plain variable of that name is taken for one, which harms nobody. */
function isRef(value: object): value is SecretRef {
  const [[key, text] = [], more] = Object.entries(value);
  return more === undefined && (key === 'fromEnv' || key === 'fromFile') && typeof text === 'string';
}
