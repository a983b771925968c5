import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadSpec } from '../../src/spec/diagnostics.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';

/** Every spec that is shipped. */
export const SHIPPED = ['demo.yaml', 'qwen2.5-72b-mi300x.yaml', 'deepseek-r1-mi300x.yaml', 'reference.yaml'];

/** The spec in specs/<name>; throws with its errors when it has any. */
export function specFile(name: string): ClusterSpec {
  const { spec, diagnostics } = loadSpec(readFileSync(join(import.meta.dirname, '../../specs', name), 'utf8'), name);
  if (!spec) throw new Error(diagnostics.map(({ message }) => message).join('; '));
  return spec;
}
