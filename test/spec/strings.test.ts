import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { parse } from 'yaml';
import { modelPlan } from '../../src/plan/model.ts';
import { ClusterSpec } from '../../src/spec/schema.ts';
import { changed, diagnose } from './diagnose.ts';

const REFERENCE = readFileSync(new URL('../../specs/reference.yaml', import.meta.url), 'utf8');
const EXTERNAL = REFERENCE.replace(/^router:[^]*?(?=^#\|router)/m, '').replaceAll(/^#\|/gm, '');

type Path = readonly (string | number)[];

/** Every place of a spec where a text stands. */
function textsOf(value: unknown, path: Path = []): Path[] {
  if (typeof value === 'string') return [path];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, item]) =>
    textsOf(item, [...path, Array.isArray(value) ? Number(key) : key]),
  );
}

/** True where the schema refuses the reference with another text at one place, and says nothing against the rest of it. */
function refuses(reference: unknown, path: Path, text: string): boolean {
  const spec = structuredClone(reference) as Record<string | number, unknown>;
  const holder = path.slice(0, -1).reduce<any>((at, key) => at[key], spec); // oxlint-disable-line typescript/no-explicit-any
  holder[path.at(-1)!] = text;
  const { error } = ClusterSpec.safeParse(spec);
  const wrong = (error?.issues ?? []).map((issue) => issue.path as Path);
  expect(wrong.filter((where) => where.some((key, at) => key !== path[at]))).toEqual([]);
  return wrong.length > 0;
}

const shown = (path: Path) =>
  path.map((part, i) => (typeof part === 'number' ? `[${part}]` : i ? `.${part}` : part)).join('');
const places = [REFERENCE, EXTERNAL]
  .map((text): unknown => parse(text))
  .flatMap((reference) => textsOf(reference).map((path) => [shown(path), path, reference] as const));
const distinct = [...new Map(places.map((place) => [place[0], place])).values()];

/** Given to a program to the letter, or read by nobody but people. */
const LITERAL = /\.(?:command\[|args\.|env\.)/;
const PEOPLE = /\.reason$/;

describe('every text of a spec', () => {
  it('is tried', () => {
    expect(distinct.length).toBeGreaterThan(80);
    expect(distinct.filter(([at]) => LITERAL.test(at) || PEOPLE.test(at)).length).toBeLessThan(20);
  });

  it.each(distinct)(
    '%s: a line break, an escape sequence, text that is turned around or without end is refused',
    (at, path, reference) => {
      const hostile = [
        'a\nb',
        '/a\nb',
        '~/a\u001b[2Jb',
        '/a\u001b]0;x\u0007',
        'a\u202eb',
        '/a\u200bb',
        'a\u009bb',
        '/a\u0000b',
      ];
      const tried = hostile.filter((text) => !LITERAL.test(at) && !(PEOPLE.test(at) && text.includes('\n')));
      expect(tried.filter((text) => !refuses(reference, path, text))).toEqual([]);
      if (!/\.(?:args|env)\./.test(at)) expect(refuses(reference, path, 'x'.repeat(5_000))).toBe(true);
    },
  );
});

const PATHS =
  /^(?:model\.dir|hosts\.(?:stateDir|leaseDir|ssh\.(?:identityFile|knownHostsFile|configFile|jump\[0\]\.identityFile))|engine\.mounts\[0\]\.(?:source|target)|engine\.devices\[\d\]|rdma\.providerLibrary)$/;

describe('every path of a spec', () => {
  const paths = distinct.filter(([at]) => PATHS.test(at));

  it('is tried', () => expect(paths).toHaveLength(13));

  it.each(paths)('%s: is absolute or under the home, and stays where it is', (_, path, reference) => {
    const hostile = ['x', '../x', './x', '/a/../b', '/..', '/a/..', '-x', '~', '~root/x', '~/../x', '${HOME}/x'];
    expect(hostile.filter((text) => !refuses(reference, path, text))).toEqual([]);
    const fine = ['/a', '/a/b..c/.d', '/a b', '/']; // Nothing is wrong with dots inside a name.
    expect(fine.filter((text) => refuses(reference, path, text))).toEqual([]);
  });
});

describe('what a program could take for an option', () => {
  const WORDS =
    /(?:^|\.)(?:user|address|listen|fabricAddress|image|version|mirror|id|policy)$|groups\[|capabilities\[|securityOptions\[|devices\[|hostKey$/;
  it.each(distinct.filter(([at]) => WORDS.test(at)))('%s: a leading dash is refused', (_, path, reference) => {
    expect(refuses(reference, path, '-oProxyCommand=x')).toBe(true);
  });
});

describe('the name of a model', () => {
  it.each([['../../x'], ['a/../b'], ['a/..'], ['/a'], ['a//b'], ['a/'], ['.a/b'], ['-a/b'], ['a b'], ['a:b'], ['ä']])(
    '%s is refused',
    (id) => {
      const [told] = diagnose(changed(['id: a/b', `id: "${id}"`]));
      expect(told).toMatch(
        /^3:14 error model\.id: must be the name of a model, as organisation\/name: .*, got ".*" → Correct id: /,
      );
    },
  );

  it.each([['Qwen/Qwen2.5-72B-Instruct'], ['tiny'], ['deepseek-ai/DeepSeek-R1'], ['a/b/c'], ['_x/y__z']])(
    '%s is taken',
    (id) => {
      expect(diagnose(changed(['id: a/b', `id: ${id}`]))).toEqual([]);
    },
  );

  it('has a folder under model.dir, also where a spec came by another way than its file', () => {
    const spec = (id: string, source = 'hf://a/b@main') =>
      ({ model: { id, source, dir: '/var/models', copy: false } }) as unknown as ClusterSpec;
    expect(modelPlan(spec('a/b')).path).toBe('/var/models/a/b/main');
    expect(modelPlan(spec('a/b', 'hf://a/b@refs/pr/1')).path).toBe('/var/models/a/b/refs/pr/1');
    for (const [id, source] of [
      ['../../x', 'hf://a/b@main'],
      ['a/./b', 'hf://a/b@main'],
      ['a//b', 'hf://a/b@main'],
      ['a/b', 'hf://a/b@../x'],
      ['a\n/b', 'hf://a/b@main'],
    ] as const)
      expect(() => modelPlan(spec(id, source))).toThrow(/would not lie under model\.dir \/var\/models/);
  });
});

describe('the source of a model', () => {
  it.each([
    ['hf://a/b@../../x', /has the part "\.\."/],
    ['hf://a/b@-x', /has the part "-x"/],
    ['hf://a/../b@main', /must be hf:\/\/ORG\/NAME@REVISION/],
    ['hf://../b@main', /has the part "\.\."/],
    ['hf://a/b@x y', /must be hf:\/\/ORG\/NAME@REVISION/],
    ['https://h/a/../b/', /has the part "\.\."/],
    ['https://h/a/%2e%2E/b/', /has the part "%2e%2E"/],
    ['https://h/a/?x=1', /must be https:\/\/HOST\/PATH\/ without a query/],
    ['https:///a/', /must be https:\/\/HOST\/PATH\/ without a query/],
    ['rsync://-e/x', /has the part "-e"/],
    ['rsync://h/m/../x', /has the part "\.\."/],
    ['rsync://h', /must be rsync:\/\/HOST\/MODULE\/PATH/],
    ['file://models/b', /must be file:\/\/\/PATH or file:\/\/~\/PATH/],
    ['file:///models/../b', /has the part "\.\."/],
    ['file://~/../b', /has the part "\.\."/],
    ['constructor://x', /must begin with hf:\/\//],
  ])('%s is refused at its line', (source, message) => {
    const [told] = diagnose(changed(['source: file:///models/b', `source: "${source}"`]));
    expect(told).toMatch(/^3:27 error model\.source: .* → .+/);
    expect(told).toMatch(message);
  });

  it.each([
    ['http://mirror.lan', /must be a URL that begins with https:\/\//],
    ['https://u:hunter2@', /must be a URL that begins with https:\/\/, got "https:\/\/…@"/],
    ['ftp://x', /must be a URL that begins with https:\/\//],
  ])('asks no mirror %s', (endpoint, message) => {
    const [told] = diagnose(changed(['source: file:///models/b', `source: file:///models/b, endpoint: "${endpoint}"`]));
    expect(told).toMatch(/^3:55 error model\.endpoint: /);
    expect(told).toMatch(message);
    expect(told).not.toContain('hunter2');
  });
});
