import { type Dispatcher, fetch as undiciFetch } from 'undici';
import type { Fetch, FetchInit } from './types.ts';

/** What went wrong between two ends of a connection, by the names that Node.js has for it. Callers poll on ECONNREFUSED. */
export type NetworkCode = 'ECONNREFUSED' | 'ECONNRESET' | 'EHOSTUNREACH' | 'ENOTFOUND' | 'ETIMEDOUT' | 'EPROTO';

/** A request that got no answer; not a DeployError, since only the caller knows what the silence means. */
export class NetworkError extends Error {
  override readonly name = 'NetworkError';
  readonly code: NetworkCode;

  constructor(code: NetworkCode, url: string, why: string, cause?: unknown) {
    super(`${url}: ${why}`, { cause });
    this.code = code;
  }
}

/** Of a request that names no limit. */
export const DEFAULT_INIT: FetchInit = { timeoutMs: 30_000 };

/** HTTP straight from this machine. Errors: NetworkError; the reason of the caller's signal when that aborts. */
export const directFetch: Fetch = (url, init) => request(url, init ?? DEFAULT_INIT);

/**
 * One request over `dispatcher`, with a limit until the last byte of the response.
 * Errors: as `directFetch`.
 */
export async function request(
  url: string,
  { method = 'GET', headers = {}, body, timeoutMs, signal }: FetchInit,
  { dispatcher, signal: outer }: { readonly dispatcher?: Dispatcher; readonly signal?: AbortSignal | undefined } = {},
): Promise<Response> {
  const limit = AbortSignal.timeout(timeoutMs);
  const signals = [signal, outer].filter((one) => one !== undefined);
  try {
    const response = await undiciFetch(url, {
      method,
      headers: { ...headers },
      ...(body === undefined ? {} : { body }),
      ...(dispatcher === undefined ? {} : { dispatcher }),
      signal: AbortSignal.any([limit, ...signals]),
    });
    return response as unknown as Response; // undici's own class, of the same standard.
  } catch (error) {
    const aborted = signals.find((one) => one.aborted);
    if (aborted) throw aborted.reason;
    if (limit.aborted) throw new NetworkError('ETIMEDOUT', url, `no answer within ${timeoutMs} ms`, error);
    // fetch hides what happened in the cause. No instanceof: such errors may come from another realm.
    const { cause = error } = error as { cause?: unknown };
    const { code, message } = cause as { code?: string; message?: string };
    throw new NetworkError(codeOf(code), url, message || code || String(cause), error);
  }
}

const CODES: Readonly<Record<string, NetworkCode>> = {
  ECONNREFUSED: 'ECONNREFUSED',
  ENOENT: 'ECONNREFUSED', // Of a Unix socket that is gone.
  ENOTFOUND: 'ENOTFOUND',
  EAI_AGAIN: 'ENOTFOUND',
  EHOSTUNREACH: 'EHOSTUNREACH',
  ENETUNREACH: 'EHOSTUNREACH',
  ETIMEDOUT: 'ETIMEDOUT',
  UND_ERR_CONNECT_TIMEOUT: 'ETIMEDOUT',
  UND_ERR_HEADERS_TIMEOUT: 'ETIMEDOUT',
  ECONNRESET: 'ECONNRESET',
  EPIPE: 'ECONNRESET',
  UND_ERR_SOCKET: 'ECONNRESET',
};
const codeOf = (code: string | undefined): NetworkCode => CODES[code ?? ''] ?? 'EPROTO';
