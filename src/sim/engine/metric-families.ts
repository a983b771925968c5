import type { Role } from '../../plan/types.ts';
import { NEWER, OLDER, type Span } from './release.ts';

/**
 * The families of /metrics of both roles. Names, labels and buckets are facts read from SGLang's own output, that of
 * 0.5.10.post1 and of 0.5.23; what the engine does not model is there with the value of an idle engine.
 */
export interface Family extends Span {
  /** Without the prefix "sglang:". */
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** engine: engine_type and model_name; scheduler: these and the ranks; none: no common labels. */
  readonly labels: 'none' | 'engine' | 'scheduler';
  /** Rows that are there from the start, by their own labels; default one row without any. Absent rows come with their first event. */
  readonly rows?: readonly Readonly<Record<string, string>>[];
  /** Value of an idle engine. Default 0. */
  readonly idle?: number;
  readonly buckets?: readonly number[];
  readonly only?: Role;
}

const each = (label: string, ...values: string[]) => values.map((value) => ({ [label]: value }));
const ON_EVENT: Family['rows'] = [];

const STAGES = each(
  'category',
  'other',
  'recv_requests',
  'process_input_requests',
  'get_next_batch_to_run',
  'process_queue',
  'run_batch',
  'process_batch_result',
  'sanity_check_cache',
  'idle',
).map((row) => ({ ...row, forward_overlap: 'none' }));
const GRAPH_PHASES = each(
  'phase',
  'prefill',
  'decode',
  'target_verify',
  'draft_prefill',
  'draft_decode',
  'draft_extend',
);
const KEY_BOUNDS = ['0', '1', '2', '3', '5', '7', '10', '20', '50', '100', '200', '+Inf'];
const KEY_RANGES = KEY_BOUNDS.slice(1).map((le, index) => ({ gt: KEY_BOUNDS[index] as string, le }));

const TTFT = [0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400];
const ITL = [
  0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4,
  6, 8,
];
const TOKENS = [
  100, 300, 500, 700, 1000, 1500, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10000, 12500, 15000, 17500, 20000,
  22500, 25000, 27500, 30000, 35000, 40000, 60000, 80000, 100000, 200000, 300000, 400000, 600000, 800000, 1e6, 1.1e6,
];
const MILLISECONDS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500];
const STAGE_SECONDS = Array.from({ length: 30 }, (_, power) => 0.001 * 1.62 ** power);
const QUEUE_SECONDS = [
  0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 100, 200, 300, 400,
  500, 600, 700, 800, 900, 1000, 1200, 1400, 1600, 1800, 2000, 2500, 3000,
];

const RETRACTIONS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 75, 100];

const counter = (name: string, labels: Family['labels'], more: Partial<Family> = {}): Family => ({
  name,
  type: 'counter',
  labels,
  ...more,
});
const gauge = (name: string, more: Partial<Family> = {}): Family => ({
  name,
  type: 'gauge',
  labels: 'scheduler',
  ...more,
});
const histogram = (
  name: string,
  labels: Family['labels'],
  buckets: readonly number[],
  more: Partial<Family> = {},
): Family => ({
  name,
  type: 'histogram',
  labels,
  buckets,
  ...more,
});

const ALWAYS: readonly Family[] = [
  counter('cuda_graph_passes_total', 'scheduler', { rows: ON_EVENT }),
  counter('realtime_tokens_total', 'scheduler', { rows: ON_EVENT }),
  counter('num_transfer_failed_reqs_total', 'scheduler', { rows: ON_EVENT }),
  counter('num_bootstrap_failed_reqs_total', 'scheduler', { rows: ON_EVENT }),
  counter('process_cpu_seconds_total', 'none', { rows: each('component', 'tokenizer', 'detokenizer') }),
  counter('http_requests_total', 'none', { rows: ON_EVENT }),
  counter('http_responses_total', 'none', { rows: ON_EVENT }),
  counter('prompt_tokens_total', 'engine', { rows: ON_EVENT }),
  counter('generation_tokens_total', 'engine', { rows: ON_EVENT }),
  counter('num_requests_total', 'engine', { rows: ON_EVENT }),
  counter('num_aborted_requests_total', 'engine', { rows: ON_EVENT }),
  histogram('per_stage_req_latency_seconds', 'scheduler', STAGE_SECONDS, { rows: ON_EVENT }),
  histogram('kv_transfer_latency_ms', 'scheduler', [...MILLISECONDS, 5000], { only: 'prefill' }),
  histogram('kv_transfer_total_mb', 'scheduler', [1, 5, 10, 50, 100, 500, 1000, 5000, 10000], { only: 'prefill' }),
  histogram('kv_transfer_speed_gb_s', 'scheduler', [0.1, 0.5, 1, 5, 10, 25, 50, 100, 200, 400], { only: 'prefill' }),
  gauge('routing_keys_active', { labels: 'none' }),
  gauge('http_requests_active', { labels: 'none', rows: ON_EVENT }),
  gauge('num_retracted_reqs', { rows: each('pid', '1027') }),
  gauge('num_paused_reqs', { rows: each('pid', '1027') }),
  gauge('max_total_num_tokens'),
  gauge('num_running_reqs'),
  gauge('num_queue_reqs'),
  gauge('num_grammar_queue_reqs'),
  gauge('gen_throughput'),
  gauge('cache_hit_rate'),
  gauge('decode_sum_seq_lens'),
  gauge('token_usage'),
  gauge('full_token_usage'),
  gauge('swa_token_usage'),
  gauge('mamba_usage'),
  gauge('num_used_tokens'),
  gauge('spec_accept_length'),
  gauge('spec_accept_rate'),
  gauge('num_prefill_bootstrap_queue_reqs'),
  gauge('num_prefill_inflight_queue_reqs'),
  gauge('num_decode_prealloc_queue_reqs'),
  gauge('num_decode_transfer_queue_reqs'),
  gauge('pending_prealloc_token_usage'),
  gauge('utilization'),
  gauge('new_token_ratio', { idle: 0.7 }),
  gauge('is_cuda_graph'),
  gauge('num_unique_running_routing_keys'),
  gauge('routing_key_running_req_count', { rows: KEY_RANGES }),
  gauge('routing_key_all_req_count', { rows: KEY_RANGES }),
  histogram('time_to_first_token_seconds', 'engine', TTFT, { rows: ON_EVENT, only: 'decode' }),
  histogram('e2e_request_latency_seconds', 'engine', [...TTFT, 600, 1200, 1800, 2400], { rows: ON_EVENT }),
];
const IN_NEWER: readonly Family[] = [
  counter('prefill_effective_tokens_total', 'scheduler', {
    rows: each('mode', 'input', 'device_hit', 'host_hit', 'storage_hit'),
  }),
  counter('scheduler_idle_seconds_total', 'scheduler'),
  counter('scheduler_process_cpu_seconds_total', 'scheduler'),
  counter('scheduler_stage_seconds_total', 'scheduler', { rows: STAGES }),
  counter('dp_attention_tokens_total', 'scheduler', { rows: each('kind', 'scheduled', 'imbalance') }),
  counter('dp_attention_steps_total', 'scheduler', { rows: each('rank_state', 'active', 'idle') }),
  counter('dp_attention_pairs_total', 'scheduler', { rows: each('kind', 'scheduled', 'imbalance') }),
  counter('failed_session_recoveries_total', 'none'),
  counter('decode_deferred_kv_release_total', 'scheduler', { rows: ON_EVENT, only: 'decode' }),
  histogram('dp_attention_token_imbalance_ratio', 'scheduler', [1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 15, 20, 30, 45, 60]),
  histogram(
    'dp_attention_sync_wait_seconds',
    'scheduler',
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
  ),
  histogram('kv_transfer_bootstrap_ms', 'scheduler', MILLISECONDS),
  histogram('kv_transfer_alloc_ms', 'scheduler', MILLISECONDS),
  histogram('queue_time_seconds', 'scheduler', QUEUE_SECONDS),
  histogram('decode_deferred_kv_release_seconds', 'scheduler', [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60], {
    only: 'decode',
  }),
  gauge('weight_memory_usage_gb', { idle: 0.0003 }),
  gauge('kv_cache_memory_usage_gb', { idle: 0.0039 }),
  gauge('graph_memory_usage_gb', { rows: GRAPH_PHASES }),
  gauge('page_size', { idle: 1 }),
  gauge('num_pages'),
  gauge('context_len'),
  gauge('startup_available_gpu_memory_gb', { idle: 190 }),
  gauge('kv_available_tokens'),
  gauge('kv_evictable_tokens'),
  gauge('kv_used_tokens'),
  gauge('swa_available_tokens'),
  gauge('swa_evictable_tokens'),
  gauge('swa_used_tokens'),
  gauge('mamba_available_tokens'),
  gauge('mamba_evictable_tokens'),
  gauge('mamba_used_tokens'),
  gauge('spec_cap_length'),
  gauge('spec_block_accept_length'),
  gauge('spec_num_steps'),
  gauge('spec_num_draft_tokens'),
  gauge('num_decode_host_receive_queue_reqs', { since: '0.5.21' }),
  gauge('num_decode_deferred_kv_release_reqs'),
  gauge('prealloc_full_token_usage'),
  gauge('prealloc_swa_token_usage'),
  gauge('fwd_occupancy', { idle: NaN }),
  histogram('get_loads_duration_seconds', 'engine', [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1]),
  histogram('prompt_tokens_histogram', 'engine', TOKENS),
  histogram('uncached_prompt_tokens_histogram', 'engine', TOKENS),
  histogram('generation_tokens_histogram', 'engine', TOKENS),
  histogram('inter_token_latency_seconds', 'engine', ITL, { rows: ON_EVENT, only: 'decode' }),
  histogram('request_time_per_output_token_seconds', 'engine', ITL, { rows: ON_EVENT, only: 'decode' }),
  gauge('startup_time_seconds', {
    labels: 'engine',
    rows: each('phase', 'load_weight', 'kv_cache_allocation', 'scheduler_e2e', 'tokenizer_e2e'),
  }),
  gauge('startup_cuda_graph_time_seconds', { labels: 'engine', rows: GRAPH_PHASES }),
];
const IN_OLDER: readonly Family[] = [
  gauge('cache_config_info', { labels: 'none', rows: ON_EVENT }),
  gauge('engine_startup_time'),
  gauge('engine_load_weights_time'),
  gauge('num_running_reqs_offline_batch'),
  // A prefill engine's one token counts as one between others.
  histogram('inter_token_latency_seconds', 'engine', ITL),
  histogram('num_retractions', 'engine', RETRACTIONS),
  histogram(
    'queue_time_seconds',
    'scheduler',
    QUEUE_SECONDS.filter((bound) => bound === 0 || bound >= 0.1),
  ),
  histogram('kv_transfer_bootstrap_ms', 'scheduler', MILLISECONDS, { only: 'prefill' }),
  histogram('kv_transfer_alloc_ms', 'scheduler', MILLISECONDS, { only: 'prefill' }),
];

export const FAMILIES: readonly Family[] = [
  ...ALWAYS,
  ...IN_NEWER.map((family) => ({ ...NEWER, ...family })),
  ...IN_OLDER.map((family) => ({ ...OLDER, ...family })),
];
