import { z } from 'zod';
import { headersOf, noAnswer, textOf } from './ask.ts';
import type { Fetch } from './types.ts';

/** One generation request and what came of it, as a client sees it; used by acceptance and by load tests. */
export interface GenerateRequest {
  readonly fetch: Fetch;
  /** Of an engine or a router, with path: http://10.0.0.10:30000/v1/completions. */
  readonly url: string;
  readonly key?: string | undefined;
  /** The JSON text of the request. `stream: true` in it must match `streamed`. */
  readonly body: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface Generated {
  readonly text: string;
  readonly outputTokens: number;
  /** From sending until the answer was complete, in milliseconds. */
  readonly totalMs: number;
  /** From sending until the first text, in milliseconds; the whole time of an answer that is not streamed. */
  readonly ttftMs: number;
  /** Between one text and the next, in milliseconds. Tokens without text come with no chunk, so these are not per token. */
  readonly gapsMs: readonly number[];
  /** URL of the decode engine, where the router names it. */
  readonly routedTo?: string;
}

/** The request did not end well. `status` is absent when nothing came back. */
export class GenerateFailed extends Error {
  override readonly name = 'GenerateFailed';
  readonly status: number | undefined;
  readonly seconds: number;

  constructor(message: string, at: { status?: number | undefined; sentAt: number; cause?: unknown }) {
    super(message, { cause: at.cause });
    this.status = at.status;
    this.seconds = (performance.now() - at.sentAt) / 1000;
  }
}

const Choice = z.object({
  text: z.string().nullish(),
  delta: z.object({ content: z.string().nullish() }).nullish(),
  message: z.object({ content: z.string().nullish() }).nullish(),
  finish_reason: z.string().nullish(),
});
const Chunk = z.object({
  error: z.unknown().optional(),
  object: z.string().nullish(),
  message: z.unknown().optional(),
  choices: z.array(Choice).optional(),
  usage: z.object({ completion_tokens: z.number() }).nullish(),
});

/** Sends a request that answers in one piece. Errors: GenerateFailed for every answer that is not a whole, ended text. */
export async function complete(request: GenerateRequest): Promise<Generated> {
  const sentAt = performance.now();
  const response = await send(request, sentAt);
  const body = await textOf(response).catch((error: unknown) => {
    throw failed(error, { status: response.status, sentAt });
  });
  const at = { status: response.status, sentAt };
  const reading = new Reading(at);
  reading.take(body);
  const totalMs = performance.now() - sentAt;
  return { ...reading.end(), totalMs, ttftMs: totalMs, gapsMs: [], ...routedTo(response) };
}

/**
 * Sends a request that answers as server-sent events. A 200 says nothing yet: an error event, a finish reason "abort",
 * a missing finish reason or a stream that ends without [DONE] are failures, and [DONE] comes after errors too.
 * Errors: GenerateFailed.
 */
export async function stream(request: GenerateRequest): Promise<Generated> {
  const sentAt = performance.now();
  const response = await send(request, sentAt);
  const at = { status: response.status, sentAt };
  const reading = new Reading(at);
  const textAt: number[] = [];
  let done = false;
  try {
    for await (const data of eventsOf(response)) {
      if (data === '[DONE]') done = true;
      else if (reading.take(data)) textAt.push(performance.now());
    }
  } catch (error) {
    throw error instanceof GenerateFailed
      ? error
      : failed(error, at, `the stream was cut after ${textAt.length} texts`);
  }
  if (!done) throw new GenerateFailed(`the stream ended without [DONE] after ${textAt.length} texts`, at);
  const ended = performance.now();
  return {
    ...reading.end(),
    totalMs: ended - sentAt,
    ttftMs: (textAt[0] ?? ended) - sentAt,
    gapsMs: textAt.slice(1).map((time, index) => time - textAt[index]!),
    ...routedTo(response),
  };
}

async function send({ fetch, url, key, body, timeoutMs, signal }: GenerateRequest, sentAt: number): Promise<Response> {
  const response = await fetch(url, {
    method: 'POST',
    headers: headersOf(key, true),
    body,
    timeoutMs,
    ...(signal === undefined ? {} : { signal }),
  }).catch((error: unknown) => {
    throw failed(error, { sentAt });
  });
  if (response.status === 200) return response;
  const text = await textOf(response).catch(() => '');
  throw new GenerateFailed(`status ${response.status}: ${text}`, { status: response.status, sentAt });
}

/** What the chunks said so far. */
class Reading {
  readonly #at: { status: number; sentAt: number };
  #text = '';
  #tokens = 0;
  #finish: string | undefined;

  constructor(at: { status: number; sentAt: number }) {
    this.#at = at;
  }

  /** True when the chunk carried text. */
  take(json: string): boolean {
    const chunk = this.#parse(json);
    // Engines say {"error": …} in streams and {"object": "error", "message": …} outside them.
    if (chunk.error !== undefined || chunk.object === 'error') {
      throw new GenerateFailed(`an error inside status ${this.#at.status}: ${json}`, this.#at);
    }
    const choice = chunk.choices?.[0];
    const text = choice?.text ?? choice?.delta?.content ?? choice?.message?.content ?? '';
    this.#text += text;
    this.#tokens = chunk.usage?.completion_tokens ?? this.#tokens;
    this.#finish = choice?.finish_reason ?? this.#finish;
    return text !== '';
  }

  end(): Pick<Generated, 'text' | 'outputTokens'> {
    if (this.#finish === undefined) throw new GenerateFailed('the answer has no finish reason: it was cut', this.#at);
    if (this.#finish === 'abort') throw new GenerateFailed('the answer was aborted (finish_reason "abort")', this.#at);
    if (this.#tokens === 0) throw new GenerateFailed('the answer has no tokens', this.#at);
    return { text: this.#text, outputTokens: this.#tokens };
  }

  #parse(json: string): z.infer<typeof Chunk> {
    try {
      return Chunk.parse(JSON.parse(json));
    } catch (cause) {
      throw new GenerateFailed(`not an answer: ${json}`, { ...this.#at, cause });
    }
  }
}

/** Longest event of a stream, in characters: one holds a few tokens. */
const EVENT_LIMIT = 1024 ** 2;

/** The `data:` of each server-sent event, joined where an event has several lines. Each character is looked at once. */
export async function* eventsOf({ body }: Pick<Response, 'body'>): AsyncGenerator<string> {
  if (!body) return;
  const decoder = new TextDecoder();
  let line: string[] = []; // What came of a line whose end did not.
  let data: string[] = [];
  let length = 0;
  for await (const bytes of body as AsyncIterable<Uint8Array>) {
    const [first = '', ...next] = decoder.decode(bytes, { stream: true }).split('\n');
    line.push(first);
    length += first.length;
    for (const begun of next) {
      const ended = line.join('').replace(/\r$/, '');
      if (ended.startsWith('data:')) data.push(ended.slice('data:'.length).trimStart());
      if (ended === '') {
        if (data.length > 0) yield data.join('\n');
        [data, length] = [[], 0];
      }
      line = [begun];
      length += begun.length;
    }
    if (length > EVENT_LIMIT) throw new Error(`an event of the stream is longer than ${EVENT_LIMIT} characters`);
  }
}

function routedTo(response: Response): Pick<Generated, 'routedTo'> {
  const url = response.headers.get('x-smg-routed-worker-id');
  return url === null ? {} : { routedTo: url };
}

/** Trouble with the host stays what it is; anything else is a request that failed. */
function failed(error: unknown, at: { status?: number; sentAt: number }, where = 'no answer'): unknown {
  const reason = noAnswer(error);
  if (!(reason instanceof Error) || reason.name !== 'NoAnswer') return reason;
  return new GenerateFailed(`${where}: ${reason.message}`, { ...at, cause: error });
}
