import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { begin, endAll, modelFolder, type Given } from './engine-support.ts';
import { QUESTIONS, shapeAt, STARTS, startPair, type Pair, type World } from './engine-questions.ts';
import { patient, patientSeconds } from '../support/patience.ts';

/** Slow enough that each of its states is met: of one in which a page does not answer, two rounds of 0.9 s. */
const warming = (warmupSeconds: number) => (given: Given) =>
  begin({ ...given, timing: { startSeconds: patient(400) / 1_000, warmupSeconds } });
const quick = warming(patientSeconds(1));
const slowly = warming(patientSeconds(4));
/** Rows of real engines that the simulated one never shows: KV release after an abort and one inner stage of decode. */
const NOT_MODELLED = [/^sglang:decode_deferred_kv_release_total /, /stage=decode_prepare/];

/** Recorded versions, and the folder of each: the newest as npm run test:sglang writes it, others below it. */
const RECORDED = [
  ['0.5.10.post1', 'engine/0.5.10.post1'],
  ['0.5.23', 'engine'],
] as const;

describe.each(RECORDED)('simulated engines of %s answer as SGLang’s own', (version, folder) => {
  let world: World;
  let pair: Pair;
  beforeAll(async () => {
    world = { model: await modelFolder(), version, begin: quick };
    pair = await startPair({ ...world, begin: slowly });
  });
  afterAll(endAll);

  /** What SGLang's own engines answered, as test/sglang/real/engine.test.ts writes it; never from here. */
  const golden = async (name: string): Promise<unknown> =>
    JSON.parse(await readFile(new URL(`../golden/${folder}/${name}.json`, import.meta.url), 'utf8'));

  it.each([
    ['/get_model_info', 'model-info'],
    ['/get_server_info', 'server-info'],
    ['/v1/loads?include=core,disagg,queues,memory', 'loads'],
  ])('%s, as at the page’s own name', async (path, name) => {
    expect(lines(await shapeAt(path)(pair))).toEqual(lines(await golden(name)));
  });

  it.each(Object.entries(QUESTIONS))('%s', async (name, ask) => {
    const [ours, real] = [await ask(pair, world), await golden(name)];
    if (name === 'metrics') sameMetrics(ours as Metrics, real as Metrics);
    else expect(lines(ours)).toEqual(lines(real));
  });

  it.each(Object.entries(STARTS))('a start with %s', async (name, start) => {
    expect(await start(world)).toEqual(((await golden('starts')) as Record<string, unknown>)[name]);
  });
});

type Metrics = Readonly<Record<'prefill' | 'decode', readonly string[]>>;

/** The rows of requests depend on which endpoints were asked. */
function sameMetrics(ours: Metrics, real: Metrics): void {
  for (const role of ['prefill', 'decode'] as const) {
    const unknown = ours[role].filter((row) => !real[role].includes(row) && !row.startsWith('sglang:http_'));
    const missing = real[role].filter((row) => !ours[role].includes(row));
    expect({ role, unknown, missing: missing.filter((row) => !NOT_MODELLED.some((rule) => rule.test(row))) }).toEqual({
      role,
      unknown: [],
      missing: [],
    });
  }
}

/** Order of keys counts. */
const lines = (answer: unknown) => JSON.stringify(answer, null, 1).split('\n');
