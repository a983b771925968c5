import { z } from 'zod';
import { ClusterSpec } from './schema.ts';

/** The JSON Schema (draft 2020-12) of spec files as people write them, with the meaning of every key; for editors. */
export function specJsonSchema(): Record<string, unknown> {
  return {
    title: 'Tandem cluster spec',
    ...z.toJSONSchema(ClusterSpec, { io: 'input', target: 'draft-2020-12' }),
  };
}
