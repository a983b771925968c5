import type { MemoryUnit, Surroundings } from './memory-host.ts';
import { flagOf } from './memory-host.ts';
import { GOOD_EVENTS } from './stand-in-engine.ts';

/** An engine in a router's list. */
export interface Listed {
  readonly url: string;
  readonly role: string;
  readonly bootstrapPort?: number;
  pairingKey?: string;
}

interface Request {
  readonly method: string;
  readonly path: string;
  readonly body: string;
  readonly signal: AbortSignal | undefined;
}

const json = (value: unknown, status = 200, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify(value), { status, headers });

/** What a running unit answers: SGLang's engines and smg's router, as far as Tandem asks them. */
export async function answerHttp(site: Surroundings, unit: MemoryUnit, request: Request): Promise<Response> {
  const role = flagOf(unit.argv, 'disaggregation-mode');
  return role === undefined ? routerAnswer(site, unit, request) : await engineAnswer(site, unit, role, request);
}

const unknown = (what: string, { method, path }: Request): never => {
  throw new Error(`the memory ${what} does not know ${method} ${path}`);
};

// ---- Engines

async function engineAnswer(site: Surroundings, unit: MemoryUnit, role: string, request: Request): Promise<Response> {
  const model = flagOf(unit.argv, 'served-model-name');
  switch (request.path) {
    case '/ready':
    case '/health':
    case '/health_generate':
      return new Response('', { status: isWhole(site, unit) ? 200 : 503 });
    case '/v1/models':
      return json({ data: [{ id: model }] });
    case '/v1/loads':
      return json({
        version: '0.5.23',
        loads: [{ num_running_reqs: 0, num_waiting_reqs: 0, disaggregation: { mode: role } }],
      });
    case '/metrics':
      return new Response(`sglang:num_requests_total{engine_type="${role}"} ${unit.requests}.0\n`);
    case '/v1/completions':
      await met(site, request);
      unit.requests += 1;
      return generated(request.body);
    default:
      return unknown('engine', request);
  }
}

/** An engine over several hosts answers once every rank runs. */
function isWhole(site: Surroundings, { name, argv }: MemoryUnit): boolean {
  const ranks = Number(flagOf(argv, 'nnodes') ?? 1);
  return [...site.hosts.values()].filter(({ units }) => units.get(name)?.running).length === ranks;
}

/** Either half of a request waits for the other. The room is a number that JavaScript cannot hold. */
async function met(site: Surroundings, { body, signal }: Request): Promise<void> {
  const room = /"bootstrap_room":(\d+)/.exec(body)?.[1];
  if (room === undefined) throw new Error(`a request to an engine has no room: ${body}`);
  const other = site.rooms.get(room);
  site.rooms.delete(room);
  if (other) return other();
  await new Promise<void>((resolve, reject) => {
    site.rooms.set(room, resolve);
    signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
  });
}

function generated(body: string, headers: Record<string, string> = {}): Response {
  if ((JSON.parse(body) as { stream?: boolean }).stream)
    return new Response(GOOD_EVENTS.map((event) => `data: ${event}\n\n`).join(''), { headers });
  const choices = [{ index: 0, text: 'abc', finish_reason: 'length' }];
  return json({ object: 'text_completion', choices, usage: { completion_tokens: 3 } }, 200, headers);
}

// ---- Routers

function routerAnswer(site: Surroundings, router: MemoryUnit, request: Request): Response {
  const { method, path, body } = request;
  const id = /^\/workers\/(.+)$/.exec(path)?.[1];
  if (path === '/v1/completions') return routed(site, router, body);
  if (path === '/workers' && method === 'GET')
    return json({ workers: [...router.listed].map(([key, entry]) => row(site, key, entry)) });
  if (path === '/workers' && method === 'POST') return added(router, body);
  const entry = id === undefined ? undefined : router.listed.get(decodeURIComponent(id));
  if (id !== undefined && method === 'PATCH') {
    if (!entry) return json({ error: 'not found' }, 404);
    entry.pairingKey = keyIn(body) ?? entry.pairingKey ?? '';
    return json({}, 202);
  }
  if (id !== undefined && method === 'DELETE') {
    router.listed.delete(decodeURIComponent(id));
    return json({}, entry ? 202 : 404);
  }
  return unknown('router', request);
}

const keyIn = (body: string): string | undefined =>
  (JSON.parse(body) as { labels?: Record<string, string> }).labels?.['pairing_protocol'];

function added(router: MemoryUnit, body: string): Response {
  const { url, worker_type, bootstrap_port } = JSON.parse(body) as {
    url: string;
    worker_type: string;
    bootstrap_port?: number;
  };
  if ([...router.listed.values()].some((entry) => entry.url === url)) return json({ error: 'exists' }, 409);
  const pairingKey = keyIn(body);
  router.listed.set(url, {
    url,
    role: worker_type,
    ...(bootstrap_port === undefined ? {} : { bootstrapPort: bootstrap_port }),
    ...(pairingKey === undefined ? {} : { pairingKey }),
  });
  return json({ worker_id: url }, 202);
}

function row(site: Surroundings, id: string, { url, role, bootstrapPort, pairingKey }: Listed) {
  const healthy = engineAt(site, url) !== undefined;
  return {
    id,
    url,
    worker_type: role,
    ...(bootstrapPort === undefined ? {} : { bootstrap_port: bootstrapPort }),
    is_healthy: healthy,
    status: healthy ? 'ready' : 'unhealthy',
    ...(pairingKey === undefined ? {} : { pd_pairing: pairingKey }),
    load: 0,
  };
}

/** The engine that runs behind a URL. */
export function engineAt(site: Surroundings, url: string): MemoryUnit | undefined {
  const { hostname, port } = new URL(url);
  const at = [...site.hosts.values()].find(({ address }) => address === hostname);
  return [...(at?.units.values() ?? [])].find((unit) => unit.running && flagOf(unit.argv, 'port') === port);
}

/** Pairs of running engines that a router may send a request to: both roles under one key. */
export function pairsOf(site: Surroundings, router: MemoryUnit): (readonly [prefill: Listed, decode: Listed])[] {
  const healthy = [...router.listed.values()].filter(({ url }) => engineAt(site, url) !== undefined);
  const of = (role: string) => healthy.filter((entry) => entry.role === role);
  return of('prefill').flatMap((prefill) =>
    of('decode').flatMap((decode) => (decode.pairingKey === prefill.pairingKey ? [[prefill, decode] as const] : [])),
  );
}

/** In turn over all pairs, as a router without affinity does. */
function routed(site: Surroundings, router: MemoryUnit, body: string): Response {
  const pairs = pairsOf(site, router);
  if (pairs.length === 0) return json({ error: 'no pair of engines' }, 503);
  const [prefill, decode] = pairs[router.requests % pairs.length]!;
  router.requests += 1;
  for (const { url } of [prefill, decode]) engineAt(site, url)!.requests += 1;
  return generated(body, { 'x-smg-routed-worker-id': decode.url });
}
