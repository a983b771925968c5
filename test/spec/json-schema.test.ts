import { describe, expect, it } from '@jest/globals';
import { specJsonSchema } from '../../src/spec/json-schema.ts';

interface Schema {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
}

/** Every key below, with whether the schema says what it is for. */
function described(schema: Schema, path = ''): [key: string, doc: boolean][] {
  const keys = Object.entries(schema.properties ?? {}).flatMap(([key, field]): [string, boolean][] => {
    const here = path === '' ? key : `${path}.${key}`;
    return [[here, field.description !== undefined], ...described(field, here)];
  });
  const below = [...(schema.anyOf ?? []), ...(schema.items ? [schema.items] : [])];
  return [...keys, ...below.flatMap((arm) => described(arm, path))];
}

describe('the JSON Schema', () => {
  const schema = specJsonSchema();

  it('says of every key what it is for', () => {
    const keys = described(schema as Schema);
    expect(keys.length).toBeGreaterThan(150);
    expect(keys.filter(([, doc]) => !doc)).toEqual([]);
  });

  it('asks only for what a user must write', () => {
    expect(schema['required']).toEqual(['specVersion', 'name', 'model', 'hosts', 'prefill', 'decode', 'router']);
    expect(schema['additionalProperties']).toBe(false);
  });

  it('is plain JSON of the draft that editors know', () => {
    expect(schema['$schema']).toBe('https://json-schema.org/draft/2020-12/schema');
    expect(JSON.parse(JSON.stringify(schema))).toEqual(schema);
  });
});
