import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  chat,
  completion,
  countTokens,
  generate,
  Words,
  type Answer,
  type FinishReason,
  type Format,
} from './answers.ts';
import { EngineEnded } from './clock.ts';
import { contextLength, maxInputTokens } from './info.ts';
import { Aborted, JobFailed, type Job } from './scheduler.ts';
import { badRequest, errorBody, json, readObject, type Serving } from './serving.ts';

/** A request for tokens, from its body to its last byte: /v1/chat/completions, /v1/completions, /generate. */
export type Kind = 'chat' | 'completion' | 'generate';

const FORMATS: Readonly<Record<Kind, Format>> = { chat, completion, generate };
/** Defaults of the API where the client sets no limit; a chat ends by itself. */
const DEFAULT_TOKENS: Readonly<Record<Kind, number | undefined>> = { chat: undefined, completion: 16, generate: 128 };
/** A client that left is noticed this late, in seconds. */
const CLIENT_GONE_SECONDS = 4;

interface Asked {
  readonly prompt: string;
  /** It says which tokens it wants. */
  readonly biased: boolean;
  readonly model: string;
  readonly limit: number | undefined;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly rid: string;
  readonly bootstrap: Job['bootstrap'];
}

export async function answerRequest(
  serving: Serving,
  kind: Kind,
  req: IncomingMessage,
  res: ServerResponse,
): Promise<void> {
  if (!(req.headers['content-type'] ?? '').startsWith('application/json')) {
    return refuse(res, kind, 'Unsupported Media Type: Only application/json is allowed');
  }
  const body = await readObject(req);
  if (body === undefined) return refuse(res, kind, 'body: JSON decode error');
  if (serving.role === 'prefill' && serving.settings.release.diesOfTopLogprobs && wantsTopLogprobs(kind, body)) {
    return serving.die();
  }
  const asked = readAsked(kind, body, serving.settings.servedModelName);
  if (typeof asked === 'string') return refuse(res, kind, asked);
  const words = new Words(asked.prompt, asked.biased);
  const job: Job = {
    rid: asked.rid,
    promptTokens: countTokens(asked.prompt),
    maxTokens: serving.role === 'prefill' ? 1 : (asked.limit ?? words.naturalTokens),
    bootstrap: asked.bootstrap,
    streaming: asked.stream,
    stage: 'waiting',
    tokens: 0,
    abort: new AbortController(),
  };
  const tooLong = tooLongFor(serving, job.promptTokens, asked.limit ?? job.maxTokens);
  if (tooLong !== undefined) {
    if (!serving.settings.release.forgetsTooLong) serving.unforgotten.push(job.rid);
    return refuse(res, kind, tooLong);
  }
  const format = FORMATS[kind];
  const reply = new Reply(res, kind, format, asked);
  if (serving.role !== 'null' && asked.bootstrap === undefined) {
    const message = `Invalid request: Disaggregated request received without bootstrap room id. req.rid='${job.rid}'`;
    return reply.fail(400, message, asked.stream ? 'BAD_REQUEST' : 'BadRequestError');
  }
  await run(serving, job, asked, words, reply);
}

/** A completion's logprobs are a number of them, a chat's are yes or no beside top_logprobs. */
function wantsTopLogprobs(kind: Kind, body: Readonly<Record<string, unknown>>): boolean {
  const field = { chat: 'top_logprobs', completion: 'logprobs', generate: 'top_logprobs_num' }[kind];
  return Number(body[field] ?? 0) > 0;
}

async function run(serving: Serving, job: Job, asked: Asked, words: Words, reply: Reply): Promise<void> {
  const { counts, scheduler, clock } = serving;
  const created = Math.floor(Date.now() / 1000);
  const from = performance.now();
  const meter = new Meter(serving, job, from);
  const answer = (finish: FinishReason | null): Answer => ({
    id: job.rid,
    model: asked.model,
    created,
    promptTokens: job.promptTokens,
    tokens: job.tokens,
    words,
    finish,
    seconds: (performance.now() - from) / 1000,
    maxTokens: job.maxTokens,
    prefill: serving.role === 'prefill',
    release: serving.settings.release,
  });
  const done = new AbortController();
  let left = false;
  reply.onLeft(() => {
    left = true;
    clock.patience(CLIENT_GONE_SECONDS, done.signal).then(
      () => job.abort.abort(new Aborted('the client is gone')),
      () => undefined,
    );
  });
  counts.received += 1;
  let outcome: 'answered' | 'failed' | 'aborted' = 'answered';
  try {
    for await (const _ of scheduler.run(job, serving.role, serving.kv)) {
      meter.tokens();
      reply.progress(answer(null));
    }
    const limited = serving.role === 'prefill' || asked.limit !== undefined;
    reply.finish(answer(limited ? 'length' : 'stop'), asked.includeUsage);
  } catch (error) {
    if (error instanceof EngineEnded) return;
    if (error instanceof Aborted) {
      outcome = 'aborted';
      reply.finish(answer('abort'), asked.includeUsage);
    } else if (error instanceof JobFailed) {
      outcome = 'failed';
      serving.log(error.message);
      reply.fail(500, error.message, asked.stream ? 'INTERNAL_SERVER_ERROR' : '500');
    } else throw error;
  } finally {
    done.abort();
    if (left && outcome === 'answered') outcome = 'aborted';
    counts[outcome] += 1;
    meter.end(outcome);
    logRequest(serving, job, outcome);
  }
}

const TOKENS_HEARD_AT_ONCE = 50;

/** The time-keeping of one request in /metrics. */
class Meter {
  readonly #serving: Serving;
  readonly #job: Job;
  readonly #from: number;
  #lastAt = 0;
  #lastTokens = 0;
  #firstAt = 0;

  constructor(serving: Serving, job: Job, from: number) {
    this.#serving = serving;
    this.#job = job;
    this.#from = from;
  }

  tokens(): void {
    const now = performance.now();
    const { metrics } = this.#serving;
    if (this.#lastTokens === 0) {
      this.#firstAt = now;
      metrics.observe('time_to_first_token_seconds', this.#streaming, (now - this.#from) / 1000);
    } else {
      const made = this.#job.tokens - this.#lastTokens;
      for (let index = 0; index < made; index += 1) {
        metrics.observe('inter_token_latency_seconds', {}, (now - this.#lastAt) / 1000 / made);
      }
    }
    this.#lastAt = now;
    this.#lastTokens = this.#job.tokens;
  }

  end(outcome: 'answered' | 'failed' | 'aborted'): void {
    const { metrics, prefilled } = this.#serving;
    if (outcome === 'aborted') metrics.add('num_aborted_requests_total', {});
    if (outcome !== 'answered') return;
    const { promptTokens, tokens } = this.#job;
    const now = performance.now();
    metrics.add('num_requests_total', this.#streaming);
    metrics.add('prompt_tokens_total', this.#streaming, promptTokens);
    metrics.add('generation_tokens_total', this.#streaming, tokens);
    metrics.observe('e2e_request_latency_seconds', this.#streaming, (now - this.#from) / 1000);
    metrics.observe('prompt_tokens_histogram', {}, promptTokens);
    metrics.observe('uncached_prompt_tokens_histogram', {}, promptTokens);
    metrics.observe('generation_tokens_histogram', {}, tokens);
    // The front end hears of a whole answer at its end and every so many tokens, and times only what came in parts.
    if (tokens > (this.#job.streaming ? 1 : TOKENS_HEARD_AT_ONCE)) {
      const perToken = (now - this.#firstAt) / 1000 / (tokens - 1);
      metrics.observe('request_time_per_output_token_seconds', this.#streaming, perToken);
    }
    if (this.#serving.role === 'decode') {
      metrics.add('realtime_tokens_total', { mode: 'decode' }, tokens);
      metrics.add('cuda_graph_passes_total', { mode: 'decode_none' }, tokens);
    } else {
      metrics.add('realtime_tokens_total', { mode: 'prefill_compute' }, promptTokens);
      metrics.add('cuda_graph_passes_total', { mode: 'prefill_none' });
      metrics.add('prefill_effective_tokens_total', { mode: 'input' }, promptTokens);
      prefilled.tokens += promptTokens;
      prefilled.busyUs += Math.round((now - this.#from) * 1000);
    }
  }

  get #streaming() {
    return { is_streaming: String(this.#job.streaming) };
  }
}

/** One response. Its head goes out with the first bytes, so an error that comes late is a 500, or an event in a 200 stream. */
class Reply {
  readonly #res: ServerResponse;
  readonly #kind: Kind;
  readonly #format: Format;
  readonly #stream: boolean;
  #sent = 0;

  constructor(res: ServerResponse, kind: Kind, format: Format, asked: Asked) {
    this.#res = res;
    this.#kind = kind;
    this.#format = format;
    this.#stream = asked.stream;
  }

  onLeft(act: () => void): void {
    this.#res.on('close', () => {
      if (!this.#res.writableFinished) act();
    });
  }

  /** Sends the tokens that are new. A token without text has no chunk. */
  progress(answer: Answer): void {
    if (!this.#stream) return;
    if (!this.#res.headersSent) this.#event(this.#format.opening(answer));
    for (; this.#sent < answer.tokens; this.#sent += 1) {
      const text = answer.words.text(this.#sent);
      if (text !== '') this.#event(this.#format.piece({ ...answer, tokens: this.#sent + 1 }, text));
    }
  }

  finish(answer: Answer, includeUsage: boolean): void {
    if (this.#res.destroyed) return;
    if (!this.#stream) return json(this.#res, 200, this.#format.whole(answer));
    this.progress(answer);
    this.#event(this.#format.closing(answer));
    if (includeUsage) this.#event(this.#format.usage(answer));
    this.#done();
  }

  fail(status: number, message: string, type: string): void {
    if (this.#res.destroyed) return;
    const error = this.#kind === 'generate' ? { message } : errorBody(message, type, status);
    if (!this.#stream) return json(this.#res, status, this.#kind === 'generate' ? { error } : error);
    this.#event({ error });
    this.#done();
  }

  #event(value: unknown): void {
    if (!this.#res.headersSent) this.#res.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    if (value !== undefined) this.#res.write(`data: ${JSON.stringify(value)}\n\n`);
  }

  #done(): void {
    this.#res.end('data: [DONE]\n\n');
  }
}

function refuse(res: ServerResponse, kind: Kind, message: string): void {
  if (kind === 'generate') return json(res, 400, { error: { message } });
  badRequest(res, message);
}

function tooLongFor({ settings, model }: Serving, promptTokens: number, maxTokens: number): string | undefined {
  const most = contextLength(settings, model);
  if (promptTokens > maxInputTokens(settings, model)) {
    return `The input (${promptTokens} tokens) is longer than the model's context length (${most} tokens).`;
  }
  if (promptTokens + maxTokens > most) {
    return `Requested token count exceeds the model's maximum context length of ${most} tokens. You requested a total of ${promptTokens + maxTokens} tokens.`;
  }
  return undefined;
}

/** What the body asks for, or what is wrong with it. Unknown fields are ignored, and so is the model's name. */
function readAsked(kind: Kind, body: Record<string, unknown>, servedModelName: string): Asked | string {
  const prompt = kind === 'chat' ? chatPrompt(body['messages']) : textPrompt(kind, body);
  if (typeof prompt !== 'object') return prompt;
  const sampling = (body['sampling_params'] ?? {}) as Record<string, unknown>;
  const limit =
    kind === 'generate' ? sampling['max_new_tokens'] : (body['max_completion_tokens'] ?? body['max_tokens']);
  if (limit !== undefined && limit !== null && (!Number.isInteger(limit) || (limit as number) < 1)) {
    return 'max_tokens: Input should be a positive integer';
  }
  const host = body['bootstrap_host'];
  const room = body['bootstrap_room'];
  const options = (body['stream_options'] ?? {}) as Record<string, unknown>;
  return {
    prompt: prompt.text,
    biased: Object.keys(body['logit_bias'] ?? {}).length > 0,
    model: typeof body['model'] === 'string' ? body['model'] : servedModelName,
    limit: (limit as number | null | undefined) ?? DEFAULT_TOKENS[kind],
    stream: body['stream'] === true,
    includeUsage: options['include_usage'] === true,
    rid: typeof body['rid'] === 'string' ? body['rid'] : randomBytes(16).toString('hex'),
    bootstrap:
      typeof host === 'string' && typeof room === 'number'
        ? { host: host.replace(/^\[|\]$/g, ''), port: Number(body['bootstrap_port'] ?? 8998), room }
        : undefined,
  };
}

function chatPrompt(messages: unknown): { text: string } | string {
  if (!Array.isArray(messages)) return 'messages: Field required';
  if (messages.length === 0) return 'Messages cannot be empty.';
  const rows: unknown[] = messages;
  const texts = rows.map((row) => {
    const { role, content } = (row ?? {}) as { role?: unknown; content?: unknown };
    if (typeof role !== 'string') return undefined;
    return `${role}: ${typeof content === 'string' ? content : JSON.stringify(content ?? '')}`;
  });
  return texts.includes(undefined)
    ? 'messages: Input should be a valid dictionary with a role'
    : { text: texts.join('\n') };
}

/** One prompt per request: the simulated engine takes no batches. */
function textPrompt(kind: Kind, body: Record<string, unknown>): { text: string } | string {
  const value = kind === 'generate' ? (body['text'] ?? body['input_ids']) : body['prompt'];
  if (typeof value === 'string') return { text: value };
  if (Array.isArray(value) && value.length > 0 && value.every(Number.isInteger)) return { text: value.join(' ') };
  if (Array.isArray(value)) return 'This simulated engine takes one prompt per request.';
  return kind === 'generate' ? 'Either text, input_ids or input_embeds should be provided.' : 'prompt: Field required';
}

/** The line of `--log-requests --log-requests-format json`, by whose rooms crossed requests are told. */
function logRequest({ settings, log }: Serving, job: Job, outcome: string): void {
  if (!settings.logRequests) return;
  const obj = { bootstrap_room: job.bootstrap?.room ?? null, stream: job.streaming };
  log(JSON.stringify({ event: 'request.finished', rid: job.rid, obj, outcome }));
}
