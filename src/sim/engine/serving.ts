import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Role } from '../../plan/types.ts';
import type { Clock } from './clock.ts';
import { answerRequest, type Kind } from './completions.ts';
import { loads, modelInfo, models, serverInfo } from './info.ts';
import type { KvServer } from './kv.ts';
import type { Metrics } from './metrics.ts';
import type { Model } from './model.ts';
import { Aborted, type Scheduler } from './scheduler.ts';
import { known, type Release } from './release.ts';
import type { Settings } from './settings.ts';

/** What the HTTP side of an engine works on; engine.ts moves `phase` on, /pd_role_switch `role` and `kv`. */
export interface Serving {
  readonly settings: Settings;
  readonly model: Model;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly metrics: Metrics;
  readonly counts: { received: number; answered: number; failed: number; aborted: number; crossed: number };
  readonly prefilled: { tokens: number; busyUs: number };
  /** Refused requests that count as open for ever. */
  readonly unforgotten: string[];
  phase: 'starting' | 'ready' | 'draining';
  /** Resolves once the warm-up ended. */
  readonly warm: Promise<void>;
  /** The role it acts in. */
  role: Role | 'null';
  /** The role it claims, where a fault makes that another. */
  readonly saysRole: Role | undefined;
  kv: KvServer | undefined;
  /** Opens the bootstrap port of an engine that became a prefill engine. */
  openKv(): Promise<KvServer>;
  readonly log: (line: string) => void;
  /** The scheduler hits an exception, and the engine kills itself. */
  die(): void;
}

type Handler = (serving: Serving, req: IncomingMessage, res: ServerResponse) => unknown;
type Access = 'open' | 'api' | 'control';

interface Route {
  readonly access: Access;
  /** False in a release that does not have the page. Default: all have it. */
  readonly in?: (release: Release) => boolean;
  /** The scheduler tells what the page says. */
  readonly asksScheduler?: boolean;
  readonly GET?: Handler;
  readonly POST?: Handler;
}

/** /health sleeps one real second before it looks; a probe with a limit of one second fails always. */
const HEALTH_MS = 1000;
/** http_requests_active goes down this late, in seconds. */
const ACTIVE_LAG_SECONDS = 2;

const generation =
  (kind: Kind): Handler =>
  (serving, req, res) =>
    answerRequest(serving, kind, req, res);

const ROUTES: Readonly<Record<string, Route>> = {
  '/': { access: 'api', GET: (_, __, res) => json(res, 200, 'SGLang is running') },
  '/health': { access: 'open', GET: health },
  '/health_generate': { access: 'open', GET: health },
  '/ready': { access: 'open', in: ({ hasReady }) => hasReady, GET: ready },
  '/ping': { access: 'api', GET: ping },
  '/get_load': { access: 'api', in: ({ hasGetLoad }) => hasGetLoad, asksScheduler: true, GET: sayLoad },
  '/v1/models': { access: 'api', GET: ({ settings, model }, _, res) => json(res, 200, models(settings, model)) },
  '/model_info': { access: 'api', GET: sayModelInfo },
  '/get_model_info': { access: 'api', GET: sayModelInfo },
  '/server_info': { access: 'api', asksScheduler: true, GET: sayServerInfo },
  '/get_server_info': { access: 'api', asksScheduler: true, GET: sayServerInfo },
  '/v1/loads': {
    access: 'api',
    asksScheduler: true,
    GET: (serving, _, res) =>
      json(res, 200, loads(serving.settings, serving.scheduler, serving.saysRole ?? serving.role, serving.prefilled)),
  },
  '/v1/chat/completions': { access: 'api', POST: generation('chat') },
  '/v1/completions': { access: 'api', POST: generation('completion') },
  '/generate': { access: 'api', POST: generation('generate') },
  '/flush_cache': { access: 'control', GET: flush, POST: flush },
  '/freeze_gc': { access: 'control', POST: (_, __, res) => text(res, 200, 'Garbage collection frozen.\n') },
  '/abort_request': { access: 'control', POST: abortRequest },
  '/pause_generation': { access: 'control', POST: pause },
  '/continue_generation': { access: 'control', POST: resume },
  '/pd_role_switch': { access: 'control', in: ({ hasRoleSwitch }) => hasRoleSwitch, POST: switchRole },
};
const METRICS: Route = { access: 'open', GET: ({ metrics, role }, _, res) => text(res, 200, metrics.print(role)) };

/** Answers as a real engine's HTTP server does. */
export const listener =
  (serving: Serving): RequestListener =>
  (req, res) => {
    handle(serving, req, res).catch(() => res.destroy());
  };

async function handle(serving: Serving, req: IncomingMessage, res: ServerResponse): Promise<void> {
  await serving.clock.running();
  res.setHeader('server', 'uvicorn');
  res.setHeader('vary', 'Origin');
  const path = new URL(req.url ?? '/', 'http://engine').pathname;
  const endpoint = path.startsWith('/v1/models/') ? '/v1/models/{model:path}' : path;
  watch(serving, endpoint, req.method ?? 'GET', res);
  // A path that begins so is open too, whether it exists or not.
  const open = ['/health', '/ready', '/metrics'].some((prefix) => path.startsWith(prefix));
  const { metrics, release } = serving.settings;
  const found =
    path.startsWith('/metrics') && metrics ? METRICS : Object.hasOwn(ROUTES, path) ? ROUTES[path] : undefined;
  const route = found?.in?.(release) === false ? undefined : found;
  if (!open && !allowed(serving.settings, route?.access ?? 'api', req)) {
    return json(res, 401, { error: 'Unauthorized' });
  }
  if (path.startsWith('/v1/models/') && req.method === 'GET') return oneModel(serving, path, res);
  if (route === undefined) return json(res, 404, { detail: 'Not Found' });
  const act = route[req.method as 'GET' | 'POST'];
  if (act === undefined) return json(res, 405, { detail: 'Method Not Allowed' });
  if (route.asksScheduler && release.warmupHoldsScheduler && serving.role === 'prefill') {
    await serving.clock.race(serving.warm);
  }
  await act(serving, req, res);
}

/** The table of keys: with an admin key set, control endpoints take that one alone and the others do not. */
function allowed({ apiKey, adminKey }: Settings, access: Access, req: IncomingMessage): boolean {
  const wanted = access === 'control' ? (adminKey ?? apiKey) : apiKey;
  return wanted === undefined || req.headers.authorization === `Bearer ${wanted}`;
}

function watch({ metrics, clock }: Serving, endpoint: string, method: string, res: ServerResponse): void {
  const labels = { endpoint, method };
  metrics.add('http_requests_total', labels);
  metrics.add('http_requests_active', labels);
  res.on('close', () => {
    if (res.headersSent) metrics.add('http_responses_total', { ...labels, status_code: String(res.statusCode) });
    clock.patience(ACTIVE_LAG_SECONDS).then(
      () => metrics.add('http_requests_active', labels, -1),
      () => undefined,
    );
  });
}

async function health(serving: Serving, _: IncomingMessage, res: ServerResponse): Promise<void> {
  if (serving.phase === 'ready') {
    await serving.clock.sleep(HEALTH_MS);
    // A paused engine does not answer at all.
    await serving.clock.race(serving.scheduler.unpaused());
  }
  res.writeHead(serving.phase === 'ready' ? 200 : 503, { 'content-length': 0 }).end();
}

function ready({ phase, scheduler }: Serving, _: IncomingMessage, res: ServerResponse): void {
  res.writeHead(phase === 'ready' && !scheduler.paused ? 200 : 503, { 'content-length': 0 }).end();
}

function ping(serving: Serving, req: IncomingMessage, res: ServerResponse): void {
  if (serving.settings.release.pingLooks) return ready(serving, req, res);
  res.writeHead(200, { 'content-length': 0 }).end();
}

/** What /v1/loads tells, as older clients want it. */
function sayLoad({ settings, scheduler }: Serving, _: IncomingMessage, res: ServerResponse): void {
  const waiting = scheduler.count('bootstrap', 'waiting', 'prealloc', 'transfer');
  json(res, 200, [
    known(settings.release, 'getLoad', {
      rid: null,
      http_worker_ipc: null,
      dp_rank: null,
      num_reqs: scheduler.count('running') + waiting,
      num_waiting_reqs: waiting,
      num_tokens: scheduler.usedTokens + scheduler.waitingTokens,
      num_pending_tokens: scheduler.waitingTokens,
      ts_tic: performance.now() / 1000,
    }),
  ]);
}

function sayModelInfo({ settings, model, role, saysRole }: Serving, _: IncomingMessage, res: ServerResponse): void {
  json(res, 200, modelInfo(settings, model, saysRole ?? role));
}

function sayServerInfo({ settings, model, scheduler }: Serving, _: IncomingMessage, res: ServerResponse): void {
  json(res, 200, serverInfo(settings, model, scheduler));
}

function oneModel({ settings, model }: Serving, path: string, res: ServerResponse): void {
  const name = decodeURIComponent(path.slice('/v1/models/'.length));
  const [served] = models(settings, model).data;
  if (name === settings.servedModelName) return json(res, 200, served);
  const message = `The model '${name}' does not exist`;
  json(res, 404, { error: { message, type: 'invalid_request_error', param: 'model', code: 'model_not_found' } });
}

/** Its text comes without a content type. */
function flush({ scheduler }: Serving, _: IncomingMessage, res: ServerResponse): void {
  const [status, body] =
    scheduler.jobs.size > 0
      ? [400, 'Flush cache failed.\n']
      : [
          200,
          'Cache flushed.\nPlease check backend logs for more details. (When there are running or waiting requests, the operation will not be performed.)\n',
        ];
  res.writeHead(status).end(body);
}

async function abortRequest({ scheduler }: Serving, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const body = await readObject(req);
  if (body === undefined) return missingBody(res);
  for (const job of scheduler.jobs) {
    if (body['abort_all'] === true || body['rid'] === job.rid) job.abort.abort(new Aborted('asked by /abort_request'));
  }
  res.writeHead(200, { 'content-length': 0 }).end();
}

async function pause({ scheduler, clock }: Serving, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const body = await readObject(req);
  if (body === undefined) return missingBody(res);
  const mode = body['mode'] ?? 'abort';
  if (mode !== 'abort' && mode !== 'in_place' && mode !== 'retract') {
    return badRequest(res, `mode: Input should be 'abort', 'retract' or 'in_place'`);
  }
  scheduler.pause();
  if (mode === 'abort') {
    for (const job of scheduler.jobs) job.abort.abort(new Aborted('asked by /pause_generation'));
    await clock.patience(1);
  }
  json(res, 200, { message: 'Generation paused successfully.', status: 'ok' });
}

async function resume({ scheduler }: Serving, req: IncomingMessage, res: ServerResponse): Promise<void> {
  if ((await readObject(req)) === undefined) return missingBody(res);
  scheduler.continue();
  json(res, 200, { message: 'Generation continued successfully.', status: 'ok' });
}

async function switchRole(serving: Serving, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const body = await readObject(req);
  if (body === undefined) return missingBody(res);
  const old = serving.role;
  const wanted = body['new_role'];
  if (wanted !== 'prefill' && wanted !== 'decode')
    return badRequest(res, `new_role: Input should be 'prefill' or 'decode'`);
  const answer = (status: number, success: boolean, message: string, safeToRestore: boolean) =>
    json(res, status, {
      rid: null,
      http_worker_ipc: null,
      success,
      message,
      old_role: old,
      new_role: wanted,
      safe_to_restore: safeToRestore,
    });
  if (!serving.settings.roleSwitch)
    return answer(400, false, 'PD role switch is not enabled; start with --enable-pd-role-switch', true);
  if (wanted === old) return answer(200, true, 'ok', false);
  if (wanted === 'decode' && typeof body['decode_cuda_graph_memory_gb'] !== 'number') {
    return answer(400, false, 'decode_cuda_graph_memory_gb is required before capturing decode graphs', true);
  }
  if (serving.scheduler.jobs.size > 0) {
    return answer(400, false, 'instance is not idle; drain all requests before switching', true);
  }
  if (body['prepare_only'] === true) return answer(200, true, 'ready', true);
  serving.kv ??= await serving.openKv();
  serving.role = wanted;
  answer(200, true, 'ok', false);
}

/** The JSON object of a body; undefined when there is none. */
export async function readObject(req: IncomingMessage): Promise<Record<string, unknown> | undefined> {
  req.setEncoding('utf8');
  let body = '';
  for await (const part of req) body += part as string;
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

export function json(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function text(res: ServerResponse, status: number, body: string): void {
  res.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(body);
}

/** SGLang's error object. */
export const errorBody = (message: string, type: string, code: number) => ({
  object: 'error',
  message,
  type,
  param: null,
  code,
});

export function badRequest(res: ServerResponse, message: string): void {
  json(res, 400, errorBody(message, 'Bad Request', 400));
}

const missingBody = (res: ServerResponse) => badRequest(res, 'body: Field required');
