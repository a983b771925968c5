import { existsSync } from 'node:fs';
import { spawn, type ChildProcess } from 'node:child_process';
import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import {
  chatBody,
  endAll,
  events,
  freshAddress,
  modelFolder,
  serve,
  until,
  type TestEngine,
} from './engine-support.ts';

/** Simulated engines behind a real smg: what it asks of engines and what it makes of their answers. */
const PYTHON = new URL('../../.venv/bin/python', import.meta.url).pathname;
const host = freshAddress();
const router = `http://${host}:30000`;
let smg: ChildProcess | undefined;
let smgLog = '';
let model = '';

beforeAll(async () => {
  if (!existsSync(PYTHON)) throw new Error('smg is not installed: run npm run setup');
  model = await modelFolder();
  const flags = `--pd-disaggregation --host ${host} --port 30000 --prometheus-host ${host} --prometheus-port 29000 --policy round_robin --retry-max-retries 10 --health-check-interval-secs 1 --worker-startup-check-interval 1`;
  smg = spawn(PYTHON, ['-m', 'smg.launch_router', ...flags.split(' ')], { stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [smg.stdout, smg.stderr]) stream?.on('data', (part: Buffer) => (smgLog += part.toString()));
  await until(async () => {
    if (smg?.exitCode !== null) throw new Error(`smg ended:\n${smgLog}`);
    return (await fetch(`${router}/health`).catch(() => undefined))?.ok;
  });
}, 60_000);

afterEach(async () => {
  const { workers } = (await (await fetch(`${router}/workers`)).json()) as { workers: { id: string }[] };
  await Promise.all(workers.map(({ id }) => fetch(`${router}/workers/${id}`, { method: 'DELETE' })));
  await until(
    async () => ((await (await fetch(`${router}/workers`)).json()) as { workers: unknown[] }).workers.length === 0,
  );
  await endAll();
}, 60_000);

afterAll(async () => {
  const gone = new Promise((resolve) => smg?.once('exit', resolve));
  smg?.kill('SIGKILL');
  await gone;
});

async function post(path: string, body: unknown): Promise<Response> {
  return await fetch(router + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

/** Posts an engine under a pairing key and waits until the router lists it ready under that key. */
async function admit(engine: TestEngine, role: 'prefill' | 'decode', key: string): Promise<void> {
  const answer = await post('/workers', {
    url: engine.url,
    worker_type: role,
    ...(role === 'prefill' && { bootstrap_port: engine.bootstrapPort }),
    labels: { pairing_protocol: key },
    health: { drain_settle_secs: 0 },
  });
  expect(answer.status).toBe(202);
  const { worker_id } = (await answer.json()) as { worker_id: string };
  await until(async () => {
    const seen = (await (await fetch(`${router}/workers/${worker_id}`)).json()) as Record<string, unknown>;
    return seen['status'] === 'ready' && seen['pd_pairing'] === key;
  });
}

it('serves chats and streams of one prefill and two decode engines, each named as the one that answered', async () => {
  const [prefill, first, second] = await Promise.all([
    serve({ role: 'prefill', model, args: ['--enable-metrics'] }),
    serve({ role: 'decode', model, args: ['--enable-metrics'] }),
    serve({ role: 'decode', model, args: ['--enable-metrics'] }),
  ]);
  await Promise.all([admit(prefill, 'prefill', 'one'), admit(first, 'decode', 'one'), admit(second, 'decode', 'one')]);
  const before = prefill.counts().answered;
  const answeredBy = new Set<string | null>();
  for (let index = 0; index < 4; index += 1) {
    const answer = await post('/v1/chat/completions', chatBody({ model }));
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ model, usage: { completion_tokens: 8 } });
    answeredBy.add(answer.headers.get('x-smg-routed-worker-id'));
  }
  expect(answeredBy).toEqual(new Set([first.url, second.url]));
  const stream = await post('/v1/chat/completions', chatBody({ model, stream: true, max_tokens: 20 }));
  expect(stream.status).toBe(200);
  const chunks = events(await stream.text());
  expect(chunks.at(-1)).toBe('[DONE]');
  expect(chunks.at(-2)).toMatchObject({ choices: [{ finish_reason: 'length' }] });
  await until(() => Promise.resolve(prefill.counts().answered === before + 5));
}, 60_000);

it('keeps generations apart by their pairing keys, and a wrong key crosses them', async () => {
  const other = await modelFolder('weights of revision two');
  const engines = await Promise.all([
    serve({ role: 'prefill', model, args: ['--served-model-name', 'm'] }),
    serve({ role: 'decode', model, args: ['--served-model-name', 'm'] }),
    serve({ role: 'prefill', model: other, args: ['--served-model-name', 'm'] }),
    serve({ role: 'decode', model: other, args: ['--served-model-name', 'm'] }),
  ]);
  const [oldPrefill, oldDecode, newPrefill, newDecode] = engines;
  await Promise.all([
    admit(oldPrefill, 'prefill', 'old'),
    admit(oldDecode, 'decode', 'old'),
    admit(newPrefill, 'prefill', 'new'),
    admit(newDecode, 'decode', 'new'),
  ]);
  const ask = () => post('/v1/chat/completions', chatBody({ model: 'm' }));
  const keyed = await Promise.all(Array.from({ length: 24 }, ask));
  expect(keyed.map(({ status }) => status)).toEqual(keyed.map(() => 200));
  expect(engines.map((engine) => engine.counts().crossed)).toEqual([0, 0, 0, 0]);
  expect(engines.every((engine) => engine.counts().answered > 0)).toBe(true);
  // Now a wrong key: the only pair left is of two generations, whatever the router's policy picks.
  await rekey(oldPrefill, 'nobody-1');
  await rekey(newDecode, 'nobody-2');
  await rekey(newPrefill, 'old');
  expect((await ask()).status).toBeGreaterThanOrEqual(500);
  expect(newPrefill.counts().crossed).toBeGreaterThan(0);
  expect(oldDecode.counts().crossed).toBeGreaterThan(0);
}, 60_000);

it('takes an engine posted in the wrong role, and then requests hang until the time-out', async () => {
  const env = { SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT: '1000', SGLANG_DISAGGREGATION_WAITING_TIMEOUT: '1000' };
  const [prefill, wrong] = await Promise.all([
    serve({ role: 'prefill', model, env }),
    serve({ role: 'prefill', model, env }),
  ]);
  await Promise.all([admit(prefill, 'prefill', 'one'), admit(wrong, 'decode', 'one')]);
  const cut = new AbortController();
  const asked = fetch(`${router}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(chatBody({ model })),
    signal: cut.signal,
  });
  asked.catch(() => undefined);
  for (const engine of [prefill, wrong]) {
    await until(async () => (await engine.load()).disaggregation['prefill_bootstrap_queue_reqs'] === 1);
  }
  expect(await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 1000, 'hangs'))])).toBe('hangs');
  expect((await wrong.get('/model_info')).json()).toMatchObject({ disaggregation_mode: 'prefill' });
  cut.abort();
  await until(() => Promise.resolve(prefill.counts().open + wrong.counts().open === 0));
}, 60_000);

it('ends an open stream with an error and [DONE] when the decode engine is killed', async () => {
  const [prefill, decode] = await Promise.all([serve({ role: 'prefill', model }), serve({ role: 'decode', model })]);
  await Promise.all([admit(prefill, 'prefill', 'one'), admit(decode, 'decode', 'one')]);
  const stream = await post('/v1/chat/completions', chatBody({ model, stream: true, max_tokens: 1500 }));
  decode.signal('SIGKILL');
  const chunks = events(await stream.text());
  expect(chunks.at(-1)).toBe('[DONE]');
  expect(chunks.at(-2)).toMatchObject({ error: { type: 'stream_error' } });
}, 60_000);

async function rekey(engine: TestEngine, key: string): Promise<void> {
  const { workers } = (await (await fetch(`${router}/workers`)).json()) as { workers: { id: string; url: string }[] };
  const id = workers.find(({ url }) => url === engine.url)?.id;
  await fetch(`${router}/workers/${id}`, {
    method: 'PATCH',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ labels: { pairing_protocol: key } }),
  });
  await until(async () => {
    const seen = (await (await fetch(`${router}/workers/${id}`)).json()) as Record<string, unknown>;
    return seen['pd_pairing'] === key;
  });
}
