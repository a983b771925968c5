import { z } from 'zod';
import { ask, readAs, Refused } from './ask.ts';
import type { Fetch } from './types.ts';

/**
 * What Tandem asks of an engine over HTTP, by pages that every SGLang from 0.5.10.post1 on has: what an engine is, is
 * decided by what it answers, never by the tag of its image. /ping proves nothing (always 200 below 0.5.23),
 * and /server_info is never asked, since it shows the engine's keys.
 * Everything throws `NoAnswer` when nothing or nothing readable came back.
 */
export interface EngineClient {
  /**
   * True once it generates: /ready, which 0.5.20 brought and which costs nothing, does not say no, and
   * /health_generate, which generates one token, says yes. A success takes at least 1 s, a failure up to 20 s.
   */
  readiness(): Promise<Readiness>;
  /** HTTP status of /health_generate. */
  healthStatus(): Promise<number>;
  identity(): Promise<Identity>;
  /** Requests that are running, waiting or in one of the PD queues, by /v1/loads: the gauges of /metrics freeze. */
  openRequests(): Promise<number>;
  /** Requests since the start, by /metrics; 0 before the first, when the counter does not exist yet. */
  requestCount(): Promise<number>;
}

/** `seen` says what was answered, for who waits. */
export type Readiness = { readonly ready: true } | { readonly ready: false; readonly seen: string };

/** What an engine says of itself. */
export interface Identity {
  /** "prefill", "decode", or whatever else it says. */
  readonly role: string;
  readonly servedModelName: string;
  /** SGLang's version, as in "0.5.23". */
  readonly version: string;
}

const ANSWER_MS = 10_000;
/** /health_generate may take 20 s before it says 503. */
const HEALTH_MS = 25_000;

/** The model itself comes first, LoRA adapters after it. */
const ModelsAnswer = z.object({ data: z.tuple([z.object({ id: z.string() })], z.unknown()) });
/** One entry for each data-parallel rank; all are of one role. */
const RoleAnswer = z.object({
  version: z.string(),
  loads: z.tuple([z.object({ disaggregation: z.object({ mode: z.string() }) })], z.unknown()),
});
const LoadsAnswer = z.object({
  loads: z.array(
    z.object({
      num_running_reqs: z.number(),
      num_waiting_reqs: z.number(),
      queues: z.object({ waiting: z.number() }).nullish(),
      disaggregation: z.record(z.string(), z.unknown()).nullish(),
    }),
  ),
});

/** An engine at `url`, as in http://10.0.0.10:30000, asked from where `fetch` starts. `key` is its API key. */
export function engineClient({
  fetch,
  url,
  key,
}: {
  fetch: Fetch;
  url: string;
  key?: string | undefined;
}): EngineClient {
  const get = (path: string, timeoutMs = ANSWER_MS) => ask(fetch, `${url}${path}`, { key, timeoutMs });
  const healthStatus = async () => (await get('/health_generate', HEALTH_MS)).status;

  return {
    async readiness() {
      const { status } = await get('/ready');
      if (status !== 200 && status !== 404) return { ready: false, seen: `/ready answered ${status}` };
      const health = await healthStatus();
      return health === 200 ? { ready: true } : { ready: false, seen: `/health_generate answered ${health}` };
    },
    healthStatus,
    async identity() {
      const [models, loads] = await Promise.all([get('/v1/models'), get('/v1/loads')]);
      const { id: servedModelName } = readAs(ModelsAnswer, '/v1/models', models).data[0];
      const { version, loads: ranks } = readAs(RoleAnswer, '/v1/loads', loads);
      return { role: ranks[0].disaggregation.mode, servedModelName, version };
    },
    async openRequests() {
      const { loads } = readAs(LoadsAnswer, '/v1/loads', await get('/v1/loads'));
      return loads.reduce((sum, load) => sum + load.num_running_reqs + waitingOf(load), 0);
    },
    async requestCount() {
      const answer = await get('/metrics');
      if (answer.status !== 200) throw new Refused('/metrics', answer);
      return requestCountOf(answer.body);
    },
  };
}

/**
 * The queues of PD have other names in other versions (prefill_prealloc_queue_reqs until 0.5.11, then
 * prefill_bootstrap_queue_reqs), and num_waiting_reqs holds all of them but prefill's inflight queue. So every queue is
 * added up, and the sum and SGLang's own count are held against each other.
 */
function waitingOf({ num_waiting_reqs, queues, disaggregation }: z.infer<typeof LoadsAnswer>['loads'][number]): number {
  const ofPd = Object.entries(disaggregation ?? {})
    .filter(([name]) => name.endsWith('_queue_reqs'))
    .reduce((sum, [, count]) => sum + (typeof count === 'number' ? count : 0), 0);
  return Math.max(num_waiting_reqs, (queues?.waiting ?? 0) + ofPd);
}

/** Sum of `num_requests_total`, else of the answered generation requests. Source: SGLang's Prometheus text. */
export function requestCountOf(metrics: string): number {
  const rows = metrics.split('\n').flatMap((line) => {
    const [, name, labels = '', value] = ROW.exec(line) ?? [];
    return name === undefined ? [] : [{ name, labels, value: Number(value) }];
  });
  const requests = rows.filter(({ name }) => name === 'num_requests_total');
  const answers = rows.filter(({ name, labels }) => name === 'http_responses_total' && GENERATION.test(labels));
  const counted = requests.length > 0 ? requests : answers;
  return counted.reduce((sum, { value }) => sum + value, 0);
}

/** 'sglang:num_requests_total{model_name="a/b"} 7.0' */
const ROW = /^sglang[:_](num_requests_total|http_responses_total)(?:\{([^}]*)\})? (\S+)/;
const GENERATION = /endpoint="(?:\/v1\/(?:chat\/)?completions|\/generate)"/;
