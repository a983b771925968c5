import { createHash } from 'node:crypto';
import { mkdtemp, mkdir, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from '@jest/globals';
import { startEngine } from '../../src/sim/engine/engine.ts';
import type { EngineOptions, EngineSignal, RunningEngine } from '../../src/sim/engine/types.ts';
import { patient } from '../support/patience.ts';

/** An engine as tests ask it, simulated or not. */
export interface AskedEngine extends Omit<RunningEngine, 'counts'> {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly bootstrapPort: number;
  readonly lines: string[];
  get(path: string, headers?: Record<string, string>): Promise<Answer>;
  /** The body goes as JSON; text as it is. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** Resolves once a line of the log holds `text`. */
  logged(text: string): Promise<string>;
  load(): Promise<Load>;
}

/** Simulated engines for tests: quick, on addresses of their own, and ended by `endAll`. */
export interface TestEngine extends AskedEngine, RunningEngine {}

export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly text: string;
  // Tests read answers of many shapes; each asserts what it reads.
  json<T = Record<string, unknown>>(): T;
}

export interface Load {
  readonly num_running_reqs: number;
  readonly num_waiting_reqs: number;
  readonly disaggregation: Record<string, unknown>;
}

const started: RunningEngine[] = [];
let lastAddress = 0;
let port = 31_000;

/** Of the suite, which runs once at a time on a machine. */
const BLOCK =
  createHash('sha256')
    .update(process.env['TANDEM_TEST_SUITE'] ?? '')
    .digest()[0]! % 250;

/** A loopback address that no other test uses. */
export const freshAddress = () => `127.83.${BLOCK}.${(lastAddress = (lastAddress % 250) + 1)}`;

const folders: string[] = [];
afterAll(() => Promise.all(folders.splice(0).map((folder) => rm(folder, { recursive: true }))));

/** A folder that is gone after the tests of the file. */
export async function temporary(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'tandem-engine-'));
  folders.push(folder);
  return folder;
}

export async function modelFolder(weights = 'weights of revision one'): Promise<string> {
  const folder = join(await temporary(), 'tiny');
  await mkdir(folder);
  await writeFile(
    join(folder, 'config.json'),
    JSON.stringify({ architectures: ['Qwen2ForCausalLM'], model_type: 'qwen2', max_position_embeddings: 2048 }),
  );
  await writeFile(join(folder, 'model.safetensors'), weights);
  return folder;
}

export type Given = Partial<Omit<EngineOptions, 'argv' | 'log'>> & {
  role?: 'prefill' | 'decode' | 'null';
  model: string;
  args?: readonly string[];
  host?: string;
  port?: number;
  bootstrapPort?: number;
};

/** The flags of every engine of these tests. */
export function flagsOf({ role, model, args, host, port: http, bootstrapPort }: Placed): readonly string[] {
  const place = ['--model-path', model, '--host', host, '--port', String(http), '--disaggregation-mode', role];
  const bootstrap = role === 'prefill' ? ['--disaggregation-bootstrap-port', String(bootstrapPort)] : [];
  return [...place, ...bootstrap, ...args];
}

type Placed = ReturnType<typeof placed>;

/** What was given, on an address and ports of its own where it says none. */
export const placed = (given: Given) => ({
  ...given,
  role: given.role ?? 'null',
  args: given.args ?? [],
  host: given.host ?? freshAddress(),
  port: given.port ?? (port += 1),
  bootstrapPort: given.bootstrapPort ?? (port += 1),
});

/** Starts one and returns at once; `ready` tells when it serves. */
export async function begin(given: Given): Promise<TestEngine> {
  const place = placed(given);
  const { log, ...client } = clientOf(place);
  // What a test is to see while it lasts, lasts longer on a slower machine.
  const pace = { secondMs: patient(20), decodeMsPerToken: patient(2) };
  const timing = { startSeconds: 0.04, warmupSeconds: 0.02, ...pace, ...given.timing };
  const engine = await startEngine({ ...given, timing, argv: flagsOf(place), log });
  started.push(engine);
  return Object.assign(client, {
    signal: (name: EngineSignal) => engine.signal(name),
    counts: () => engine.counts(),
    exited: engine.exited,
    ready: engine.ready,
  });
}

/** How an engine is asked, and where its log goes. */
export function clientOf({ host, port: http, bootstrapPort }: Pick<Placed, 'host' | 'port' | 'bootstrapPort'>) {
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  const url = `http://${host}:${http}`;
  const get: AskedEngine['get'] = (path, headers = {}) => call(url + path, { method: 'GET', headers });
  return {
    url,
    host,
    port: http,
    bootstrapPort,
    lines,
    get,
    post: (path: string, body: unknown, headers: Record<string, string> = {}) =>
      call(url + path, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      }),
    logged: (text: string) =>
      new Promise<string>((resolve) => {
        const look = () => {
          const line = lines.find((candidate) => candidate.includes(text));
          if (line === undefined) return;
          waiting.delete(look);
          resolve(line);
        };
        waiting.add(look);
        look();
      }),
    load: async () => (await get('/v1/loads')).json<{ loads: [Load] }>().loads[0],
    log: (line: string) => {
      lines.push(line);
      for (const look of waiting) look();
    },
  };
}

export async function serve(given: Given): Promise<TestEngine> {
  const engine = await begin(given);
  const early = await Promise.race([engine.ready, engine.exited]);
  if (typeof early === 'number') throw new Error(`the engine ended with ${early}:\n${engine.lines.join('\n')}`);
  return engine;
}

export async function endAll(): Promise<void> {
  for (const engine of started) engine.signal('SIGKILL');
  await Promise.all(started.splice(0).map(({ exited }) => exited));
}

let room = 0;
/** The fields by which a router tells both halves of each other. */
export const meeting = (prefill: AskedEngine) => ({
  bootstrap_host: prefill.host,
  bootstrap_port: prefill.bootstrapPort,
  bootstrap_room: (room += 1),
});

export const chatBody = (more: Record<string, unknown> = {}) => ({
  model: 'any-name',
  messages: [{ role: 'user', content: 'How far is the moon?' }],
  max_tokens: 8,
  ...more,
});

/** Sends both halves of one request, as a router does. */
export async function ask(
  prefill: AskedEngine,
  decode: AskedEngine,
  more: Record<string, unknown> = {},
): Promise<{ prefill: Answer; decode: Answer }> {
  const body = chatBody({ ...meeting(prefill), ...more });
  const [first, second] = await Promise.all([
    prefill.post('/v1/chat/completions', body),
    decode.post('/v1/chat/completions', body),
  ]);
  return { prefill: first, decode: second };
}

/** The chunks of an event stream, the last of them '[DONE]'. */
export const events = (text: string): unknown[] =>
  text
    .split('\n\n')
    .filter((event) => event !== '')
    .map((event) => (event === 'data: [DONE]' ? '[DONE]' : (JSON.parse(event.replace(/^data: /, '')) as unknown)));

function call(url: string, init: { method: string; headers: Record<string, string>; body?: string }): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request(url, { method: init.method, headers: init.headers, agent: false }, (res) => {
      res.setEncoding('utf8');
      let text = '';
      res.on('data', (part: string) => (text += part));
      res.on('error', reject);
      res.on('end', () =>
        resolve({
          status: res.statusCode ?? 0,
          headers: res.headers as Record<string, string>,
          text,
          json: <T>() => JSON.parse(text) as T,
        }),
      );
    });
    req.on('error', reject);
    req.end(init.body);
  });
}
