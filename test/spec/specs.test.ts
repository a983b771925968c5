import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { loadSpec } from '../../src/spec/diagnostics.ts';
import { bare, keysOf, unionArms } from '../../src/spec/schema-walk.ts';
import { ClusterSpec } from '../../src/spec/schema.ts';

const read = (name: string) => readFileSync(new URL(`../../specs/${name}`, import.meta.url), 'utf8');
const reference = read('reference.yaml');
/** The lines that begin with "#|": the other way to write the key above them. */
const alternatives = reference
  .split('\n')
  .filter((line) => line.startsWith('#|'))
  .map((line) => line.slice(2))
  .join('\n');

describe('every spec in specs/', () => {
  it.each(readdirSync(new URL('../../specs/', import.meta.url)).filter((name) => name.endsWith('.yaml')))(
    '%s loads without an error',
    (name) => {
      const { spec, diagnostics } = loadSpec(read(name), name);
      expect(diagnostics.filter(({ severity }) => severity === 'error')).toEqual([]);
      expect(spec).toBeDefined();
    },
  );

  it.each(['demo.yaml', 'reference.yaml', 'deepseek-r1-mi300x.yaml'])('%s is without a warning, too', (name) => {
    expect(loadSpec(read(name), name).diagnostics).toEqual([]);
  });

  it.each(readdirSync(new URL('../../specs/', import.meta.url)).filter((name) => name.endsWith('.yaml')))(
    '%s names images of AMD that were published, which carry a date',
    (name) => {
      const images = [...read(name).matchAll(/\b(?:rocm|lmsysorg)\/[\w.-]+:[\w.-]+/g)].map(([image]) => image);
      expect(images.length).toBeGreaterThan(0);
      expect(images.filter((image) => !/-20\d{6}$/.test(image))).toEqual([]);
    },
  );
});

describe('specs/reference.yaml', () => {
  it('has every key of the schema and no other', () => {
    const written = new Set([...keysWritten(parse(reference)), ...keysWritten(parse(alternatives))]);
    expect([...written].toSorted()).toEqual([...keysOfSchema(ClusterSpec)].toSorted());
  });

  it('loads with the external router in place of the managed one', () => {
    const text = stringify({ ...parse(reference), ...parse(alternatives) });
    const { spec, diagnostics } = loadSpec(text, 'reference.yaml');
    expect(diagnostics).toEqual([]);
    expect(spec?.router).toMatchObject({ external: { url: 'http://10.0.0.20:30000' } });
  });

  it('shows both forms of a secret', () => {
    expect(reference).toMatch(/: \{ fromEnv: \w+ \}/);
    expect(reference).toMatch(/: \{ fromFile: \S+ \}/);
  });

  it('begins with the line that points an editor at the schema', () => {
    expect(reference.split('\n')[0]).toBe('# yaml-language-server: $schema=./schema.json');
  });

  it.each(
    Object.entries({
      site: 'default',
      'engine.ports.http': 30000,
      'engine.shmSizeGiB': 64,
      'rdma.minLinkGbps': 100,
      'acceptance.requests': 200,
      'upgrade.settleSeconds': 6,
    }),
  )('names the default of %s as the schema has it', (key, value) => {
    const name = key.split('.').at(-1)!;
    const line = reference
      .split('\n')
      .find((text) => text.trim().startsWith(`${name}:`) && text.includes(String(value)));
    expect(line).toMatch(new RegExp(`default "?${value}`));
    const tiny = ClusterSpec.parse({
      ...parse(reference),
      engine: { image: 'x' },
      rdma: {},
      acceptance: {},
      upgrade: {},
      site: undefined,
    });
    expect(key.split('.').reduce<unknown>((at, part) => (at as Record<string, unknown>)[part], tiny)).toBe(value);
  });
});

/** "hosts.list[].name" for each key of a mapping; the names inside of env, args and the like are the user's own. */
function keysWritten(value: unknown, path = ''): string[] {
  if (Array.isArray(value)) return value.flatMap((item) => keysWritten(item, `${path}[]`));
  if (typeof value !== 'object' || value === null || RECORDS.test(path)) return [];
  return Object.entries(value).flatMap(([key, field]) => {
    const here = path === '' ? key : `${path}.${key}`;
    return [...(SECRET_FORMS.has(key) ? [] : [here]), ...keysWritten(field, here)];
  });
}

const RECORDS = /(?:^|\.)(?:args|env|secretEnv|ulimits)$/;
/** Both forms of a secret are asserted once, not at each of its places. */
const SECRET_FORMS = new Set(['fromEnv', 'fromFile']);

function keysOfSchema(schema: z.core.$ZodType, path = ''): Set<string> {
  const here = bare(schema);
  if (here instanceof z.ZodArray) return keysOfSchema(here.def.element, `${path}[]`);
  const keys = new Set(unionArms(here).flatMap((arm) => [...keysOfSchema(arm, path)]));
  for (const key of keysOf(here)) {
    const below = path === '' ? key : `${path}.${key}`;
    if (!SECRET_FORMS.has(key)) keys.add(below);
    if (here instanceof z.ZodObject) keysOfSchema(here.def.shape[key]!, below).forEach((inner) => keys.add(inner));
  }
  return keys;
}
