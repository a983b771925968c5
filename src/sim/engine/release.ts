/**
 * In what the releases of SGLang speak otherwise, as far as a simulated engine shows it. Facts: the wheels of every
 * version since 0.5.10.post1 (test/golden/engine/wheels.json, which scripts/sglang/release.py writes), and the recorded
 * answers of engines of 0.5.10.post1 and 0.5.23 (test/golden/engine). Of what only these two told, a version between
 * them has what the nearer one has: NEARER.
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
  /** Pages that ask the scheduler wait while a prefill engine warms up. */
  readonly warmupHoldsScheduler: boolean;
  /** A chat’s chunks tell every field, null where they have nothing of it, and null is an answer without text. */
  readonly tellsNulls: boolean;
  /** A prefill engine tells its speed of decoding too. */
  readonly prefillTellsThroughput: boolean;
  /** Metrics of requests tell the role, and whether the answer was streamed. */
  readonly labelsRequests: boolean;
  /** What its log calls the meeting of its ranks. */
  readonly initOfRanks: 'Init torch distributed' | 'Init parallel';
  /** It logs how long the parts of its start took. */
  readonly logsTimings: boolean;
  readonly endOfWarmup: string;
  /** What it says before it kills itself. */
  readonly lastWords: readonly string[];
  /** Where its HTTP port is taken. */
  readonly takenPortExit: 3 | 137;
  /** A request that was too long is open no more; an engine that remembers one never ends its drain. */
  readonly forgetsTooLong: boolean;
  /** After a drain; before 0.5.19 it ends its whole process tree by SIGKILL, itself too. */
  readonly drainedExit: 0 | 137;
  /** A prefill engine dies of one request with top_logprobs. */
  readonly diesOfTopLogprobs: boolean;
  /** Settings of an engine that is told none are those of the recorded version. */
  readonly settings: '0.5.10.post1' | '0.5.23';
  has(span: Span): boolean;
}

/** The versions that have something: all from `since` on, and none from `until` on. */
export interface Span {
  readonly since?: string;
  readonly until?: string;
}

/** The version of an engine that is told none. */
export const NEWEST = '0.5.23';

/** The first version that is nearer to 0.5.23 than to 0.5.10.post1. */
const NEARER = '0.5.17';
/** Where only recorded engines told: in the newer ones, or in the older. */
export const NEWER: Span = { since: NEARER };
export const OLDER: Span = { until: NEARER };

/** Keys that not every version has, by page. */
const SPANS = {
  modelInfo: {
    embedding: { since: '0.5.17' },
    served_model_name: { since: '0.5.18' },
    load_format: { since: '0.5.18' },
    reasoning_parser: { since: '0.5.18' },
    tool_call_parser: { since: '0.5.18' },
    disaggregation_mode: { since: '0.5.21' },
  },
  loads: { accelerator: { since: '0.5.17' }, num_accelerators: { since: '0.5.17' } },
  load: {
    num_total_tokens: { since: '0.5.11' },
    num_waiting_uncached_tokens: { since: '0.5.13' },
    num_active_tokens: { since: '0.5.17' },
    total_prefill_uncached_tokens: { since: '0.5.17' },
    total_prefill_busy_us: { since: '0.5.17' },
    decode_moments: { since: '0.5.17' },
    num_prealloc_ready_tokens: { since: '0.5.20' },
  },
  getLoad: { rid: OLDER, http_worker_ipc: OLDER, num_pending_tokens: { since: '0.5.13' } },
  queues: { prealloc_ready: { since: '0.5.17' } },
  serverInfo: {
    hicache_ratio: NEWER,
    launch_command: { since: '0.5.20' },
    startup_time: { since: '0.5.17' },
    hicache_object_layout: NEWER,
    kv_events: { since: '0.5.13' },
    frontend: { since: '0.5.21' },
  },
  state: {
    custom_sigquit_handler: OLDER,
    use_mla_backend: OLDER,
    _mx_config_cache: OLDER,
    disaggregation_decode_retraction_backup: { since: '0.5.18' },
    world_size: NEWER,
    startup_time: { since: '0.5.17' },
    decode_cuda_graph_bs: NEWER,
    decode_cuda_graph_memory_gb: NEWER,
  },
  memory: { startup_available: NEWER, token_capacity_swa: NEWER },
  usage: { completion_tokens_details: NEWER },
  metadata: { weight_versions: NEWER },
  message: { tool_calls: OLDER },
  meta: {
    total_retractions: OLDER,
    num_retractions: NEWER,
    storage_prefetch_wait: NEWER,
    storage_staging_wait: NEWER,
    forward_entry_time: NEWER,
    prefill_finished_time: NEWER,
    prefill_waiting_latency: OLDER,
    prefill_launch_latency: OLDER,
    weight_versions: NEWER,
    first_token_latency: NEWER,
    inference_time: OLDER,
  },
} as const satisfies Record<string, Readonly<Record<string, Span>>>;

/** How engines of this version speak; a version that cannot be read is taken for the newest. */
export function releaseOf(version: string = NEWEST): Release {
  const age = ageOf(version) ?? ageOf(NEWEST)!;
  const since = (first: string) => compare(age, ageOf(first)!) >= 0;
  const newer = since(NEARER);
  return {
    version,
    hasReady: since('0.5.20'),
    pingLooks: since('0.5.23'),
    hasGetLoad: !since('0.5.21'),
    hasRoleSwitch: since('0.5.21'),
    bootstrapQueue: since('0.5.12') ? 'bootstrap' : 'prealloc',
    sumsLoads: !since('0.5.13'),
    warmupHoldsScheduler: !newer,
    tellsNulls: !newer,
    prefillTellsThroughput: !newer,
    labelsRequests: newer,
    initOfRanks: newer ? 'Init parallel' : 'Init torch distributed',
    logsTimings: newer,
    endOfWarmup: since('0.5.11')
      ? 'End of disaggregation warmup'
      : 'End of prefill disaggregation mode warmup with status 200, resp: []',
    lastWords: newer ? ['kill_process_tree called: parent_pid=1, include_parent=True, pid=1'] : [],
    takenPortExit: newer ? 137 : 3,
    forgetsTooLong: newer,
    drainedExit: since('0.5.19') ? 0 : 137,
    diesOfTopLogprobs: !since('0.5.14'),
    settings: newer ? '0.5.23' : '0.5.10.post1',
    has: (span) => (span.since === undefined || since(span.since)) && (span.until === undefined || !since(span.until)),
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

/** An object without the keys of a page that the release does not have. */
export function known(release: Release, page: keyof typeof SPANS, answer: Readonly<Record<string, unknown>>) {
  const spans: Readonly<Record<string, Span>> = SPANS[page];
  return Object.fromEntries(Object.entries(answer).filter(([key]) => release.has(spans[key] ?? {})));
}
