import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from '@jest/globals';
import { specJsonSchema } from '../../src/spec/json-schema.ts';

const FILE = new URL('../../specs/schema.json', import.meta.url);

it('specs/schema.json, which the first line of every spec points editors at, is the schema of today (UPDATE_GOLDEN=1 writes it)', () => {
  const text = `${JSON.stringify(specJsonSchema(), null, 2)}\n`;
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(FILE, text);
  expect(readFileSync(FILE, 'utf8')).toBe(text);
});
