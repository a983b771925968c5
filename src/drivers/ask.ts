import { ZodError, type z } from 'zod';
import { DeployError } from '../errors.ts';
import type { Fetch } from './types.ts';
import { raw, type Raw } from '../text/raw.ts';

/** One complete HTTP answer, whatever its status. */
export interface Answer {
  readonly status: number;
  readonly body: Raw;
}

export interface Question {
  readonly method?: string;
  /** Sent as `Authorization: Bearer`. */
  readonly key?: string | undefined;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Limit until the answer is complete, in milliseconds. */
  readonly timeoutMs: number;
}

/** Nothing came back: refused, cut, or not within the limit. Waiting loops look again; the message says which it was. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer';
}

/** An answer came, and it was no: 401, 404, 409 and their like. Asking again gives the same. */
export class Refused extends NoAnswer {
  readonly status: number;

  constructor(what: string, { status, body }: Answer) {
    super(`${what} answered ${status}${body === '' ? '' : `: ${body}`}`);
    this.status = status;
  }

  /** False for 5xx, which pass. */
  get final(): boolean {
    return this.status < 500;
  }
}

/** Asks once. Errors: HOST_* as the driver throws them; `NoAnswer` for everything that the other side did. */
export async function ask(fetch: Fetch, url: string, { method, key, json, timeoutMs }: Question): Promise<Answer> {
  try {
    const response = await fetch(url, {
      ...(method === undefined ? {} : { method }),
      headers: headersOf(key, json !== undefined),
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      timeoutMs,
    });
    return { status: response.status, body: raw(await textOf(response)) };
  } catch (error) {
    throw noAnswer(error);
  }
}

/** Longest answer, in bytes: the metrics of an engine have less than one MiB. */
const ANSWER_LIMIT_BYTES = 16 * 1024 ** 2;

/** The body of a response. Errors: `NoAnswer` for one that is longer than any answer of an engine or a router. */
export async function textOf({ body }: Pick<Response, 'body'>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    if (size > ANSWER_LIMIT_BYTES) throw new NoAnswer(`the answer is longer than ${ANSWER_LIMIT_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/**
 * What an answer to `what` says, in a shape. `Refused` for a status that is none of `good`, `NoAnswer` for another text: it
 * names the field that is not as expected and quotes nothing, since a page of an engine may hold keys.
 */
export function readAs<T>(shape: z.ZodType<T>, what: string, answer: Answer, good: readonly number[] = [200]): T {
  const { status, body } = answer;
  if (!good.includes(status)) throw new Refused(what, answer);
  try {
    return shape.parse(JSON.parse(body));
  } catch (error) {
    throw new NoAnswer(`${what} answered something else than expected: ${unlike(error)}`, { cause: error });
  }
}

/** Which field is not as expected. What JSON and Zod say themselves may quote the answer. */
function unlike(error: unknown): string {
  if (!(error instanceof ZodError)) return 'no JSON';
  const [first] = error.issues;
  return `${first!.path.join('.') || 'the whole'} is ${first!.code === 'invalid_type' ? `no ${first!.expected}` : 'unfit'}`;
}

export const headersOf = (key: string | undefined, withBody: boolean): Record<string, string> => ({
  ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
  ...(withBody ? { 'content-type': 'application/json' } : {}),
});

/** What to throw for a failed fetch: trouble with the host itself stays as it is, since asking again is no cure. */
export function noAnswer(error: unknown): unknown {
  if (error instanceof NoAnswer) return error;
  if (error instanceof DeployError && error.code.startsWith('HOST_')) return error;
  return nameOf(error) === 'AbortError' ? error : new NoAnswer(reasonOf(error), { cause: error });
}

/** "connection refused", "no answer within the limit": fetch hides the reason in the cause. */
function reasonOf(error: unknown): string {
  let message = String(error);
  for (let at = error; typeof at === 'object' && at !== null; at = 'cause' in at ? at.cause : undefined) {
    if ('code' in at && typeof at.code === 'string') return at.code === 'ECONNREFUSED' ? 'connection refused' : at.code;
    if (nameOf(at) === 'TimeoutError') return 'no answer within the limit';
    if ('message' in at && typeof at.message === 'string' && at.message !== '') message = at.message;
  }
  return message;
}

const nameOf = (error: unknown): unknown =>
  typeof error === 'object' && error !== null && 'name' in error ? error.name : undefined;
