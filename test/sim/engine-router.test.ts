import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import { eventually } from '../support/processes.ts';
import { chatBody, endAll, events, freshAddress, modelFolder, serve, type TestEngine } from './engine-support.ts';
import { startSmg, type Smg } from '../support/smg.ts';

/** Simulated engines behind a real smg: what it asks of engines and what it makes of their answers. */
const host = freshAddress();
const router = `http://${host}:30000`;
let smg: Smg | undefined;
let model = '';

beforeAll(async () => {
  model = await modelFolder();
  smg = await startSmg(host);
});

afterEach(async () => {
  for (const { id } of await smg!.list()) await fetch(`${router}/workers/${id}`, { method: 'DELETE' });
  await eventually(async () => (await smg!.list()).length === 0);
  await endAll();
});

afterAll(async () => {
  await smg?.stop();
});

async function post(path: string, body: unknown): Promise<Response> {
  return await fetch(router + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

const admit = (engine: TestEngine, role: 'prefill' | 'decode', key: string) =>
  smg!.admit({ url: engine.url, role, key, ...(role === 'prefill' && { bootstrapPort: engine.bootstrapPort }) });

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
  await eventually(() => prefill.counts().answered === before + 5);
});

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
});

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
    await eventually(async () => (await engine.load()).disaggregation['prefill_bootstrap_queue_reqs'] === 1);
  }
  expect(await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, 1000, 'hangs'))])).toBe('hangs');
  expect((await wrong.get('/model_info')).json()).toMatchObject({ disaggregation_mode: 'prefill' });
  cut.abort();
  await eventually(() => prefill.counts().open + wrong.counts().open === 0);
});

it('ends an open stream with an error and [DONE] when the decode engine is killed', async () => {
  const [prefill, decode] = await Promise.all([serve({ role: 'prefill', model }), serve({ role: 'decode', model })]);
  await Promise.all([admit(prefill, 'prefill', 'one'), admit(decode, 'decode', 'one')]);
  const stream = await post('/v1/chat/completions', chatBody({ model, stream: true, max_tokens: 1500 }));
  decode.signal('SIGKILL');
  const chunks = events(await stream.text());
  expect(chunks.at(-1)).toBe('[DONE]');
  expect(chunks.at(-2)).toMatchObject({ error: { type: 'stream_error' } });
});

async function rekey(engine: TestEngine, key: string): Promise<void> {
  const entry = async () => (await smg!.list()).find(({ url }) => url === engine.url);
  await fetch(`${router}/workers/${(await entry())?.id}`, {
    method: 'PATCH',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ labels: { pairing_protocol: key } }),
  });
  await eventually(async () => (await entry())?.key === key);
}
