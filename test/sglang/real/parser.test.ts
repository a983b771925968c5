import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { planCluster } from '../../../src/plan/plan.ts';
import type { ClusterSpec } from '../../../src/spec/schema.ts';
import type { RankPlan } from '../../../src/plan/types.ts';
import { anInventory } from '../../support/inventories.ts';
import { flagList } from '../../../src/spec/flags.ts';
import { SHIPPED, specFile } from '../../support/spec-files.ts';
import { environmentOf, pythonOf, VERSIONS, type Environment } from './environments.ts';

/** The command lines of all shipped specs are read by SGLang's own argument parser, whose flags are those of our list. */

let folder: string;
let config: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-parser-'));
  config = join(folder, 'keys.yaml');
  await writeFile(config, 'api-key: of-clients\nadmin-api-key: of-control\n');
});
afterAll(() => rm(folder, { recursive: true }));

const parse = (environment: Environment, lines: readonly (readonly string[])[]) =>
  execa(pythonOf(environment), [join(import.meta.dirname, 'parse.py')], {
    input: JSON.stringify(lines),
    env: {
      PYTHONDONTWRITEBYTECODE: '1',
      PYTHONPATH: join(import.meta.dirname, '../../..', environment.without),
      ...environment.env,
    },
    reject: false,
  });
interface Parsed {
  readonly port: number;
  readonly api_key: string | null;
}
/** What stands after python3 -m sglang.launch_server. */
const flagsOf = ({ argv }: RankPlan) => argv.slice(3).map((word) => word.replace('{config}', config));

describe.each(VERSIONS)('the own parser of SGLang %s', (version) => {
  const environment = environmentOf(version);
  const each = environment === undefined ? it.skip : it;

  /** A spec is of one version: one that uses a flag which came or went is not for every other. */
  const { flags } = flagList('sglang', version)!;
  const fits = ({ engine, prefill, decode }: ClusterSpec) =>
    [engine, prefill, decode].every(({ args }) => Object.keys(args).every((name) => name in flags));

  each.each(SHIPPED.filter((name) => fits(specFile(name))))('takes the command lines of specs/%s', async (name) => {
    const shipped = specFile(name);
    const spec = { ...shipped, engine: { ...shipped.engine, version } };
    const plan = planCluster({ spec, inventory: anInventory(spec), installation: 'ours', deployment: 1 });
    const ranks = [...plan.prefill, ...plan.decode].flatMap((engine) => engine.ranks);
    const { stdout, stderr, exitCode } = await parse(environment!, ranks.map(flagsOf));
    expect({ exitCode, stderr: exitCode === 0 ? '' : stderr }).toEqual({ exitCode: 0, stderr: '' });
    const read = stdout
      .split('\n')
      .filter((line) => line.startsWith('{"model_path"'))
      .map((line) => JSON.parse(line) as Parsed);
    expect(read.map(({ port }) => port)).toEqual(ranks.map(({ ports }) => ports[0]));
    const keyed = (spec.engine.apiKey ?? spec.engine.adminKey) ? 'of-clients' : null;
    expect(new Set(read.map(({ api_key: key }) => key))).toEqual(new Set([keyed]));
  });

  each('refuses what it does not know', async () => {
    const { exitCode, stderr } = await parse(environment!, [['--model-path', '/models/tiny', '--no-such-flag']]);
    expect(stderr).toContain('unrecognized arguments: --no-such-flag');
    expect(exitCode).toBe(2);
  });

  each('has the flags of our list, their names, choices and counts', async () => {
    const { stdout } = await parse(environment!, []);
    const own = JSON.parse(stdout.split('\n').findLast((line) => line.startsWith('{"flags"'))!) as {
      flags: Readonly<Record<string, { choices: readonly string[] | null; bare: boolean }>>;
    };
    const listed = Object.entries(flagList('sglang', version)!.flags).flatMap(([name, { aliases = [], ...flag }]) =>
      // The prefix of --tp-size that everybody writes is no name of its own.
      [name, ...aliases.filter((alias) => alias !== 'tp')].map((spelling) => [spelling, flag] as const),
    );
    expect(Object.keys(own.flags).toSorted()).toEqual(listed.map(([name]) => name).toSorted());
    const differing = listed.filter(([name, { takes, choices }]) => {
      const real = own.flags[name]!;
      const same = [...(choices ?? [])].toSorted().join() === [...(real.choices ?? [])].toSorted().join();
      return real.bare !== (takes === 'nothing') || !(same || choices === undefined);
    });
    expect(differing.map(([name]) => [name, own.flags[name]])).toEqual([]);
  });
});
