import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { parseSync, type ModuleItem } from '@swc/core';
import { describe, expect, it } from '@jest/globals';
import { ERROR_CODES } from '../src/errors.ts';

// Rules of the tree. Each broken one is a line that names the file and the fix; so no list of exceptions grows elsewhere.
const ROOT = join(import.meta.dirname, '..');
const NOT_OURS = new Set(['node_modules', '.git', 'dist', '.venv', 'coverage', '.tandem']);

const files = walk('');
const text = (file: string) => readFileSync(join(ROOT, file), 'utf8');
const code = files.filter((file) => file.endsWith('.ts'));
const product = code.filter((file) => /^(?:src|workflows|activities)\//.test(file));
const imports = new Map(product.map((file) => [file, importsOf(file)]));

function walk(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    if (NOT_OURS.has(entry.name) || entry.name.endsWith('.tsbuildinfo')) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [path];
  });
}

interface Import {
  /** A package, "node:fs", or a file of the tree. */
  readonly target: string;
  /** False when only types come over, which cost nothing at run time. */
  readonly value: boolean;
}

function importsOf(file: string): Import[] {
  const { body } = parseSync(text(file), { syntax: 'typescript' });
  const found = body.flatMap((item) => importOf(item) ?? []);
  const dynamic = [...text(file).matchAll(/\bimport\(\s*['"`]([^'"`]+)/g)].map(([, source]) => ({
    source: source!,
    value: true,
  }));
  return [...found, ...dynamic].map(({ source, value }) => ({
    target: source.startsWith('.') ? relative(ROOT, join(ROOT, dirname(file), source)) : source,
    value,
  }));
}

function importOf(item: ModuleItem): { source: string; value: boolean } | undefined {
  if (item.type === 'ImportDeclaration') {
    const types = item.specifiers.map((specifier) => specifier.type === 'ImportSpecifier' && specifier.isTypeOnly);
    return { source: item.source.value, value: !item.typeOnly && !(types.length > 0 && types.every(Boolean)) };
  }
  if (item.type === 'ExportNamedDeclaration' && item.source)
    return { source: item.source.value, value: !(item as { typeOnly?: boolean }).typeOnly };
  return item.type === 'ExportAllDeclaration' ? { source: item.source.value, value: true } : undefined;
}

const PURE = /^src\/(?:spec|plan|facts|checks|sglang|saga|text|operations)\//;
const PURE_OR_ERRORS = /^src\/(?:(?:spec|plan|facts|checks|sglang|saga|text|operations)\/|errors\.ts$)/;
/** Packages without effects: they neither read nor write anything. */
const PURE_PACKAGES = /^(?:zod|yaml|semver|fastest-levenshtein|@noble\/hashes)(?:\/|$)/;
const isFile = (target: string) => /^(?:src|workflows|activities|test|bench|scripts)\//.test(target);

/** Imports from `room` that are not `allowed`, as lines with the fix. */
function strays(room: RegExp, allowed: (imported: Import, file: string) => boolean, fix: string): string[] {
  return [...imports]
    .filter(([file]) => room.test(file))
    .flatMap(([file, all]) =>
      all.filter((imported) => !allowed(imported, file)).map(({ target }) => `${file} imports ${target}: ${fix}`),
    );
}

describe('imports point one way:', () => {
  it('the files of every room are looked at', () => {
    const rooms = [
      'src/spec',
      'src/plan',
      'src/facts',
      'src/checks',
      'src/sglang',
      'src/saga',
      'src/text',
      'src/operations',
      'src/drivers',
      'src/cli',
      'src/sim',
      'workflows',
      'activities',
    ];
    expect(rooms.filter((room) => !product.some((file) => file.startsWith(`${room}/`)))).toEqual([]);
  });

  it('pure rooms know nothing of the world', () => {
    const allowed = ({ target }: Import) => (isFile(target) ? PURE_OR_ERRORS.test(target) : PURE_PACKAGES.test(target));
    expect(strays(PURE, allowed, 'move the effect to src/drivers and pass its result in')).toEqual([]);
  });

  it('workflows import pure functions and types of the rest', () => {
    const allowed = ({ target, value }: Import) => !value || WORKFLOW_MAY.test(target);
    expect(strays(/^workflows\//, allowed, 'do it in an activity and import its type')).toEqual([]);
  });

  it('nothing that a workflow reaches parses, reads or writes: the sandbox pays for it', () => {
    const reached = new Map(product.filter((file) => file.startsWith('workflows/')).map((file) => [file, file]));
    const heavy: string[] = [];
    for (const [file, from] of reached) {
      for (const { target, value } of imports.get(file) ?? []) {
        if (!value) continue;
        if (!isFile(target) && !SANDBOX_MAY.test(target))
          heavy.push(`${from} reaches ${target} in ${file}: split what is pure into a file of its own`);
        if (isFile(target) && !reached.has(target)) reached.set(target, `${from} → ${target}`);
      }
    }
    expect(heavy).toEqual([]);
  });

  it('activities know nothing of the CLI, the simulation or the Temporal worker', () => {
    const allowed = ({ target }: Import) => !/^src\/(?:cli|sim)\/|^src\/(?:worker|client)\.ts$/.test(target);
    expect(strays(/^activities\//, allowed, 'pass it in by a driver interface')).toEqual([]);
  });

  it('the CLI knows what operations are, and nothing of how they are carried out', () => {
    const allowed = ({ target }: Import) => !/^(?:workflows|activities)\//.test(target);
    expect(strays(/^src\/cli\//, allowed, 'move what both know to src/operations')).toEqual([]);
  });

  it('drivers know nothing of those who use them', () => {
    const allowed = ({ target }: Import) =>
      !isFile(target) || PURE_OR_ERRORS.test(target) || target.startsWith('src/drivers/');
    expect(strays(/^src\/drivers\//, allowed, 'let the caller pass it in')).toEqual([]);
  });

  it('the simulation speaks to the product by SSH and HTTP alone', () => {
    const allowed = ({ target }: Import) =>
      !/^(?:activities|workflows)\/|^src\/(?:cli|drivers)\/|^@temporalio/.test(target);
    expect(strays(/^src\/sim\//, allowed, 'what runs on simulated hosts must be what runs on real ones')).toEqual([]);
  });

  it('nobody imports the Temporal worker', () => {
    expect(strays(/./, ({ target }) => target !== 'src/worker.ts', 'move what is shared to a file of its own')).toEqual(
      [],
    );
  });

  it('only drivers, the simulation, and the CLI verbs that are about this machine start processes', () => {
    const mayStart = /^src\/(?:drivers|sim)\/|^src\/cli\/(?:local(?:\/|\.ts$)|worker\.ts$|doctor\.ts$)/;
    const allowed = ({ target }: Import, file: string) =>
      !/^(?:execa|(?:node:)?child_process)$/.test(target) || mayStart.test(file);
    expect(strays(/./, allowed, 'ask a driver for it')).toEqual([]);
  });
});

const WORKFLOW_MAY =
  /^workflows\/|^@temporalio\/(?:workflow|common)$|^src\/(?:(?:spec|plan|facts|checks|sglang|saga|text|operations)\/|errors\.ts$)/;
const SANDBOX_MAY = /^@temporalio\/(?:workflow|common)$|^@noble\/hashes\//;

describe('text from outside', () => {
  it('is cut by src/text alone, behind redaction: half of a secret is found by nobody', () => {
    const cuts =
      /\.(?:slice|substring|substr)\(\s*(?:0\s*,\s*)?-?\s*(?:\d[\d_]+|[A-Z][A-Z_]+)\s*\)(?!\.(?:join|map)\()/;
    const ofLists = /(?:\.{3}[\w#.]+|\])\.slice\(/g;
    const wrong = product
      .filter((file) => /^(?:src\/(?:drivers|facts|checks)|activities)\//.test(file))
      .flatMap((file) =>
        text(file)
          .split('\n')
          .map((line, at) => ({ file, line, at: at + 1 })),
      )
      .filter(({ line }) => cuts.test(line.replaceAll(ofLists, '')));
    const onHosts = product.filter(
      (file) => file.startsWith('src/drivers/') && /\btail -c (?!\+)|\bcut -c/.test(text(file)),
    );
    expect(onHosts.map((file) => `${file}: a script that cuts what a program said; take whole lines`)).toEqual([]);
    expect(
      wrong.map(({ file, at }) => `${file}:${at}: keep it whole; where it leaves, activities/failure.ts cuts it`),
    ).toEqual([]);
  });

  it('reaches a terminal through src/cli/output.ts alone, which shows what would act on it', () => {
    const wrong = product
      .filter((file) => file.startsWith('src/cli/') && file !== 'src/cli/output.ts')
      .filter((file) => /\bprocess\.std(?:out|err)\.write\(|\bconsole\.\w+\(/.test(text(file)));
    expect(wrong.map((file) => `${file}: use print or note of src/cli/output.ts`)).toEqual([]);
  });
});

describe('nothing is left over:', () => {
  const tests = code.filter((file) => file.startsWith('test/') && file !== 'test/tidy.test.ts');
  const sources = tests.map(text).join('\n');

  it('every golden file is held against something', () => {
    const golden = files.filter((file) => file.startsWith('test/golden/'));
    const orphans = golden.filter((file) => !sources.includes(stemOf(file)));
    expect(orphans.map((file) => `${file}: no test names it; delete it`)).toEqual([]);
  });

  it('every fixture is read', () => {
    const fixtures = files.filter(
      (file) => file.startsWith('test/') && !/\.(?:m?ts|mjs|go)$|^test\/(?:golden|histories|compose)\//.test(file),
    );
    // A folder of cases is read as a whole: then the folder's own test lists it, and fails for a case it does not know.
    const orphans = fixtures.filter((file) => !sources.includes(stemOf(file)) && !listed(file));
    expect(orphans.map((file) => `${file}: no test reads it; delete it`)).toEqual([]);
  });

  /** True for a file in a folder of cases whose room has a test that reads whole folders. */
  function listed(file: string): boolean {
    const [, , ...within] = file.split('/');
    const room = file.split('/').slice(0, 2).join('/');
    return within.length > 1 && tests.some((test) => test.startsWith(`${room}/`) && /readdir/.test(text(test)));
  }

  it('every history is replayed', () => {
    const histories = files.filter((file) => file.startsWith('test/histories/'));
    const replays = tests.some(
      (file) => /histories/.test(text(file)) && /readdir/.test(text(file)) && /runReplayHistor/.test(text(file)),
    );
    expect(
      histories.filter(() => !replays).map((file) => `${file}: no test replays test/histories as a whole; write it`),
    ).toEqual([]);
  });

  it('every error code is born somewhere', () => {
    const born = product
      .filter((file) => file !== 'src/errors.ts')
      .map(text)
      .join('\n');
    const unused = Object.keys(ERROR_CODES).filter((name) => !born.includes(`'${name}'`));
    expect(unused.map((name) => `${name}: nothing throws it; delete it from src/errors.ts`)).toEqual([]);
  });
});

const stemOf = (file: string) =>
  file
    .split('/')
    .at(-1)!
    .replace(/\.[^.]+$/, '');

describe('every file', () => {
  const WELL_KNOWN = /^(?:README|ARCHITECTURE|CHANGELOG|HACKING|CONTRIBUTING)\.md$|^LICENSE$|^Dockerfile$/;
  it('has a name in kebab-case without blanks', () => {
    // Cases of facts are titles of tests, read by one test that names them so.
    const wrong = files.filter(
      (file) =>
        !/^test\/facts\/[^/]+\/[^/]+\.json$/.test(file) &&
        !WELL_KNOWN.test(file.split('/').at(-1)!) &&
        /[^a-z0-9.@/-]/.test(file),
    );
    expect(wrong.map((file) => `${file}: use lower-case letters, digits, dashes and dots`)).toEqual([]);
  });

  it('is finished', () => {
    const marks = new RegExp(`\\b(?:${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X'].join('|')})\\b`);
    const wrong = files.filter((file) => !isData(file) && marks.test(text(file)));
    expect(wrong.map((file) => `${file}: do it, or describe it in an issue`)).toEqual([]);
  });

  it('names no folder of the machine it was written on', () => {
    const own = ROOT.split('/').length > 2 ? [ROOT] : [];
    const elsewhere = [...own, ...['work', 'Users', 'root'].map((name) => `/${name}/`)];
    const wrong = files.filter(
      (file) =>
        !isData(file) &&
        !file.startsWith('specs/') && // Paths in containers.
        elsewhere.some((path) => new RegExp(`(?<![\\w.~*}])${path}`).test(text(file))),
    );
    expect(
      wrong.map((file) => `${file}: build the path from import.meta.dirname, a home or a temporary folder`),
    ).toEqual([]);
  });

  const isData = (file: string) =>
    /^test\/facts\/.*\.json$|^src\/s(?:im|pec)\/.*\.json$|package-lock\.json$/.test(file);
});

describe('tests', () => {
  it('all run: none is switched off or alone in force', () => {
    const wrong = code.filter(
      (file) =>
        file.startsWith('test/') &&
        /\b(?:it|test|describe)(?:\.each)?\.(?:only|skip|todo)\(|\b(?:fit|fdescribe|xit|xdescribe)\(/.test(text(file)),
    );
    expect(
      wrong.map((file) => `${file}: remove .only and .skip; skip by a condition that says what is missing`),
    ).toEqual([]);
  });
});

describe('versions', () => {
  const manifest = JSON.parse(text('package.json')) as Record<
    'dependencies' | 'devDependencies',
    Record<string, string>
  >;

  it('of npm packages are pinned exactly', () => {
    const all = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
    const loose = all.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version));
    expect(loose.map(([name, version]) => `package.json: ${name} ${version}: name one version`)).toEqual([]);
  });

  it('of Python packages are pinned with their hashes', () => {
    const rows = text('scripts/requirements.txt')
      .split('\n')
      .filter((line) => /^[a-z]/i.test(line));
    expect(rows.length).toBeGreaterThan(0);
    expect(
      rows
        .filter((row) => !/^[\w.-]+==\S+ \\$/.test(row))
        .map((row) => `requirements.txt: ${row}: run pip-compile --generate-hashes`),
    ).toEqual([]);
  });

  it('in lock files name no registry', () => {
    const locks = {
      'package-lock.json': /"resolved":|https?:\/\/[^"]*registry/,
      'scripts/requirements.txt': /^--(?:extra-)?(?:index-url|trusted-host)/m,
    };
    const wrong = Object.entries(locks).filter(([file, registry]) =>
      registry.test(text(file).replaceAll(/"(?:url|homepage)": "[^"]*"/g, '')),
    );
    expect(
      wrong.map(([file]) => `${file}: lock again with the settings of .npmrc, or with --no-emit-index-url`),
    ).toEqual([]);
  });
});
