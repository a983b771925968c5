import { createHash } from 'node:crypto';
import { known, type Release } from './release.ts';

/** The words of an answer and the shapes they are sent in, engine-made. */

/** A made-up tokenizer: about four characters to a token, and the role marks of a chat. */
export function countTokens(prompt: string): number {
  return Math.max(1, Math.ceil(prompt.length / 4));
}

const WORDS =
  'the of a to in is on by it or be at as an we us if so no up go do my me he all one two new now way may day use her how its our out see too any say she set put end why let try ask own run far off big high last long make much only over such take than them well were what when work year'.split(
    ' ',
  );

/** Answers of one prompt are always the same. */
export class Words {
  readonly #seed: Buffer;
  /** Of four tokens the first has no text, as parts of a character have none in a real engine; a token that a client biases for has. */
  readonly #first: 0 | 1;

  constructor(prompt: string, biased: boolean) {
    this.#seed = createHash('sha256').update(prompt).digest();
    this.#first = biased ? 0 : 1;
  }

  /** Tokens of the answer when the client sets no limit: 8 to 23. */
  get naturalTokens(): number {
    return 8 + (this.#byte(0) % 16);
  }

  id(index: number): number {
    return 1000 + ((this.#byte(index) * 131 + index * 7) % 30_000);
  }

  text(index: number): string {
    if (index % 4 < this.#first) return '';
    const word = WORDS[(this.#byte(index) + index) % WORDS.length] as string;
    return index === this.#first ? word : ` ${word}`;
  }

  upTo(tokens: number): string {
    return Array.from({ length: tokens }, (_, index) => this.text(index)).join('');
  }

  #byte(index: number): number {
    return this.#seed[index % this.#seed.length] as number;
  }
}

export type FinishReason = 'length' | 'stop' | 'abort';

/** One answered request, as far as it has come. */
export interface Answer {
  readonly id: string;
  /** Echoed from the request. */
  readonly model: string;
  readonly created: number;
  readonly promptTokens: number;
  readonly tokens: number;
  readonly words: Words;
  readonly finish: FinishReason | null;
  readonly seconds: number;
  readonly maxTokens: number;
  /** Of a prefill engine, which makes one token. */
  readonly prefill: boolean;
  readonly release: Release;
}

export interface Format {
  whole(answer: Answer): unknown;
  /** The first chunk, before any text; undefined where there is none. */
  opening(answer: Answer): unknown;
  /** A chunk with the text of one token. `tokens` of the answer counts it. */
  piece(answer: Answer, text: string): unknown;
  closing(answer: Answer): unknown;
  /** The extra chunk for stream_options.include_usage. */
  usage(answer: Answer): unknown;
}

const usageOf = (answer: Answer) =>
  known(answer.release, 'usage', {
    prompt_tokens: answer.promptTokens,
    total_tokens: answer.promptTokens + answer.tokens,
    completion_tokens: answer.tokens,
    prompt_tokens_details: null,
    reasoning_tokens: 0,
    completion_tokens_details: null,
  });

const weightVersions = ({ tokens }: Answer) => [{ version: 'default', start: 0, end: tokens }];

const metadata = (answer: Answer) =>
  known(answer.release, 'metadata', { weight_version: 'default', weight_versions: weightVersions(answer) });

const chunk = (answer: Answer, choices: readonly unknown[]) => ({
  id: answer.id,
  object: 'chat.completion.chunk',
  created: answer.created,
  model: answer.model,
  choices,
  ...(answer.release.tellsNulls && { usage: null }),
});

const NULLS = { role: null, content: null, reasoning_content: null, tool_calls: null };

const delta = ({ release }: Answer, fields: Record<string, unknown>, finish: FinishReason | null = null) => [
  {
    index: 0,
    delta: { ...(release.tellsNulls ? NULLS : { reasoning_content: null }), ...fields },
    logprobs: null,
    finish_reason: finish,
    matched_stop: null,
  },
];

const message = ({ release, words, tokens }: Answer) => {
  const content = words.upTo(tokens);
  return known(release, 'message', {
    role: 'assistant',
    content: content === '' && release.tellsNulls ? null : content,
    reasoning_content: null,
    tool_calls: null,
  });
};

export const chat: Format = {
  whole: (answer) => ({
    id: answer.id,
    object: 'chat.completion',
    created: answer.created,
    model: answer.model,
    choices: [
      {
        index: 0,
        message: message(answer),
        logprobs: null,
        finish_reason: answer.finish,
        matched_stop: null,
      },
    ],
    usage: usageOf(answer),
    metadata: metadata(answer),
  }),
  opening: (answer) => chunk(answer, delta(answer, { role: 'assistant', content: '' })),
  piece: (answer, content) => chunk(answer, delta(answer, { content })),
  closing: (answer) => chunk(answer, delta(answer, {}, answer.finish)),
  usage: (answer) => ({ ...chunk(answer, []), usage: usageOf(answer) }),
};

const textChunk = (answer: Answer, choices: readonly unknown[], usage: unknown = null) => ({
  id: answer.id,
  object: 'text_completion',
  created: answer.created,
  model: answer.model,
  choices,
  usage,
});

const textChoice = (text: string, finish: FinishReason | null) => [
  { index: 0, text, logprobs: null, finish_reason: finish, matched_stop: null },
];

export const completion: Format = {
  whole: (answer) => ({
    ...textChunk(answer, textChoice(answer.words.upTo(answer.tokens), answer.finish), usageOf(answer)),
    metadata: metadata(answer),
  }),
  opening: () => undefined,
  piece: (answer, text) => textChunk(answer, textChoice(text, null)),
  closing: (answer) => textChunk(answer, textChoice('', answer.finish)),
  usage: (answer) => textChunk(answer, [], usageOf(answer)),
};

function generated(answer: Answer) {
  const { words, tokens, finish, prefill, seconds, created, release } = answer;
  return {
    text: words.upTo(tokens),
    output_ids: Array.from({ length: tokens }, (_, index) => words.id(index)),
    meta_info: known(release, 'meta', {
      id: answer.id,
      finish_reason:
        finish === null ? null : { type: finish, ...(finish === 'length' && { length: answer.maxTokens }) },
      prompt_tokens: answer.promptTokens,
      weight_version: 'default',
      total_retractions: 0,
      num_retractions: 0,
      ...(prefill && { storage_prefetch_wait: 0, storage_staging_wait: 0 }),
      forward_entry_time: created,
      ...(prefill && { prefill_finished_time: created + seconds }),
      queue_time: 0,
      prefill_waiting_latency: null,
      prefill_launch_latency: null,
      reasoning_tokens: 0,
      completion_tokens: tokens,
      cached_tokens: 0,
      weight_versions: weightVersions(answer),
      cached_tokens_details: null,
      dp_rank: null,
      e2e_latency: seconds,
      request_received_ts: created,
      first_token_latency: seconds / Math.max(1, tokens),
      api_server_dispatch_finish_ts: created,
      request_finished_ts: created + seconds,
      inference_time: seconds,
      ...((!prefill || release.prefillTellsThroughput) && { decode_throughput: tokens / seconds }),
      response_sent_to_client_ts: created + seconds,
    }),
  };
}

/** /generate streams the whole text so far in every chunk. */
export const generate: Format = {
  whole: generated,
  opening: () => undefined,
  piece: generated,
  closing: generated,
  usage: () => undefined,
};
