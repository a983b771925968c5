import type { Generated } from '../src/drivers/generate.ts';

/** What a load test measured. Times in milliseconds, as the client saw them on the router's host. */
export interface LoadResult {
  readonly requests: number;
  readonly concurrency: number;
  readonly seconds: number;
  readonly requestsPerSecond: number;
  readonly outputTokensPerSecond: number;
  /** Time to first token. */
  readonly ttftMs: Percentiles;
  /** Time between two texts of a stream, all streams together. */
  readonly itlMs: Percentiles;
}

export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Sums up answers that took `seconds` in all. */
export function loadResult(answers: readonly Generated[], concurrency: number, seconds: number): LoadResult {
  const tokens = answers.reduce((sum, { outputTokens }) => sum + outputTokens, 0);
  return {
    requests: answers.length,
    concurrency,
    seconds: round(seconds),
    requestsPerSecond: round(answers.length / seconds),
    outputTokensPerSecond: round(tokens / seconds),
    ttftMs: percentilesOf(answers.map(({ ttftMs }) => ttftMs)),
    itlMs: percentilesOf(answers.flatMap(({ gapsMs }) => gapsMs)),
  };
}

/** By nearest rank: each is a value that was measured. All 0 when nothing was. */
export function percentilesOf(values: readonly number[]): Percentiles {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (percent: number) => round(sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0);
  return { p50: at(50), p90: at(90), p95: at(95), p99: at(99), max: at(100) };
}

const round = (value: number) => Math.round(value * 100) / 100;
