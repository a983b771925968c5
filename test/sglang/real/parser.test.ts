import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { planCluster } from '../../../src/plan/plan.ts';
import type { RankPlan } from '../../../src/plan/types.ts';
import { anInventory } from '../../support/inventories.ts';
import { SHIPPED, specFile } from '../../support/spec-files.ts';

/** The command lines of all shipped specs are read by SGLang's own argument parser. */
const environment = process.env['TANDEM_SGLANG_ENV'];
const suite = environment === undefined ? describe.skip : describe;

let folder: string;
let config: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-parser-'));
  config = join(folder, 'keys.yaml');
  await writeFile(config, 'api-key: of-clients\nadmin-api-key: of-control\n');
});
afterAll(() => rm(folder, { recursive: true }));

const parse = (lines: readonly (readonly string[])[]) =>
  execa(join(environment!, 'bin/python'), [join(import.meta.dirname, 'parse.py')], {
    input: JSON.stringify(lines),
    env: { PYTHONDONTWRITEBYTECODE: '1' },
    reject: false,
  });
/** What stands after python3 -m sglang.launch_server. */
const flagsOf = ({ argv }: RankPlan) => argv.slice(3).map((word) => word.replace('{config}', config));

suite('SGLang’s own parser', () => {
  it.each(SHIPPED)('takes the command lines of specs/%s', async (name) => {
    const spec = specFile(name);
    const plan = planCluster({ spec, inventory: anInventory(spec), installation: 'ours', deployment: 1 });
    const ranks = [...plan.prefill, ...plan.decode].flatMap((engine) => engine.ranks);
    const { stdout, stderr, exitCode } = await parse(ranks.map(flagsOf));
    expect({ exitCode, stderr: exitCode === 0 ? '' : stderr }).toEqual({ exitCode: 0, stderr: '' });
    const read = stdout
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as { port: number; api_key: string | null });
    expect(read.map(({ port }) => port)).toEqual(ranks.map(({ ports }) => ports[0]));
    const keyed = (spec.engine.apiKey ?? spec.engine.adminKey) ? 'of-clients' : null;
    expect(new Set(read.map(({ api_key: key }) => key))).toEqual(new Set([keyed]));
  });

  it('refuses what it does not know', async () => {
    const { exitCode, stderr } = await parse([['--model-path', '/models/tiny', '--no-such-flag']]);
    expect(stderr).toContain('unrecognized arguments: --no-such-flag');
    expect(exitCode).toBe(2);
  });
});
