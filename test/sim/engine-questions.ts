import { setTimeout as sleep } from 'node:timers/promises';
import { flagList } from '../../src/spec/flags.ts';
import { eventually } from '../support/processes.ts';
import { ask, chatBody, meeting, type Answer, type AskedEngine, type Given } from './engine-support.ts';

/**
 * What an engine is asked, be it simulated or SGLang's own: each answer is what both must agree on, which is shapes,
 * order, statuses, exit codes and log lines, and no values. Those of real engines are in test/golden/engine, where
 * `UPDATE_GOLDEN=1 npm run test:sglang -- test/sglang/real/engine` writes them.
 */
export interface World {
  /** A model folder that it can serve. */
  readonly model: string;
  /** Version of SGLang. */
  readonly version: string;
  /** Starts one and returns at once. */
  begin(given: Given): Promise<AskedEngine>;
}

export interface Pair {
  readonly prefill: AskedEngine;
  readonly decode: AskedEngine;
  /** What was seen while both started. */
  readonly starting: unknown;
}

type Json = Readonly<Record<string, unknown>>;

const CHAT = '/v1/chat/completions';
const LIMIT_MS = 300_000;
const FLAGS = (
  '--device cpu --load-format dummy --attention-backend torch_native --disable-radix-cache --disable-overlap-schedule ' +
  '--disable-cuda-graph --max-total-tokens 4096 --enable-metrics --disaggregation-transfer-backend mooncake ' +
  '--random-seed 7 --sleep-on-idle'
).split(' ');
/** Seconds that one half waits for the other. */
const PATIENCE = '20';
const ROLES = ['prefill', 'decode'] as const;
/** On CPU decode engines keep nothing of what they retract, which those that have this flag must be told. */
const NO_BACKUP = 'disaggregation-decode-retraction-backup';
const givenFor = ({ model, version }: World, role: (typeof ROLES)[number]): Given => ({
  role,
  model,
  version,
  args: [
    ...FLAGS,
    ...(role === 'decode' && flagList('sglang', version)!.flags[NO_BACKUP] ? [`--${NO_BACKUP}`, 'none'] : []),
  ],
  env: { SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT: PATIENCE, SGLANG_DISAGGREGATION_WAITING_TIMEOUT: PATIENCE },
});

/** Starts a prefill and a decode engine, and looks on. Errors: one that ends, with the end of its log. */
export async function startPair(world: World): Promise<Pair> {
  const [prefill, decode] = await Promise.all(ROLES.map((role) => world.begin(givenFor(world, role))));
  const ended = [prefill!, decode!].map(async ({ exited, lines }) => {
    const code = await exited;
    throw new Error(`an engine ended with ${code} while it started: ${lines.slice(-5).join('\n')}`);
  });
  const started = Promise.all([roundsOf(prefill!), roundsOf(decode!)]);
  const [first, second] = await Promise.race([started, ...ended]);
  await Promise.all([prefill!.logged(MARKS.at(-1)!), decode!.logged(MARKS.at(-1)!)]);
  return { prefill: prefill!, decode: decode!, starting: { prefill: first, decode: second } };
}

const PATHS = ['/ready', '/ping', '/health', '/health_generate', '/v1/models', '/server_info', '/v1/loads'];
/** A path has not answered after this: of a ready engine only those of its health, which sleep for 1 s first. */
const SLOW_MS = 900;
type Round = Readonly<Record<string, number | string>>;

/**
 * What all paths answer while an engine starts, until it is healthy; rounds that are equal once. A round may meet a
 * change halfway, and then the next one differs: it counts where two in a row agree.
 */
async function roundsOf(engine: AskedEngine): Promise<readonly Round[]> {
  const rounds: Round[] = [];
  const status = (path: string) =>
    engine.get(path).then(
      (answer) => answer.status,
      () => 'refused',
    );
  const inTime = (path: string) => Promise.race([status(path), sleep(SLOW_MS, 'slow', { ref: false })]);
  let last: Round = {};
  await eventually(
    async () => {
      const next = await eachOf(PATHS, inTime);
      if (same(next, last) && !same(next, rounds.at(-1))) rounds.push(next);
      last = next;
      const [ready, health] = [rounds.at(-1)?.['/ready'], rounds.at(-1)?.['/health']];
      return ready === 200 || (ready === 404 && health === 'slow');
    },
    { limitMs: LIMIT_MS, everyMs: 10 },
  );
  return [...rounds, await eachOf(PATHS, status)];
}

const same = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other);
const eachOf = async <T>(names: readonly string[], look: (name: string) => Promise<T>) =>
  Object.fromEntries(await Promise.all(names.map(async (name) => [name, await look(name)] as const)));

/** Lines of a prefill engine's log while it starts, in their order; a decode engine has no bootstrap server. */
export const MARKS = [
  'server_args=',
  'CommonKVBootstrapServer started',
  'Init parallel begin',
  'Load weight begin',
  'Load weight end',
  'KV Cache is allocated',
  'Memory pool end',
  'max_total_num_tokens=',
  'Engine startup timings',
  'Uvicorn running on',
  'Start of pd disaggregation warmup',
  'End of disaggregation warmup',
  'End of prefill disaggregation mode warmup with status',
  'The server is fired up and ready to roll!',
];
/** The marks that lines hold, in the lines' order. */
function marksIn(lines: readonly string[], marks: readonly string[]): readonly string[] {
  const at = (mark: string) => lines.findIndex((line) => line.includes(mark));
  return marks.filter((mark) => at(mark) >= 0).toSorted((one, other) => at(one) - at(other));
}

const ofBoth = async (pair: Pair, look: (engine: AskedEngine) => unknown): Promise<Json> => ({
  prefill: await look(pair.prefill),
  decode: await look(pair.decode),
});
/** The shape of a page of each; an answer that is none, as an error, is shown with its status. */
export const shapeAt = (path: string) => (pair: Pair) =>
  ofBoth(pair, async (engine) => {
    const answer = await engine.get(path);
    return answer.status === 200 ? shape(answer.json()) : told(answer);
  });
/** Answers to a request that both halves get. */
const halves = async ({ prefill, decode }: Pair, path: string, body: object) => {
  const both = { ...body, ...meeting(prefill) };
  const [first, second] = await Promise.all([prefill.post(path, both), decode.post(path, both)]);
  return { prefill: told(first), decode: told(second) };
};
/** Many tokens, each with text: the real model's token 32 is a question mark. */
const WORDS = { max_tokens: 64, ignore_eos: true, logit_bias: { 32: 100 } };

/** Of two engines that serve; asked one after the other, in this order. */
export const QUESTIONS: Readonly<Record<string, (pair: Pair, world: World) => Promise<unknown>>> = {
  starting: async (pair) => ({
    rounds: pair.starting,
    log: await ofBoth(pair, ({ lines }) => ({
      marks: marksIn(lines, MARKS),
      ready: lines.filter((line) => line.includes(MARKS.at(-1)!)).length,
    })),
  }),
  models: shapeAt('/v1/models'),
  'model-info': shapeAt('/model_info'),
  'server-info': shapeAt('/server_info'),
  loads: shapeAt('/v1/loads'),
  chat: (pair) => halves(pair, CHAT, chatBody(WORDS)),
  completion: (pair) => halves(pair, '/v1/completions', { model: 'any', prompt: 'Once', ...WORDS }),
  generate: (pair) =>
    halves(pair, '/generate', { text: 'Once', sampling_params: { max_new_tokens: 64, ignore_eos: true } }),
  stream: (pair) => halves(pair, CHAT, chatBody({ ...WORDS, stream: true })),
  'stream-with-usage': (pair) =>
    halves(pair, CHAT, chatBody({ ...WORDS, stream: true, stream_options: { include_usage: true } })),
  errors: (pair) => ofBoth(pair, errorsOf),
  control: (pair) => ofBoth(pair, controlOf),
  'without-its-half': withoutHalf,
  metrics: async (pair) => {
    for (const engine of [pair.prefill, pair.decode]) {
      await engine.post('/generate', { text: 'x', bootstrap_host: '2.2.2.2', bootstrap_room: 0 });
      const aborted = engine.post(CHAT, chatBody(meeting(pair.prefill)));
      await eventually(async () => (await engine.load()).num_waiting_reqs === 1);
      await engine.post('/abort_request', { abort_all: true });
      await aborted;
      await engine.get('/metrics'); // Shows only from the next time on.
    }
    return await ofBoth(pair, async (engine) => metricRows((await engine.get('/metrics')).text));
  },
  terminated,
};

/** What each wrong request is answered. */
async function errorsOf(engine: AskedEngine): Promise<Json> {
  const fake = { bootstrap_host: '2.2.2.2', bootstrap_room: 0 };
  const answers: Readonly<Record<string, Promise<Answer>>> = {
    'no JSON': engine.post(CHAT, '{"model"'),
    'no messages': engine.post(CHAT, { model: 'any', ...fake }),
    'messages of another type': engine.post(CHAT, chatBody({ ...fake, messages: 7 })),
    'longer than its context': engine.post(CHAT, chatBody({ ...fake, max_tokens: 5_000 })),
    'a field that it does not know': engine.post(CHAT, chatBody({ ...fake, no_such_field: 1 })),
    'a model that it does not have': engine.post(CHAT, chatBody({ ...fake, model: 'other' })),
    'no bootstrap fields': engine.post(CHAT, chatBody()),
    'no bootstrap fields, streamed': engine.post(CHAT, chatBody({ stream: true })),
    'no bootstrap fields, generate': engine.post('/generate', { text: 'x' }),
    'a model’s page that is not there': engine.get('/v1/models/other'),
    'a page that is not there': engine.get('/get_load'),
    'another method': engine.get(CHAT),
  };
  const all = Object.entries(answers).map(async ([what, answer]) => [what, told(await answer)] as const);
  return Object.fromEntries(await Promise.all(all));
}

/** What an idle engine answers to its control endpoints. */
async function controlOf(engine: AskedEngine): Promise<Json> {
  return {
    flush: told(await engine.post('/flush_cache', '')),
    'abort of an unknown request': told(await engine.post('/abort_request', { rid: 'none' })),
    'abort without a body': told(await engine.post('/abort_request', '')),
    'pause without a body': told(await engine.post('/pause_generation', '')),
    pause: told(await engine.post('/pause_generation', { mode: 'in_place' })),
    'ready while paused': told(await engine.get('/ready')),
    continue: told(await engine.post('/continue_generation', {})),
  };
}

/** What each half answers that the other never joins, and decode where nobody listens at the bootstrap port. */
async function withoutHalf({ prefill, decode }: Pair): Promise<Json> {
  const nobody = { ...meeting(prefill), bootstrap_port: 1 };
  const [alone, streamed, first, none] = await Promise.all([
    decode.post(CHAT, chatBody(meeting(prefill))),
    decode.post(CHAT, chatBody({ ...meeting(prefill), stream: true })),
    prefill.post(CHAT, chatBody(meeting(prefill))),
    decode.post(CHAT, chatBody(nobody)),
  ]);
  const served = await ask(prefill, decode);
  return {
    decode: told(alone),
    'decode, streamed': told(streamed),
    prefill: told(first),
    'decode, of nobody': told(none),
    'a whole request after them': told(served.decode),
  };
}

/** SIGTERM while a stream is open. */
async function terminated({ prefill, decode }: Pair): Promise<Json> {
  const stream = ask(prefill, decode, { stream: true, max_tokens: 1_500, ignore_eos: true });
  await eventually(async () => (await decode.load()).num_running_reqs === 1, { limitMs: LIMIT_MS });
  const from = decode.lines.length;
  decode.signal('SIGTERM');
  await decode.logged('SIGTERM received');
  const paths = ['/ready', '/health', '/v1/models', '/v1/loads'];
  const statuses = await eachOf(paths, async (path) => (await decode.get(path)).status);
  const late = await ask(prefill, decode);
  const whole = told((await stream).decode);
  prefill.signal('SIGTERM');
  const exits = await Promise.all([prefill, decode].map(endOfDrain));
  const marks = ['SIGTERM received', 'Gracefully exiting', 'Remaining number of requests 0'];
  return {
    statuses,
    'a request after it': told(late.decode),
    'the stream': whole,
    exits,
    log: marksIn(decode.lines.slice(from), marks),
  };
}

/** Its exit code; one that has told three times more what remains never ends by itself, and is killed. */
async function endOfDrain(engine: AskedEngine): Promise<number> {
  const looks = () => engine.lines.filter((line) => line.includes('Gracefully exiting')).length;
  const from = looks();
  let ended = false;
  void engine.exited.then(() => (ended = true));
  await eventually(() => ended || looks() >= from + 3, { limitMs: LIMIT_MS });
  if (!ended) engine.signal('SIGKILL');
  return await engine.exited;
}

/** Starts that go wrong: how they end, by the exit code and the log's last line; numbers of it vary. */
export const STARTS: Readonly<Record<string, (world: World) => Promise<unknown>>> = {
  'an unknown flag': endsOn(['--no-such-flag', '1']),
  'a bad choice': endsOn(['--disaggregation-transfer-backend', 'bogus']),
  'a bad number': endsOn(['--page-size', 'abc']),
  'a flag without its value': endsOn(['--page-size']),
  // Below nothing: what other processes free meanwhile would make a small part enough.
  'too little memory': endsOn(['--mem-fraction-static', '-1']),
  'a model that is not there': (world) =>
    endOf(world.begin({ ...givenFor(world, 'prefill'), model: '/no/such/model' })),
  'an HTTP port that an engine has': async (world) => {
    const first = await world.begin(givenFor(world, 'decode'));
    await first.ready;
    const { host, port } = first;
    const second = await world.begin({ ...givenFor(world, 'decode'), host, port });
    const code = await second.exited;
    const marks = ['[Errno 98] error while attempting to bind on address', MARKS.at(-1)!, 'kill_process_tree called'];
    const end = {
      // Its HTTP server gives up with 3, and kills the rest of it, whose watchdog may kill it in turn.
      code: code === 3 || code === 137 ? '3 or 137' : code,
      log: marksIn(second.lines, marks),
      first: (await first.get('/ready')).status,
    };
    first.signal('SIGKILL');
    await first.exited;
    return end;
  },
  'a bootstrap port that an engine has': async (world) => {
    const first = await world.begin(givenFor(world, 'prefill'));
    await first.ready;
    const { host, bootstrapPort } = first;
    const second = await world.begin({ ...givenFor(world, 'prefill'), host, bootstrapPort });
    await second.ready;
    const marks = ['CommonKVBootstrapServer started', 'Server error: [Errno 98]', MARKS.at(-1)!];
    const end = { ready: (await second.get('/ready')).status, log: marksIn(second.lines, marks) };
    for (const engine of [first, second]) engine.signal('SIGKILL');
    await Promise.all([first.exited, second.exited]);
    return end;
  },
};

function endsOn(args: readonly string[]) {
  return (world: World) => {
    const given = givenFor(world, 'prefill');
    return endOf(world.begin({ ...given, args: [...given.args!, ...args] }));
  };
}

async function endOf(begun: Promise<AskedEngine>): Promise<Json> {
  const engine = await begun;
  const code = await engine.exited;
  const line = engine.lines.findLast((text) => text.trim() !== '') ?? '';
  return { code, last: line.replace(/^\[[^\]]*\] /, '').replaceAll(/\d+/g, 'N') };
}

// ---- Of an answer, what both worlds share

/** Status, type and shape of an answer; of a stream, the shape of its chunks, equal ones in a row once. */
function told({ status, headers, text }: Answer): Json {
  const type = headers['content-type']?.split(';')[0] ?? '';
  if (type !== 'text/event-stream') return { status, type, body: text === '' ? '' : shapeOfText(text) };
  const shapes = text.split(/(?<=\n\n)/).map((chunk) => {
    const [, field, value] = /^(\w+): (.*)\n\n$/.exec(chunk) ?? [undefined, 'no event', chunk];
    return { [field!]: value === '[DONE]' ? value : shapeOfText(value!) };
  });
  return { status, type, chunks: shapes.filter((each, index) => index === 0 || !same(each, shapes[index - 1])) };
}

function shapeOfText(text: string): unknown {
  try {
    return shape(JSON.parse(text));
  } catch {
    return 'text';
  }
}

/** Key paths in their order, with JSON types. */
function shape(value: unknown): unknown {
  if (value === null) return 'null';
  if (Array.isArray(value)) return value.length > 0 ? [shape(value[0])] : [];
  if (typeof value !== 'object') return typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, its]) => [key, shape(its)]));
}

const FREE = ['model_name', 'endpoint', 'method', 'status_code', 'pid'];

/**
 * Rows of a page of metrics: name, type, labels, and the bounds of a histogram; no values. Sorted: a real engine's page
 * is put together from the files of its processes, in another order in each run.
 */
function metricRows(text: string): readonly string[] {
  const families = new Map<string, { type: string; rows: Set<string>; bounds: Set<string> }>();
  let last: { type: string; rows: Set<string>; bounds: Set<string> } | undefined;
  for (const line of text.trim().split('\n')) {
    const typed = /^# TYPE (\S+) (\S+)$/.exec(line);
    if (typed !== null) families.set(typed[1]!, (last = { type: typed[2]!, rows: new Set(), bounds: new Set() }));
    const row = /^[^\s{#]+?(_bucket|_sum|_count)?(?:\{(.*)\})? \S+$/.exec(line);
    if (row === null || last === undefined) continue;
    const labels = [...(row[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(
      ([, key, its]) => [key!, its!] as const,
    );
    if (last.type === 'histogram' && row[1] === '_bucket') {
      last.bounds.add(Number(labels.find(([key]) => key === 'le')![1].replace('+', '')).toPrecision(6));
      continue;
    }
    last.rows.add(
      labels
        .map(([key, its]) => `${key}=${FREE.includes(key) ? '*' : its}`)
        .toSorted()
        .join(','),
    );
  }
  return [...families]
    .flatMap(([name, { type, rows, bounds }]) => [...rows].map((row) => [name, type, row, ...bounds].join(' ')))
    .toSorted();
}
