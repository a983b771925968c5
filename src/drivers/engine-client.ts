import { z } from 'zod';
import { ask, readAs, Refused } from './ask.ts';
import type { Fetch } from './types.ts';
import { raw } from '../text/raw.ts';

/** What Tandem asks of an engine over HTTP. Everything throws `NoAnswer` when nothing or nothing readable came back. */
export interface EngineClient {
  /** HTTP status of /ready: 503 while it starts or ends. */
  readyStatus(): Promise<number>;
  /** HTTP status of /health_generate, which generates one token: a success takes at least 1 s, a failure up to 20 s. */
  healthStatus(): Promise<number>;
  modelInfo(): Promise<ModelInfo>;
  /** SGLang's version, as in "0.5.23". */
  version(): Promise<string>;
  /** Requests that are running, waiting or in one of the PD queues, by /v1/loads: the gauges of /metrics freeze. */
  openRequests(): Promise<number>;
  /** Requests since the start, by /metrics; 0 before the first, when the counter does not exist yet. */
  requestCount(): Promise<number>;
}

export interface ModelInfo {
  /** "prefill", "decode", or whatever else it says. */
  readonly role: string;
  readonly servedModelName: string;
}

const ANSWER_MS = 10_000;
/** /health_generate may take 20 s before it says 503. */
const HEALTH_MS = 25_000;

const ModelInfoAnswer = z.object({ disaggregation_mode: z.string(), served_model_name: z.string() });
const ServerInfoAnswer = z.object({ version: z.string() });
const LoadsAnswer = z.object({
  loads: z.array(
    z.object({
      num_running_reqs: z.number(),
      num_waiting_reqs: z.number(),
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
  /** `older` is the name that SGLang had for the same page before. */
  const getEither = async (path: string, older: string) => {
    const answer = await get(path);
    return answer.status === 404 ? await get(older) : answer;
  };

  return {
    readyStatus: async () => (await get('/ready')).status,
    healthStatus: async () => (await get('/health_generate', HEALTH_MS)).status,
    async modelInfo() {
      const info = readAs(ModelInfoAnswer, '/model_info', await getEither('/model_info', '/get_model_info'));
      return { role: info.disaggregation_mode, servedModelName: info.served_model_name };
    },
    async version() {
      const answer = await getEither('/server_info', '/get_server_info');
      // It holds api_key and admin_api_key: nothing but the fields named above leaves here, not even of a refusal.
      const quotable = answer.status === 200 ? answer : { ...answer, body: raw('') };
      return readAs(ServerInfoAnswer, '/server_info', quotable).version;
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

/** 0.5.23 counts the PD queues in num_waiting_reqs; whoever does not gives them here. */
function waitingOf({ num_waiting_reqs, disaggregation }: z.infer<typeof LoadsAnswer>['loads'][number]): number {
  const queues = Object.entries(disaggregation ?? {})
    .filter(([name]) => name.endsWith('_queue_reqs'))
    .reduce((sum, [, count]) => sum + (typeof count === 'number' ? count : 0), 0);
  return Math.max(num_waiting_reqs, queues);
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
