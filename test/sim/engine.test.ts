import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, createServer as createTcpServer, type Socket } from 'node:net';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { patient } from '../support/patience.ts';
import { eventually } from '../support/processes.ts';
import {
  ask,
  begin,
  chatBody,
  endAll,
  temporary,
  events,
  freshAddress,
  meeting,
  modelFolder,
  serve,
  type TestEngine,
} from './engine-support.ts';
import { MARKS } from './engine-questions.ts';

let model = '';
beforeAll(async () => {
  model = await modelFolder();
});
afterEach(endAll);

const pair = async (more: { env?: Record<string, string>; timing?: Record<string, number> } = {}) =>
  await Promise.all([serve({ role: 'prefill', model, ...more }), serve({ role: 'decode', model, ...more })]);
const chat = '/v1/chat/completions';
/** A stream of so many tokens that it is still running when a test acts on it. */
const LONG = { stream: true, max_tokens: 1500 };
/** Lasts two seconds: long enough to be seen. */
const WHILE = { stream: true, max_tokens: 1000 };
const refused = (engine: TestEngine, path = '/ready') =>
  engine.get(path).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ECONNREFUSED',
  );

describe('a pair of engines', () => {
  it('answers a chat that both halves were sent, with the decode engine’s words', async () => {
    const [prefill, decode] = await pair();
    const answers = await ask(prefill, decode);
    expect([answers.prefill.status, answers.decode.status]).toEqual([200, 200]);
    expect(answers.decode.json()).toEqual({
      id: expect.stringMatching(/^[0-9a-f]{32}$/),
      object: 'chat.completion',
      created: expect.any(Number),
      model: 'any-name',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: expect.stringMatching(/\w+ \w+/), reasoning_content: null },
          logprobs: null,
          finish_reason: 'length',
          matched_stop: null,
        },
      ],
      usage: {
        prompt_tokens: expect.any(Number),
        total_tokens: expect.any(Number),
        completion_tokens: 8,
        prompt_tokens_details: null,
        reasoning_tokens: 0,
        completion_tokens_details: null,
      },
      metadata: { weight_version: 'default', weight_versions: [{ version: 'default', start: 0, end: 8 }] },
    });
    expect(answers.prefill.json()).toMatchObject({ usage: { completion_tokens: 1 } });
  });

  it('gives the same words for the same prompt, and others for another', async () => {
    const [prefill, decode] = await pair();
    const words = async (content: string) =>
      (await ask(prefill, decode, { messages: [{ role: 'user', content }] })).decode.json<{
        choices: [{ message: { content: string } }];
      }>().choices[0].message.content;
    const first = await words('one');
    expect(await words('one')).toBe(first);
    expect(await words('two')).not.toBe(first);
  });

  it('streams a role first, no chunk for tokens without text, usage only on request, and [DONE]', async () => {
    const [prefill, decode] = await pair();
    const { decode: plain } = await ask(prefill, decode, { stream: true, max_tokens: 40 });
    const { decode: told } = await ask(prefill, decode, {
      stream: true,
      max_tokens: 40,
      stream_options: { include_usage: true },
    });
    expect(plain.headers['content-type']).toMatch(/^text\/event-stream/);
    const chunks = events(plain.text);
    expect(chunks[0]).toMatchObject({
      object: 'chat.completion.chunk',
      choices: [{ delta: { role: 'assistant', content: '' } }],
    });
    expect(chunks.length).toBe(1 + 30 + 1 + 1);
    expect(chunks.at(-2)).toMatchObject({ choices: [{ delta: { reasoning_content: null }, finish_reason: 'length' }] });
    expect(chunks.at(-1)).toBe('[DONE]');
    expect(plain.text).not.toContain('usage');
    expect(events(told.text).at(-2)).toMatchObject({ choices: [], usage: { completion_tokens: 40 } });
  });

  it('answers text completions and /generate in their own shapes', async () => {
    const [prefill, decode] = await pair();
    const both = async (path: string, body: Record<string, unknown>) => {
      const sent = { ...body, ...meeting(prefill) };
      return (await Promise.all([prefill.post(path, sent), decode.post(path, sent)]))[1].json();
    };
    expect(await both('/v1/completions', { prompt: 'x', max_tokens: 4 })).toMatchObject({
      object: 'text_completion',
      choices: [{ text: expect.any(String), finish_reason: 'length' }],
    });
    expect(await both('/generate', { text: 'x', sampling_params: { max_new_tokens: 4 } })).toMatchObject({
      text: expect.any(String),
      output_ids: [expect.any(Number), expect.any(Number), expect.any(Number), expect.any(Number)],
      meta_info: { finish_reason: { type: 'length', length: 4 }, completion_tokens: 4, weight_version: 'default' },
    });
  });

  it('shows a long request running on decode alone, and nothing left after it', async () => {
    const [prefill, decode] = await pair();
    const asked = ask(prefill, decode, LONG);
    await eventually(async () => (await decode.load()).num_running_reqs === 1);
    expect((await prefill.load()).num_running_reqs).toBe(0);
    expect((await decode.get('/v1/loads')).json()).toMatchObject({ loads: [{ num_waiting_reqs: 0 }] });
    expect(decode.counts().open).toBe(1);
    await decode.post('/abort_request', { abort_all: true });
    const { decode: answer } = await asked;
    expect(events(answer.text).at(-2)).toMatchObject({ choices: [{ finish_reason: 'abort' }] });
    expect(await decode.load()).toMatchObject({ num_running_reqs: 0, num_waiting_reqs: 0 });
  });

  it('prefills one prompt after the other while the rest wait', async () => {
    const [prefill, decode] = await pair({ timing: { prefillMsPerToken: patient(80) } });
    const asked = [1, 2, 3].map(() => ask(prefill, decode));
    const load = await eventually(async () => {
      const seen = await prefill.load();
      const met = seen.disaggregation['prefill_bootstrap_queue_reqs'] === 0;
      return met && seen.num_running_reqs === 1 && seen.num_waiting_reqs === 2 && seen;
    });
    expect(load.disaggregation).toMatchObject({ mode: 'prefill', prefill_inflight_queue_reqs: 0 });
    expect((await decode.load()).disaggregation).toMatchObject({ mode: 'decode', decode_transfer_queue_reqs: 3 });
    expect((await Promise.all(asked)).map(({ decode: answer }) => answer.status)).toEqual([200, 200, 200]);
  });
});

describe('a request without its other half', () => {
  // Five seconds, of a tenth of a second each: a queue is to be seen in them.
  const soon = {
    timing: { secondMs: patient(100) },
    env: { SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT: '5', SGLANG_DISAGGREGATION_WAITING_TIMEOUT: '5' },
  };

  it('is refused as text without bootstrap fields', async () => {
    const [, decode] = await pair();
    const answer = await decode.post(chat, chatBody());
    expect(answer.status).toBe(400);
    expect(answer.json()).toEqual({
      object: 'error',
      message: expect.stringMatching(
        /^Invalid request: Disaggregated request received without bootstrap room id\. req\.rid='/,
      ),
      type: 'BadRequestError',
      param: null,
      code: 400,
    });
  });

  it('is an error inside a 200 stream without bootstrap fields', async () => {
    const [prefill] = await pair();
    const answer = await prefill.post(chat, chatBody({ stream: true }));
    expect(answer.status).toBe(200);
    expect(events(answer.text)).toEqual([
      { error: expect.objectContaining({ type: 'BAD_REQUEST', code: 400 }) },
      '[DONE]',
    ]);
  });

  it('fails on decode with 500 after the waiting time-out, seen in the transfer queue until then', async () => {
    const [prefill, decode] = await pair(soon);
    const asked = decode.post(chat, chatBody(meeting(prefill)));
    await eventually(async () => (await decode.load()).disaggregation['decode_transfer_queue_reqs'] === 1);
    expect((await decode.get('/ready')).status).toBe(200);
    const answer = await asked;
    expect(answer.status).toBe(500);
    expect(answer.json()).toMatchObject({
      type: '500',
      message: expect.stringMatching(/^Decode transfer failed .* timed out after 5\.0s in KVPoll\.WaitingForInput$/),
    });
    expect(decode.counts()).toMatchObject({ received: 1, failed: 1, answered: 0 });
  });

  it('fails on prefill with 500 after the bootstrap time-out, seen in the bootstrap queue until then', async () => {
    const [prefill] = await pair(soon);
    const asked = prefill.post(chat, chatBody(meeting(prefill)));
    await eventually(async () => (await prefill.load()).disaggregation['prefill_bootstrap_queue_reqs'] === 1);
    expect((await asked).json()).toMatchObject({
      message: expect.stringMatching(/^Prefill bootstrap failed .* timed out after 5\.0s in KVPoll\.Bootstrapping$/),
    });
  });

  it('fails on both sides when the rooms differ', async () => {
    const [prefill, decode] = await pair(soon);
    const answers = await Promise.all([
      prefill.post(chat, chatBody(meeting(prefill))),
      decode.post(chat, chatBody(meeting(prefill))),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([500, 500]);
  });

  it('is an error inside a 200 stream when the time-out comes', async () => {
    const [prefill, decode] = await pair(soon);
    const answer = await decode.post(chat, chatBody({ stream: true, ...meeting(prefill) }));
    expect(answer.status).toBe(200);
    expect(events(answer.text)).toEqual([
      { error: expect.objectContaining({ type: 'INTERNAL_SERVER_ERROR', code: 500 }) },
      '[DONE]',
    ]);
  });

  it('fails on decode after fifteen tries, and not before, at a bootstrap port that does not answer', async () => {
    const decode = await serve({ role: 'decode', model, timing: { secondMs: patient(50) } });
    let tries = 0;
    const dead = createTcpServer((socket) => {
      tries += 1;
      socket.destroy();
    });
    const host = freshAddress();
    await new Promise<void>((resolve) => dead.listen(8998, host, resolve));
    dead.unref();
    const asked = decode.post(chat, chatBody({ bootstrap_host: host, bootstrap_port: 8998, bootstrap_room: 1 }));
    await eventually(async () => (await decode.load()).disaggregation['decode_prealloc_queue_reqs'] === 1);
    expect((await asked).json()).toMatchObject({ message: expect.stringMatching(/^Decode handshake failed/) });
    expect(tries).toBe(15);
    dead.close();
  });

  it('is answered by one engine alone at the fake bootstrap 2.2.2.2', async () => {
    const [prefill, decode] = await pair();
    const body = chatBody({ bootstrap_host: '2.2.2.2', bootstrap_room: 0 });
    expect((await decode.post(chat, body)).json()).toMatchObject({ usage: { completion_tokens: 8 } });
    expect((await prefill.post(chat, body)).json()).toMatchObject({ usage: { completion_tokens: 1 } });
  });

  it.each([
    ['leave the prefill engine', 'prefill', 'prefill', 'prefill_inflight_queue_reqs'],
    ['reach the decode engine', 'decode', 'decode', 'decode_transfer_queue_reqs'],
  ] as const)('hangs on healthy engines when KV caches never %s', async (_, faulty, seen, queue) => {
    const faults = { transferStuck: true };
    const prefill = await serve({ role: 'prefill', model, ...soon, ...(faulty === 'prefill' && { faults }) });
    const decode = await serve({ role: 'decode', model, ...soon, ...(faulty === 'decode' && { faults }) });
    const asked = ask(prefill, decode);
    const engine = { prefill, decode }[seen];
    await eventually(async () => (await engine.load()).disaggregation[queue] === 1);
    expect((await engine.get('/ready')).status).toBe(200);
    expect((await asked).decode.status).toBe(500);
  });

  it('is aborted some seconds after its client left', async () => {
    const [prefill] = await pair();
    const socket = send(prefill, chatBody(meeting(prefill)));
    await eventually(() => prefill.counts().open === 1);
    socket.destroy();
    await eventually(() => prefill.counts().open === 0);
    expect(prefill.counts()).toMatchObject({ received: 1, aborted: 1 });
  });

  it('is aborted also when its client left in the middle of a stream', async () => {
    const [prefill, decode] = await pair();
    const body = chatBody({ ...meeting(prefill), ...LONG });
    const socket = send(decode, body);
    await Promise.all([prefill.post(chat, body), once(socket, 'data')]);
    socket.destroy();
    await eventually(() => decode.counts().open === 0);
    expect(decode.counts()).toMatchObject({ received: 1, aborted: 1, answered: 0 });
    expect((await ask(prefill, decode)).decode.status).toBe(200);
  });
});

describe('halves of different KV generations', () => {
  it.each([
    ['weights', async () => ({ model: await modelFolder('weights of revision two') })],
    ['KV cache types', () => ({ model, args: ['--kv-cache-dtype', 'fp8_e4m3'] })],
    ['page sizes', () => ({ model, args: ['--page-size', '64'] })],
    ['transfer backends', () => ({ model, args: ['--disaggregation-transfer-backend', 'mori'] })],
    ['versions', () => ({ model, version: '0.5.10.post1' })],
    ['images', () => ({ model, image: 'rocm/sgl-dev:other' })],
  ])('of different %s get an error on both sides, counted and logged', async (_, other) => {
    const prefill = await serve({ role: 'prefill', model });
    const decode = await serve({ role: 'decode', ...(await other()) });
    const answers = await ask(prefill, decode);
    expect([answers.prefill.status, answers.decode.status]).toEqual([500, 500]);
    expect([prefill.counts().crossed, decode.counts().crossed]).toEqual([1, 1]);
    expect(await decode.logged('KV generation crossed: room')).toContain('its other half');
  });

  it('are one generation when only role, host, memory and batch flags differ', async () => {
    const prefill = await serve({ role: 'prefill', model, args: ['--tp', '8', '--mem-fraction-static', '0.7'] });
    const decode = await serve({ role: 'decode', model: await modelFolder(), args: ['--max-running-requests', '64'] });
    expect((await ask(prefill, decode)).decode.status).toBe(200);
    expect(decode.counts().crossed).toBe(0);
  });
});

describe('a starting engine', () => {
  it('refuses connections, opens its bootstrap port, then answers 503 on /ready beside 200 on /v1/models, then is ready', async () => {
    const engine = await begin({
      role: 'prefill',
      model,
      timing: { startSeconds: patient(1_000) / 1_000, warmupSeconds: patient(1_000) / 1_000 },
    });
    expect(await refused(engine)).toBe(true);
    await engine.logged('CommonKVBootstrapServer started successfully on');
    expect(await refused(engine)).toBe(true);
    expect(await opens(engine.host, engine.bootstrapPort)).toBe(true);
    await engine.logged('Uvicorn running on');
    const early = await Promise.all(
      ['/ready', '/health', '/health_generate', '/ping', '/v1/models', '/server_info', '/v1/loads'].map((path) =>
        engine.get(path),
      ),
    );
    expect(early.map(({ status }) => status)).toEqual([503, 503, 503, 503, 200, 200, 200]);
    await engine.ready;
    expect((await engine.get('/ready')).status).toBe(200);
  });

  it('logs its marks in their order, and that it is fired up exactly once', async () => {
    const engine = await serve({ role: 'prefill', model });
    const own = MARKS.filter((mark) => !mark.startsWith('End of prefill')); // What older releases say.
    const at = own.map((mark) => engine.lines.findIndex((line) => line.includes(mark)));
    expect(at).toEqual([...at].toSorted((a, b) => a - b));
    expect(at).not.toContain(-1);
    expect(engine.lines.filter((line) => line.includes('fired up'))).toHaveLength(1);
    expect(engine.lines.every((line) => /^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] /.test(line))).toBe(true);
  });

  it('takes a whole second for a good /health, whatever its other times are', async () => {
    const engine = await serve({ model });
    const from = performance.now();
    expect((await engine.get('/health')).status).toBe(200);
    expect(performance.now() - from).toBeGreaterThanOrEqual(995);
  });

  it.each([
    ['an unknown flag', ['--no-such-flag', '1'], 2, 'sglang serve: error: unrecognized arguments: --no-such-flag 1'],
    [
      'a bad choice',
      ['--disaggregation-transfer-backend', 'bogus'],
      2,
      "invalid choice: 'bogus' (choose from 'mooncake', 'nixl'",
    ],
    ['a bad number', ['--page-size', 'abc'], 2, "argument --page-size: invalid int value: 'abc'"],
    ['a flag without its value', ['--page-size'], 2, 'argument --page-size: expected one argument'],
    ['an ambiguous prefix', ['--disaggregation-d', '1'], 2, 'ambiguous option: --disaggregation-d could match'],
    ['too little memory', ['--mem-fraction-static', '0.0001'], 137, 'kill_process_tree called'],
  ])('ends on %s', async (_, args, code, last) => {
    const engine = await begin({ model, args });
    expect(await engine.exited).toBe(code);
    expect(engine.lines.at(-1)).toContain(last);
    expect(await refused(engine)).toBe(true);
  });

  it.each([
    ['killed while it loads', { killedWhileLoading: true }, 'a common cause is the OS OOM killer'],
    ['out of memory', { outOfMemory: true }, 'Loaded weights leave no GPU memory for the KV cache'],
  ])('ends with 137 when %s', async (_, faults, reason) => {
    const engine = await begin({ model, faults });
    expect(await engine.exited).toBe(137);
    await engine.logged(reason);
  });

  it('ends with 1 when the model folder is not there', async () => {
    const engine = await begin({ model: '/no/such/model' });
    expect(await engine.exited).toBe(1);
    expect(engine.lines.at(-1)).toContain('OSError: Repo id must be in the form');
  });

  it('knows the flags of its version: one that came later is unknown', async () => {
    const engine = await begin({ model, version: '0.5.10.post1', args: ['--enable-pd-role-switch'] });
    expect(await engine.exited).toBe(2);
  });

  it('takes abbreviations and attached values as argparse does', async () => {
    const engine = await serve({ model, args: ['--tp', '8', '--context-length=4k', '--mem-fraction', '0.5'] });
    expect((await engine.get('/server_info')).json()).toMatchObject({
      tp_size: 8,
      context_length: 4000,
      mem_fraction_static: 0.5,
      max_req_input_len: 3994,
    });
  });

  it('is ready on a taken bootstrap port, and the first owner’s requests hang until the time-out', async () => {
    const env = { SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT: '75', SGLANG_DISAGGREGATION_WAITING_TIMEOUT: '75' };
    const [first, decode] = await pair({ env });
    expect((await ask(first, decode)).decode.status).toBe(200);
    const second = await serve({ role: 'prefill', model, host: first.host, bootstrapPort: first.bootstrapPort, env });
    expect(second.lines.join('\n')).toMatch(/Server error: \[Errno 98\].*address already in use/);
    expect(second.lines.join('\n')).not.toContain('CommonKVBootstrapServer started');
    expect((await second.get('/ready')).status).toBe(200);
    const asked = ask(first, decode);
    await eventually(async () => (await first.load()).disaggregation['prefill_bootstrap_queue_reqs'] === 1);
    expect((await decode.load()).disaggregation['decode_transfer_queue_reqs']).toBe(1);
    expect((await asked).decode.status).toBe(500);
    second.signal('SIGKILL');
    expect((await ask(first, decode)).decode.status).toBe(500);
  });

  it('is killed after "fired up" when its HTTP port is another engine’s', async () => {
    const first = await serve({ model });
    const second = await begin({ model, host: first.host, port: first.port });
    expect(await second.exited).toBe(137);
    expect(second.lines.at(-2)).toContain('fired up and ready to roll');
    expect(second.lines.at(-1)).toContain('kill_process_tree called');
    expect(second.lines.join('\n')).toContain('[Errno 98] error while attempting to bind on address');
    expect((await first.get('/ready')).status).toBe(200);
  });

  it('gives up after 120 tries when its HTTP port is a foreign server’s', async () => {
    const host = freshAddress();
    const foreign = createServer((_, res) => res.writeHead(404).end());
    await new Promise<void>((resolve) => foreign.listen(39_000, host, resolve));
    foreign.unref();
    const engine = await begin({ model, host, port: 39_000, timing: { secondMs: 1 } });
    expect(await engine.exited).toBe(137);
    expect(engine.lines.join('\n')).toContain('Initialization failed. warmup error');
    expect(engine.lines.join('\n')).not.toContain('fired up');
    foreign.close();
    foreign.closeAllConnections();
  });

  it('never listens, is never ready, claims another role, ends or hangs later, when told so', async () => {
    const deaf = await begin({ model, faults: { neverListens: true } });
    const unready = await begin({ model, faults: { neverReady: true } });
    const liar = await serve({ role: 'prefill', model, faults: { saysRole: 'decode' } });
    const brief = await serve({ model, faults: { exitsAfterReady: { seconds: 1, exitCode: 3 } } });
    const hung = await serve({ model, faults: { hangsAfterReady: { seconds: 1 } } });
    await Promise.all([deaf.logged('Engine startup timings'), unready.logged('Uvicorn running on')]);
    expect(await refused(deaf)).toBe(true);
    expect((await unready.get('/ready')).status).toBe(503);
    expect((await liar.get('/model_info')).json()).toMatchObject({ disaggregation_mode: 'decode' });
    expect(await brief.exited).toBe(3);
    await eventually(async () => (await within(100, hung.get('/ready'))) === 'silence');
    expect(await opens(hung.host, hung.port)).toBe(true);
  });
});

describe('a signalled engine', () => {
  it('answers 503 on health at SIGTERM, goes on accepting, ends its streams and exits 0', async () => {
    const [prefill, decode] = await pair();
    const running = ask(prefill, decode, WHILE);
    await eventually(async () => (await decode.load()).num_running_reqs === 1);
    decode.signal('SIGTERM');
    const probes = await Promise.all(['/ready', '/health', '/v1/models', '/v1/loads'].map((path) => decode.get(path)));
    expect(probes.map(({ status }) => status)).toEqual([503, 503, 200, 200]);
    const late = await ask(prefill, decode);
    expect(late.decode.status).toBe(200);
    expect(events((await running).decode.text).at(-2)).toMatchObject({ choices: [{ finish_reason: 'length' }] });
    expect(await decode.exited).toBe(0);
    expect(decode.lines.join('\n')).toMatch(/SIGTERM received[^]*Remaining number of requests 0/);
    expect(await refused(decode)).toBe(true);
  });

  it('does not end at SIGTERM while a request is stuck', async () => {
    const [prefill] = await pair();
    const stuck = prefill.post(chat, chatBody(meeting(prefill)));
    await eventually(() => prefill.counts().open === 1);
    prefill.signal('SIGTERM');
    await prefill.logged('Remaining number of requests 1. Remaining requests remaining_rids=["');
    expect((await prefill.get('/v1/loads')).status).toBe(200);
    await prefill.post('/abort_request', { abort_all: true });
    expect((await stuck).json()).toMatchObject({ choices: [{ finish_reason: 'abort' }] });
    expect(await prefill.exited).toBe(0);
  });

  it('cuts its streams at SIGKILL, frees its ports and exits 137', async () => {
    const [prefill, decode] = await pair();
    const running = ask(prefill, decode, LONG);
    await eventually(async () => (await decode.load()).num_running_reqs === 1);
    decode.signal('SIGKILL');
    await expect(running).rejects.toThrow(/aborted|hang up|reset/i);
    expect(await decode.exited).toBe(137);
    expect(await refused(decode)).toBe(true);
    const again = await serve({ role: 'decode', model, host: decode.host, port: decode.port });
    expect((await ask(prefill, again)).decode.status).toBe(200);
  });

  it('leaves requests on decode to fail after SIGKILL of their prefill engine, and streams untouched', async () => {
    const [prefill, decode] = await pair({ timing: { prefillMsPerToken: patient(50) } });
    const stream = ask(prefill, decode, WHILE);
    await eventually(async () => (await decode.load()).num_running_reqs === 1);
    const body = chatBody(meeting(prefill));
    const lost = prefill.post(chat, body).catch(() => 'cut');
    const half = decode.post(chat, body);
    await eventually(async () => (await prefill.load()).num_running_reqs === 1);
    prefill.signal('SIGKILL');
    expect(await lost).toBe('cut');
    expect((await half).json()).toMatchObject({
      message: expect.stringContaining('Lost connection with prefill instance'),
    });
    expect(events((await stream).decode.text).at(-2)).toMatchObject({ choices: [{ finish_reason: 'length' }] });
    const restarted = await serve({ role: 'prefill', model, host: prefill.host, bootstrapPort: prefill.bootstrapPort });
    expect((await ask(restarted, decode)).decode.status).toBe(200);
  });

  it('stands still between SIGSTOP and SIGCONT and loses nothing', async () => {
    const [prefill, decode] = await pair();
    const running = ask(prefill, decode, WHILE);
    await eventually(async () => (await decode.load()).num_running_reqs === 1);
    decode.signal('SIGSTOP');
    expect(await within(150, decode.get('/ready'))).toBe('silence');
    decode.signal('SIGTERM');
    expect(decode.lines.join('\n')).not.toContain('SIGTERM received');
    decode.signal('SIGCONT');
    expect(events((await running).decode.text).at(-1)).toBe('[DONE]');
    expect(await decode.exited).toBe(0);
  });

  it('is gone at once when SIGTERM comes before it serves', async () => {
    const engine = await begin({ model, timing: { startSeconds: 30 } });
    engine.signal('SIGTERM');
    expect(await engine.exited).toBe(143);
  });
});

describe('control endpoints', () => {
  it.each(['in_place', 'retract'])('pause %s lets streams stand still until they are continued', async (mode) => {
    const [prefill, decode] = await pair();
    const running = ask(prefill, decode, WHILE);
    await eventually(async () => (await decode.load()).num_running_reqs === 1);
    expect((await decode.post('/pause_generation', { mode })).json()).toEqual({
      message: 'Generation paused successfully.',
      status: 'ok',
    });
    expect((await decode.get('/ready')).status).toBe(503);
    expect(await within(1300, decode.get('/health'))).toBe('silence');
    expect((await decode.load()).num_running_reqs).toBe(1);
    await decode.post('/continue_generation', {});
    expect(events((await running).decode.text).at(-2)).toMatchObject({ choices: [{ finish_reason: 'length' }] });
  });

  it('pause abort ends open streams, and a new request waits for the continue', async () => {
    const [prefill, decode] = await pair();
    const running = ask(prefill, decode, LONG);
    await eventually(async () => (await decode.load()).num_running_reqs === 1);
    await decode.post('/pause_generation', { mode: 'abort' });
    expect(events((await running).decode.text).at(-2)).toMatchObject({ choices: [{ finish_reason: 'abort' }] });
    const late = ask(prefill, decode);
    await eventually(() => decode.counts().open === 1);
    await decode.post('/continue_generation', {});
    expect((await late).decode.status).toBe(200);
  });

  it('refuse without a body, and a flush while busy', async () => {
    const [prefill] = await pair();
    for (const path of ['/pause_generation', '/continue_generation', '/abort_request']) {
      expect((await prefill.post(path, undefined)).status).toBe(400);
    }
    expect((await prefill.get('/flush_cache')).text).toMatch(/^Cache flushed/);
    const stuck = prefill.post(chat, chatBody(meeting(prefill)));
    await eventually(() => prefill.counts().open === 1);
    expect(await prefill.post('/flush_cache', {})).toMatchObject({ status: 400, text: 'Flush cache failed.\n' });
    await prefill.post('/abort_request', { abort_all: true });
    await stuck;
  });

  it('switch the role only with the flag, and then the engine really plays the other one', async () => {
    const stiff = await serve({ role: 'decode', model });
    expect(await stiff.post('/pd_role_switch', { new_role: 'prefill' })).toMatchObject({ status: 400 });
    const bootstrap = {
      bootstrapPort: 38_998,
      args: ['--enable-pd-role-switch', '--disaggregation-bootstrap-port', '38998'],
    };
    const engine = await serve({ role: 'decode', model, ...bootstrap });
    expect((await engine.post('/pd_role_switch', { new_role: 'prefill' })).json()).toMatchObject({
      success: true,
      old_role: 'decode',
      new_role: 'prefill',
      safe_to_restore: false,
    });
    expect((await engine.get('/model_info')).json()).toMatchObject({ disaggregation_mode: 'prefill' });
    expect((await engine.get('/server_info')).json()).toMatchObject({ disaggregation_mode: 'decode' });
    expect((await ask(engine, stiff)).decode.status).toBe(200);
    expect((await engine.post('/pd_role_switch', { new_role: 'decode' })).status).toBe(400);
  });
});

describe('HTTP', () => {
  it.each([
    ['GET', '/get_load', 404, { detail: 'Not Found' }],
    ['GET', '/metrics', 404, { detail: 'Not Found' }],
    ['GET', chat, 405, { detail: 'Method Not Allowed' }],
    ['GET', '/', 200, 'SGLang is running'],
    ['GET', '/v1/models/x', 404, { error: expect.objectContaining({ code: 'model_not_found' }) }],
  ])('answers %s %s with %i', async (_, path, status, body) => {
    const engine = await serve({ model });
    const answer = await engine.get(path);
    expect(answer).toMatchObject({ status, headers: { server: 'uvicorn', vary: 'Origin' } });
    expect(answer.json()).toEqual(body);
  });

  it.each([
    ['no messages', { model: 'x' }],
    ['an empty list of messages', { messages: [] }],
    ['a bad limit', chatBody({ max_tokens: 'many' })],
    ['a prompt longer than the context', chatBody({ messages: [{ role: 'user', content: 'x'.repeat(20_000) }] })],
  ])('refuses %s with 400', async (_, body) => {
    const engine = await serve({ model });
    const answer = await engine.post(chat, body);
    expect(answer.status).toBe(400);
    expect(answer.json()).toMatchObject({ object: 'error', param: null, code: 400 });
    expect(engine.counts().received).toBe(0);
  });
});

describe('metrics', () => {
  it('keep the PD queues at 0 while /v1/loads tells of requests that are stuck', async () => {
    const prefill = await serve({ role: 'prefill', model, args: ['--enable-metrics'] });
    const stuck = prefill.post(chat, chatBody(meeting(prefill)));
    await eventually(async () => (await prefill.load()).disaggregation['prefill_bootstrap_queue_reqs'] === 1);
    const { text } = await prefill.get('/metrics');
    expect(text).toMatch(/^sglang:num_prefill_bootstrap_queue_reqs\{.*\} 0\.0$/m);
    expect(text).not.toContain('num_transfer_failed_reqs_total{');
    await prefill.post('/abort_request', { abort_all: true });
    await stuck;
  });

  it('count a prefill engine’s requests, by which it is told that it took part', async () => {
    const prefill = await serve({ role: 'prefill', model, args: ['--enable-metrics'] });
    const decode = await serve({ role: 'decode', model, args: ['--enable-metrics'] });
    await ask(prefill, decode);
    const count = /^sglang:num_requests_total\{engine_type="(\w+)",is_streaming="false",model_name=".*"\} 1\.0$/m;
    expect(count.exec((await prefill.get('/metrics')).text)?.[1]).toBe('prefill');
    expect(count.exec((await decode.get('/metrics')).text)?.[1]).toBe('decode');
    expect((await prefill.get('/metrics')).text).not.toContain('time_to_first_token_seconds');
  });
});

describe('keys', () => {
  const bearer = (key: string) => ({ authorization: `Bearer ${key}` });
  const OPEN = ['/ready', '/metrics'];
  const API = ['/', '/ping', '/v1/models', '/model_info', '/server_info', '/v1/loads'];

  it('from a file open and close what a real engine’s do', async () => {
    const file = join(await temporary(), 'keys.yaml');
    await writeFile(file, 'api-key: K-client\nadmin-api-key: K-admin\n');
    const engine = await serve({ model, args: ['--config', file, '--enable-metrics'] });
    const status = async (path: string, key: string) => (await engine.get(path, bearer(key))).status;
    const table = async (paths: string[]) =>
      await Promise.all(paths.map((path) => Promise.all(['', 'K-client', 'K-admin'].map((key) => status(path, key)))));
    expect(await table(OPEN)).toEqual(OPEN.map(() => [200, 200, 200]));
    expect(await table(API)).toEqual(API.map(() => [401, 200, 401]));
    expect(await table(['/flush_cache'])).toEqual([[401, 401, 200]]);
    expect((await engine.get('/v1/models')).json()).toEqual({ error: 'Unauthorized' });
    const info = (await engine.get('/server_info', bearer('K-client'))).json();
    expect(info).toMatchObject({ api_key: 'K-client', admin_api_key: 'K-admin' });
    expect(info['launch_command']).not.toContain('K-');
    expect(await engine.logged('server_args=')).toContain('K-admin');
  });

  it('on the command line show there too, and the client’s one opens control where there is no admin’s', async () => {
    const engine = await serve({ model, args: ['--api-key', 'K-client'] });
    expect((await engine.get('/server_info', bearer('K-client'))).json()['launch_command']).toContain('K-client');
    expect((await engine.get('/flush_cache', bearer('K-client'))).status).toBe(200);
    expect((await engine.get('/flush_cache', bearer('wrong'))).status).toBe(401);
  });
});

describe('an engine over two hosts', () => {
  const ranks = async () => {
    const leader = freshAddress();
    const args = (rank: number) => [
      '--nnodes',
      '2',
      '--node-rank',
      String(rank),
      '--dist-init-addr',
      `${leader}:37000`,
    ];
    const follower = await begin({ role: 'prefill', model, args: args(1) });
    const first = await begin({ role: 'prefill', model, host: leader, args: args(0) });
    return { first, follower };
  };

  it('serves at rank 0 alone, and its other rank ends with it', async () => {
    const { first, follower } = await ranks();
    await Promise.all([first.ready, follower.ready]);
    expect(await refused(follower)).toBe(true);
    expect(await opens(follower.host, follower.bootstrapPort)).toBe(false);
    const decode = await serve({ role: 'decode', model });
    expect((await ask(first, decode)).decode.status).toBe(200);
    first.signal('SIGTERM');
    expect(await Promise.all([first.exited, follower.exited])).toEqual([0, 0]);
  });

  it('is gone when one of its ranks is killed', async () => {
    const { first, follower } = await ranks();
    await first.ready;
    follower.signal('SIGKILL');
    expect(await first.exited).toBe(137);
  });

  it('never serves while a rank is missing', async () => {
    const alone = await begin({
      model,
      args: ['--nnodes', '2', '--node-rank', '0', '--dist-init-addr', `${freshAddress()}:37000`],
    });
    await alone.logged('server_args=');
    expect(await within(200, alone.ready)).toBe('silence');
    expect(await refused(alone)).toBe(true);
  });
});

/** Posts a chat on a connection that a test can cut. */
function send({ host, port }: TestEngine, asked: unknown): Socket {
  const body = JSON.stringify(asked);
  const socket = connect(port, host);
  socket.write(
    `POST ${chat} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  return socket;
}

const within = async <T>(ms: number, promise: Promise<T>): Promise<T | 'silence'> => {
  promise.catch(() => undefined);
  return await Promise.race([promise, new Promise<'silence'>((resolve) => setTimeout(resolve, ms, 'silence'))]);
};

const opens = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, host, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
