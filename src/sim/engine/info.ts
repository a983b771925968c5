import type { Role } from '../../plan/types.ts';
import type { Model } from './model.ts';
import { known, NEWER, OLDER } from './release.ts';
import type { Scheduler } from './scheduler.ts';
import type { Settings } from './settings.ts';

/** What an engine says of itself: the bodies of /v1/models, /model_info, /server_info and /v1/loads. */

const TOKENS_KEPT_FREE = 6;

export const contextLength = (settings: Settings, model: Model) => settings.contextLength ?? model.contextLength;
/** Longest prompt in tokens. */
export const maxInputTokens = (settings: Settings, model: Model) => contextLength(settings, model) - TOKENS_KEPT_FREE;

export const models = (settings: Settings, model: Model) => ({
  object: 'list',
  data: [
    {
      id: settings.servedModelName,
      object: 'model',
      created: Math.floor(Date.now() / 1000),
      owned_by: 'sglang',
      root: settings.servedModelName,
      parent: null,
      max_model_len: contextLength(settings, model),
    },
  ],
});

export const modelInfo = (settings: Settings, model: Model, role: Role | 'null') =>
  known(settings.release, 'modelInfo', newestModelInfo(settings, model, role));

const newestModelInfo = (settings: Settings, model: Model, role: Role | 'null') => ({
  model_path: settings.modelPath,
  served_model_name: settings.servedModelName,
  tokenizer_path: settings.args['tokenizer_path'],
  is_generation: true,
  preferred_sampling_params: null,
  weight_version: 'default',
  load_format: settings.args['load_format'],
  reasoning_parser: settings.args['reasoning_parser'],
  tool_call_parser: settings.args['tool_call_parser'],
  disaggregation_mode: role,
  has_image_understanding: false,
  has_audio_understanding: false,
  model_type: model.modelType,
  architectures: model.architectures,
  embedding: {
    family: 'none',
    task: 'none',
    execution: 'none',
    attention: 'none',
    pooling: 'model_defined',
    normalize: false,
    postprocessor: 'none',
    tokenizer_special_tokens: 'model_default',
    supports_dimensions: false,
    supports_token_embeddings: false,
    supports_multimodal: false,
    requires_embedding_flag: false,
    auto_enable_embedding: false,
    bcg_eligibility: 'disabled',
    safe_disable_kv_cache: false,
    safe_disable_radix_cache: false,
    safe_disable_chunked_prefill: false,
    enabled: false,
    matryoshka_dimensions: [],
    bcg: {
      prefill_backend: 'disabled',
      enabled: false,
      capture_token_budget: 4096,
      capture_batch_sizes: [4, 8],
    },
    cache: {
      kv_cache_disabled: false,
      radix_cache_disabled: settings.args['disable_radix_cache'] === true,
      chunked_prefill_disabled: false,
    },
  },
});

const NO_GRAPHS = {
  prefill: 0,
  decode: 0,
  target_verify: 0,
  draft_prefill: 0,
  draft_decode: 0,
  draft_extend: 0,
};

/** Every flag by its name, and what was resolved from them. Keys in clear, as the real one shows them; the role of the flags, whatever /pd_role_switch did. */
export function serverInfo(settings: Settings, model: Model, scheduler: Scheduler) {
  const { release, args } = settings;
  const startupTime = { load_weight: 0.01, kv_cache_allocation: 0.66, scheduler_e2e: 4.8, cuda_graph: NO_GRAPHS };
  return {
    ...args,
    ...(settings.role === 'decode' && known(release, 'serverInfo', { hicache_ratio: null })),
    ...known(release, 'serverInfo', {
      launch_command: settings.launchCommand,
      status: 'ready',
      max_total_num_tokens: settings.maxTotalTokens,
      max_req_input_len: maxInputTokens(settings, model),
      startup_time: { ...startupTime, tokenizer_e2e: 24.4 },
      hicache_object_layout: {
        enabled: false,
        backend: null,
        page_size: args['page_size'],
        hicache_object_layout: { pools: [] },
        reason: 'Hierarchical cache is disabled',
      },
      kv_events: null,
      internal_states: [stateOf(settings, scheduler, startupTime)],
      version: settings.version,
      frontend: 'python',
    }),
  };
}

/** What the scheduler made of the flags. */
function stateOf({ release, args, maxRunning, maxTotalTokens }: Settings, scheduler: Scheduler, startupTime: object) {
  const backend = args['attention_backend'];
  const most = { effective_max_running_requests_per_dp: maxRunning };
  return known(release, 'state', {
    ...args,
    ...(release.has(OLDER) && { prefill_attention_backend: backend, decode_attention_backend: backend }),
    pp_max_micro_batch_size: maxRunning,
    disaggregation_decode_retraction_backup: args['disaggregation_decode_retraction_backup'] ?? 'cpu_tensor',
    use_mla_backend: false,
    _mx_config_cache: {},
    world_size: args['tp_size'],
    startup_time: startupTime,
    ...(release.has(NEWER) && most),
    last_gen_throughput: scheduler.throughput,
    memory_usage: known(release, 'memory', {
      weight: 0,
      kvcache: 0.004,
      startup_available: 190,
      token_capacity: maxTotalTokens,
      token_capacity_swa: null,
      graph: release.has(NEWER) ? NO_GRAPHS : 0,
    }),
    decode_cuda_graph_bs: [],
    decode_cuda_graph_memory_gb: 0,
    ...most, // Where it is not told above.
  });
}

/** The state at this moment; unlike the gauges of /metrics it is never old. */
export function loads(
  settings: Settings,
  scheduler: Scheduler,
  role: Role | 'null',
  prefilled: { tokens: number; busyUs: number },
) {
  const { release } = settings;
  const load = loadOf(settings, scheduler, role, prefilled);
  const { num_running_reqs: running, num_waiting_reqs: waiting, token_usage, gen_throughput, utilization } = load;
  const answer = {
    timestamp: new Date().toISOString().replace('Z', '000+00:00'),
    version: settings.version,
    accelerator: null,
    num_accelerators: settings.args['tp_size'],
  };
  if (!release.sumsLoads) {
    return { ...known(release, 'loads', answer), loads: [known(release, 'load', load)] };
  }
  // Until 0.5.12 what is null is left out, which the rank of an engine without others is, and so is the time of a load.
  const { timestamp: _, dp_rank: __, max_running_requests, memory, disaggregation, queues, ...counts } = load;
  const sections = { max_running_requests, memory, disaggregation, queues, num_total_reqs: running + waiting };
  return {
    ...known(release, 'loads', answer),
    dp_rank_count: 1,
    loads: [known(release, 'load', { ...counts, ...sections })],
    aggregate: {
      total_running_reqs: running,
      total_waiting_reqs: waiting,
      total_reqs: running + waiting,
      avg_token_usage: token_usage,
      avg_throughput: gen_throughput,
      avg_utilization: utilization,
    },
  };
}

function loadOf(
  settings: Settings,
  scheduler: Scheduler,
  role: Role | 'null',
  prefilled: { tokens: number; busyUs: number },
) {
  const { release } = settings;
  const prefill = role === 'prefill';
  const usedTokens = scheduler.usedTokens;
  return {
    timestamp: Date.now() / 1000,
    dp_rank: 0,
    num_running_reqs: scheduler.count('running'),
    // Requests in the queues of PD count here too, but for those whose KV cache is on its way.
    num_waiting_reqs: scheduler.count('bootstrap', 'waiting', 'prealloc', 'transfer'),
    num_waiting_uncached_tokens: scheduler.waitingTokens,
    num_used_tokens: usedTokens,
    num_total_tokens: usedTokens + scheduler.waitingTokens,
    num_active_tokens: usedTokens,
    num_prealloc_ready_tokens: 0,
    max_total_num_tokens: settings.maxTotalTokens,
    max_running_requests: settings.maxRunning,
    token_usage: usedTokens / settings.maxTotalTokens,
    gen_throughput: scheduler.throughput,
    cache_hit_rate: 0,
    utilization: prefill ? -1 : scheduler.count('running') / settings.maxRunning,
    total_prefill_uncached_tokens: prefilled.tokens,
    total_prefill_busy_us: prefilled.busyUs,
    decode_moments: prefill ? null : [6, 6, 33165, 6, 33165, 6],
    memory: { weight_gb: 0, kv_cache_gb: 0.004, graph_gb: 0, token_capacity: settings.maxTotalTokens },
    disaggregation: {
      mode: role,
      [`prefill_${release.bootstrapQueue}_queue_reqs`]: scheduler.count('bootstrap'),
      prefill_inflight_queue_reqs: scheduler.count('inflight'),
      decode_prealloc_queue_reqs: scheduler.count('prealloc'),
      decode_transfer_queue_reqs: scheduler.count('transfer'),
      decode_retracted_queue_reqs: 0,
      kv_transfer_speed_gb_s: 0,
      kv_transfer_latency_ms: 0,
    },
    queues: known(release, 'queues', {
      waiting: scheduler.count('waiting'),
      grammar: 0,
      paused: 0,
      retracted: 0,
      prealloc_ready: 0,
    }),
  };
}
