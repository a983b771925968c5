/**
 * In what the releases of SGLang speak otherwise, as far as a simulated engine shows it. Facts: the wheels of every
 * version since 0.5.10.post1 (test/golden/engine/wheels.json, which scripts/sglang/release.py writes), and engines of
 * 0.5.10.post1 and 0.5.23 as they were run.
 */
export interface Release {
  readonly version: string;
  /** /ready; before it, /health_generate alone says that an engine generates. */
  readonly hasReady: boolean;
  /** /ping says how it is; before, it says 200 always. */
  readonly pingLooks: boolean;
  readonly hasGetLoad: boolean;
  readonly hasRoleSwitch: boolean;
  /** What its prefill engines call the queue of requests that wait for their other half. */
  readonly bootstrapQueue: 'bootstrap' | 'prealloc';
  /** /v1/loads has sums over its ranks. */
  readonly sumsLoads: boolean;
  readonly endOfWarmup: string;
  /** After a drain; before 0.5.19 it ends its whole process tree by SIGKILL, itself too. */
  readonly drainedExit: 0 | 137;
  /** A prefill engine dies of one request with top_logprobs. */
  readonly diesOfTopLogprobs: boolean;
  /** Keys of its pages that it does not have yet. */
  lacks(page: keyof typeof CAME, key: string): boolean;
}

/** The version of an engine that is told none. */
export const NEWEST = '0.5.23';

/** The first version with a key, of those that were not there from the start. */
const CAME = {
  modelInfo: {
    embedding: '0.5.17',
    served_model_name: '0.5.18',
    load_format: '0.5.18',
    reasoning_parser: '0.5.18',
    tool_call_parser: '0.5.18',
    disaggregation_mode: '0.5.21',
  },
  loads: { accelerator: '0.5.17', num_accelerators: '0.5.17' },
  load: {
    num_total_tokens: '0.5.11',
    num_waiting_uncached_tokens: '0.5.13',
    num_active_tokens: '0.5.17',
    total_prefill_uncached_tokens: '0.5.17',
    total_prefill_busy_us: '0.5.17',
    decode_moments: '0.5.17',
    num_prealloc_ready_tokens: '0.5.20',
  },
  queues: { prealloc_ready: '0.5.17' },
  metrics: { num_decode_host_receive_queue_reqs: '0.5.21' },
} as const satisfies Record<string, Readonly<Record<string, string>>>;

/** How engines of this version speak; a version that cannot be read is taken for the newest. */
export function releaseOf(version: string = NEWEST): Release {
  const age = ageOf(version) ?? ageOf(NEWEST)!;
  const since = (first: string) => compare(age, ageOf(first)!) >= 0;
  return {
    version,
    hasReady: since('0.5.20'),
    pingLooks: since('0.5.23'),
    hasGetLoad: !since('0.5.21'),
    hasRoleSwitch: since('0.5.21'),
    bootstrapQueue: since('0.5.12') ? 'bootstrap' : 'prealloc',
    sumsLoads: !since('0.5.13'),
    endOfWarmup: since('0.5.11')
      ? 'End of disaggregation warmup'
      : 'End of prefill disaggregation mode warmup with status 200, resp: []',
    drainedExit: since('0.5.19') ? 0 : 137,
    diesOfTopLogprobs: !since('0.5.14'),
    lacks(page, key) {
      const first = (CAME[page] as Readonly<Record<string, string>>)[key];
      return first !== undefined && !since(first);
    },
  };
}

/** "0.5.10.post1" → [0, 5, 10, 1]. */
function ageOf(version: string): readonly number[] | undefined {
  const [, ...parts] = /^(\d+)\.(\d+)\.(\d+)(?:\.post(\d+))?/.exec(version) ?? [];
  return parts.length === 0 ? undefined : parts.map((part) => Number(part ?? 0));
}

function compare(one: readonly number[], other: readonly number[]): number {
  const at = one.findIndex((part, index) => part !== other[index]);
  return at < 0 ? 0 : one[at]! - other[at]!;
}

/** An object without the keys of a page that the release does not have yet. */
export const known = (release: Release, page: keyof typeof CAME, answer: Readonly<Record<string, unknown>>) =>
  Object.fromEntries(Object.entries(answer).filter(([key]) => !release.lacks(page, key)));
