import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { eventually } from '../support/processes.ts';
import { ask, chatBody, endAll, meeting, modelFolder, serve, type TestEngine } from './engine-support.ts';

/** The flags of the captured engines, paths and ports apart. */
const CAPTURED = (
  '--device cpu --load-format dummy --attention-backend torch_native --disable-radix-cache --disable-overlap-schedule ' +
  '--disable-cuda-graph --max-total-tokens 4096 --enable-metrics --disaggregation-transfer-backend mooncake --random-seed 7'
).split(' ');
const ROLES = ['prefill', 'decode'] as const;
/** Rows of real engines that the simulated one never shows: KV release after an abort and one inner stage of decode. */
const NOT_MODELLED = [/^sglang:decode_deferred_kv_release_total /, /stage=decode_prepare/];

const engines = {} as Record<(typeof ROLES)[number], TestEngine>;

beforeAll(async () => {
  const model = await modelFolder();
  const prefill = await serve({
    role: 'prefill',
    model,
    args: CAPTURED,
    env: { SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT: '60' },
  });
  const decode = await serve({
    role: 'decode',
    model,
    args: [...CAPTURED, '--disaggregation-decode-retraction-backup', 'none'],
    env: { SGLANG_DISAGGREGATION_WAITING_TIMEOUT: '60' },
  });
  Object.assign(engines, { prefill, decode });
  // One of everything that makes a row appear: whole and streamed, fake, aborted, failed on both sides and at the handshake.
  await ask(prefill, decode);
  await ask(prefill, decode, { stream: true });
  const nobody = { ...meeting(prefill), bootstrap_port: 1 };
  await Promise.all([
    decode.post('/v1/chat/completions', chatBody(nobody)),
    prefill.post('/v1/chat/completions', chatBody(meeting(prefill))),
    decode.post('/v1/chat/completions', chatBody(meeting(prefill))),
  ]);
  for (const engine of [prefill, decode]) {
    await engine.post('/generate', { text: 'x', bootstrap_host: '2.2.2.2', bootstrap_room: 0 });
    const aborted = engine.post('/v1/chat/completions', chatBody(meeting(prefill)));
    await eventually(async () => (await engine.load()).num_waiting_reqs === 1);
    await engine.post('/abort_request', { abort_all: true });
    await aborted;
    await engine.get('/metrics'); // Shows only from the next time on.
  }
});
afterAll(endAll);

const golden = async (name: string) =>
  JSON.parse(await readFile(new URL(`../golden/engine/${name}.json`, import.meta.url), 'utf8')) as Record<
    string,
    unknown
  >;

/** Key paths in their order, with JSON types. */
function shape(value: unknown): unknown {
  if (value === null) return 'null';
  if (Array.isArray(value)) return value.length > 0 ? [shape(value[0])] : [];
  if (typeof value !== 'object') return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, its]) => [key, shape(its)]));
}

describe.each(ROLES)('the answers of a simulated %s engine', (role) => {
  it.each([
    ['/v1/models', 'models'],
    ['/model_info', 'model-info'],
    ['/get_model_info', 'model-info'],
    ['/server_info', 'server-info'],
    ['/get_server_info', 'server-info'],
    ['/v1/loads', 'loads'],
    ['/v1/loads?include=core,disagg,queues,memory', 'loads'],
  ])('have the keys, order and types of a real one at %s', async (path, name) => {
    const { both, [role]: own } = await golden(name);
    const answer = await engines[role].get(path);
    expect(answer.status).toBe(200);
    const wanted = JSON.stringify(both ?? own, null, 1).split('\n');
    expect(JSON.stringify(shape(answer.json()), null, 1).split('\n')).toEqual(wanted);
  });

  it('have the metrics of a real one: names, types, labels and buckets', async () => {
    const real = rows((await golden('metrics'))[role] as Families);
    const ours = rows(parse((await engines[role].get('/metrics')).text));
    expect(ours.filter((row) => !real.includes(row) && !row.startsWith('sglang:http_'))).toEqual([]);
    expect(real.filter((row) => !ours.includes(row) && !NOT_MODELLED.some((rule) => rule.test(row)))).toEqual([]);
  });
});

interface Family {
  type: string;
  rows: string[];
  buckets?: string[];
}
type Families = Record<string, Family>;

const rows = (families: Families) =>
  Object.entries(families).flatMap(([name, { type, rows: own, buckets }]) =>
    own.map(
      (row) =>
        `${name} ${type} ${row} ${buckets?.map((bound) => Number(bound.replace('+', '')).toPrecision(6)).join(' ')}`,
    ),
  );

const FREE = ['model_name', 'endpoint', 'method', 'status_code', 'pid'];

/** Prometheus' text format, by family; values left out. */
function parse(text: string): Families {
  const families: Families = {};
  let last: Family | undefined;
  for (const line of text.trim().split('\n')) {
    const typed = /^# TYPE (\S+) (\S+)$/.exec(line);
    if (typed !== null) families[typed[1] as string] = last = { type: typed[2] as string, rows: [] };
    const row = /^[^\s{#]+?(_bucket|_sum|_count)?(?:\{(.*)\})? \S+$/.exec(line);
    if (row === null || last === undefined) continue;
    const labels = [...(row[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(
      ([, key, value]) => [key, value] as [string, string],
    );
    if (last.type === 'histogram' && row[1] === '_bucket') {
      const le = labels.find(([key]) => key === 'le')?.[1] as string;
      if (!(last.buckets ??= []).includes(le)) last.buckets.push(le);
      continue;
    }
    const named = labels
      .map(([key, value]) => `${key}=${FREE.includes(key) ? '*' : value}`)
      .toSorted()
      .join(',');
    if (!last.rows.includes(named)) last.rows.push(named);
  }
  return families;
}
