import { DeployError } from '../src/errors.ts';
import { NoAnswer } from '../src/drivers/ask.ts';
import { engineClient, type EngineClient } from '../src/drivers/engine-client.ts';
import { complete, GenerateFailed, stream, type Generated } from '../src/drivers/generate.ts';
import type { Drivers } from '../src/drivers/types.ts';
import type { EnginePlan, HostRef } from '../src/plan/types.ts';
import type { ClusterSpec, SecretRef } from '../src/spec/schema.ts';
import { heartbeat, signal } from './context.ts';
import { loadResult, type LoadResult } from './measure.ts';
import { fetchOf, type RouterAt } from './router.ts';
import { secretOf } from './units.ts';

/** An engine that requests are sent to, and the host of its rank 0. A row of the plan with its host is one. */
export interface AskedEngine {
  readonly engine: Pick<EnginePlan, 'name' | 'role' | 'url' | 'host' | 'bootstrapPort' | 'apiKey'>;
  readonly ref: HostRef;
}

export interface AcceptPair {
  readonly prefill: AskedEngine;
  readonly decode: AskedEngine;
  /** Served model name. */
  readonly model: string;
  /** Limit of each request, in seconds: acceptance.timeoutSeconds. */
  readonly timeoutSeconds: number;
}

export interface PairAccepted {
  readonly prefill: string;
  readonly decode: string;
  /** The very first request between the two, which sets up the transfer, and the stream after it. */
  readonly completionMs: number;
  readonly streamTtftMs: number;
}

export interface AcceptRouted extends RouterAt {
  /** Served model name. */
  readonly model: string;
  readonly acceptance: ClusterSpec['acceptance'];
  /** Engines that must be seen to answer through the router: the new ones. */
  readonly engines: readonly AskedEngine[];
  /** Key of the engines: smg passes the client's key on to them, so where they have one it is the client's as well. */
  readonly engineKey?: SecretRef;
}

export interface RoutedAccepted {
  /** The first request of all, before the warm-up. */
  readonly firstTtftMs: number;
  readonly load: LoadResult;
  /** Names of the engines that were seen to answer. */
  readonly seen: readonly string[];
}

/** Below so many requests the hundredth slowest is no figure, and the gate looks at P95. */
const P99_REQUESTS = 200;

/** Proofs that requests are answered: health is none. `tries` bounds the further rounds until every engine had a request. */
export function createAcceptanceActivities(drivers: Drivers, { tries = 20 }: { readonly tries?: number } = {}) {
  return {
    /**
     * Sends a completion and a stream to one prefill and one decode engine, both halves itself as a router does, so
     * that no other pair can answer instead. Errors: ACCEPTANCE_FAILED naming pair, status, body and seconds.
     */
    async acceptPair({ prefill, decode, model, timeoutSeconds }: AcceptPair): Promise<PairAccepted> {
      const pair = `${prefill.engine.name} → ${decode.engine.name}`;
      const send = async (streamed: boolean) => {
        heartbeat({ pair, asking: streamed ? 'a stream' : 'a completion' });
        return await bothHalves({ prefill, decode, model, timeoutSeconds, streamed });
      };
      const completion = await send(false);
      const streamed = await send(true);
      return {
        prefill: prefill.engine.name,
        decode: decode.engine.name,
        completionMs: Math.round(completion.totalMs),
        streamTtftMs: Math.round(streamed.ttftMs),
      };
    },

    /**
     * Sends streams through the router, first cold, then the warm-up, then the measured ones, and shows that every
     * engine of `engines` answered some: decode engines by the name that smg puts on the answer, prefill engines by
     * their own request counter. Any failed request fails the acceptance. Errors: ACCEPTANCE_FAILED.
     */
    async acceptRouted(input: AcceptRouted): Promise<RoutedAccepted> {
      const { acceptance, engines } = input;
      const watch = await watchEngines(drivers, engines);
      const send = await senderOf(drivers, input);

      const first = await failedAsAcceptance(input, 'the first request', () => send());
      watch.routed(first);
      const many = async (count: number, what: string) => {
        heartbeat({ acceptance: what, requests: count });
        const answers = await lanes(count, acceptance.concurrency, send);
        const failures = answers.filter((answer): answer is GenerateFailed => answer instanceof GenerateFailed);
        if (failures.length > 0) throw requestsFailed(input, what, failures, count);
        const good = answers.filter((answer): answer is Generated => !(answer instanceof GenerateFailed));
        for (const answer of good) watch.routed(answer);
        return good;
      };
      await many(acceptance.warmupRequests, 'the warm-up');
      const startedAt = performance.now();
      const measured = await many(acceptance.requests, 'the measured requests');
      const load = loadResult(measured, acceptance.concurrency, (performance.now() - startedAt) / 1000);

      let missing = await watch.missing();
      // A policy may have kept to some engines: more prompts, of which no two begin alike, until all had one.
      for (let round = 0; missing.length > 0 && round < tries; round += 1) {
        await many(
          Math.max(acceptance.concurrency, 2 * engines.length),
          `requests until ${missing.join(', ')} had one`,
        );
        missing = await watch.missing();
      }
      if (missing.length > 0) throw neverSeen(input, missing);
      needQuickEnough(input, load);
      return { firstTtftMs: Math.round(first.ttftMs), load, seen: engines.map(({ engine }) => engine.name) };
    },
  };

  async function bothHalves({
    prefill,
    decode,
    model,
    timeoutSeconds,
    streamed,
  }: AcceptPair & { readonly streamed: boolean }): Promise<Generated> {
    const body = withRoom(
      {
        model,
        prompt: promptOf(16),
        max_tokens: 8,
        temperature: 0,
        ignore_eos: true,
        stream: streamed,
        ...(streamed ? { stream_options: { include_usage: true } } : {}),
        bootstrap_host: new URL(prefill.engine.url).hostname,
        bootstrap_port: prefill.engine.bootstrapPort,
      },
      randomRoom(),
    );
    const other = new AbortController();
    const half = async ({ engine, ref }: AskedEngine): Promise<Generated> => {
      const at = signal();
      try {
        return await (streamed ? stream : complete)({
          fetch: drivers.host(ref, at).fetch,
          url: `${engine.url}/v1/completions`,
          key: await secretOf(drivers, engine.apiKey),
          body,
          timeoutMs: timeoutSeconds * 1000,
          signal: AbortSignal.any([at, other.signal]),
        });
      } catch (error) {
        // The half that is left would wait for its time-out; the first failure is the one to tell.
        other.abort();
        throw error;
      }
    };
    const [ofPrefill, ofDecode] = await Promise.allSettled([half(prefill), half(decode)]);
    signal().throwIfAborted();
    if (ofPrefill.status === 'fulfilled' && ofDecode.status === 'fulfilled') return ofDecode.value;
    for (const { reason } of [ofPrefill, ofDecode].filter((one) => one.status === 'rejected')) {
      if (reason instanceof DeployError) throw reason;
    }
    throw pairFailed({ prefill, decode, streamed, ofPrefill, ofDecode });
  }
}

// ---- Requests

let prompts = 0;

/** A prompt of `words` words. No two begin alike, so that a cache-aware router has no reason to keep to one engine. */
export function promptOf(words: number): string {
  prompts += 1;
  const salt = crypto.getRandomValues(new Uint32Array(2)).join('-');
  const start = `${salt} ${prompts}`;
  return [
    start,
    ...Array.from({ length: Math.max(0, words - 2) }, (_, index) => WORDS[(prompts + index * 7) % WORDS.length]),
  ].join(' ');
}

const WORDS =
  'river stone light field north copper garden window paper winter signal harbor orange bridge forest silver morning engine quiet valley'.split(
    ' ',
  );

/** A random number that fits in 63 bits and is not 0, which stands for a fake bootstrap. */
function randomRoom(): bigint {
  const [value] = crypto.getRandomValues(new BigUint64Array(1));
  return value! & ((1n << 63n) - 1n) || 1n;
}

/** JSON with a room that a JavaScript number cannot hold. */
const withRoom = (body: object, room: bigint) => `${JSON.stringify(body).slice(0, -1)},"bootstrap_room":${room}}`;

async function senderOf(drivers: Drivers, at: AcceptRouted): Promise<() => Promise<Generated>> {
  const { router, model, acceptance, engineKey } = at;
  const key = await secretOf(drivers, router.apiKey ?? engineKey);
  const fetch = fetchOf(drivers, at);
  return async () =>
    await stream({
      fetch,
      url: `${router.url.replace(/\/$/, '')}/v1/completions`,
      key,
      body: JSON.stringify({
        model,
        prompt: promptOf(acceptance.promptTokens),
        max_tokens: acceptance.outputTokens,
        temperature: 0,
        ignore_eos: true,
        stream: true,
        stream_options: { include_usage: true },
      }),
      timeoutMs: acceptance.timeoutSeconds * 1000,
      signal: signal(),
    });
}

/** `count` requests, `concurrency` at a time. A failed one is a result too. */
async function lanes(
  count: number,
  concurrency: number,
  send: () => Promise<Generated>,
): Promise<(Generated | GenerateFailed)[]> {
  const answers: (Generated | GenerateFailed)[] = [];
  let left = count;
  const lane = async () => {
    while (left > 0) {
      left -= 1;
      answers.push(
        await send().catch((error: unknown) => {
          if (error instanceof GenerateFailed) return error;
          left = 0;
          throw error;
        }),
      );
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, concurrency) }, lane));
  return answers;
}

// ---- Who answered

/** Remembers which engines answered: by the name on an answer, else by their counters since now. */
async function watchEngines(drivers: Drivers, engines: readonly AskedEngine[]) {
  const rows = await Promise.all(
    engines.map(async ({ engine, ref }) => {
      const key = await secretOf(drivers, engine.apiKey);
      const client = engineClient({ fetch: drivers.host(ref, signal()).fetch, url: engine.url, key });
      return { engine, client, before: await countOf(client, engine) };
    }),
  );
  const named = new Set<string>();
  let names = false;
  return {
    routed({ routedTo }: Generated) {
      if (routedTo === undefined) return;
      names = true;
      named.add(new URL(routedTo).origin);
    },
    async missing(): Promise<string[]> {
      const answered = rows.map(async ({ engine, client, before }) =>
        engine.role === 'decode' && names
          ? named.has(new URL(engine.url).origin)
          : (await countOf(client, engine)) > before,
      );
      const seen = await Promise.all(answered);
      return rows.filter((_, index) => !seen[index]).map(({ engine }) => engine.name);
    },
  };
}

async function countOf(client: EngineClient, { name, host }: AskedEngine['engine']): Promise<number> {
  try {
    return await client.requestCount();
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    throw acceptanceFailed({
      message: `${name} on ${host} does not tell how many requests it had: ${error.message}`,
      remedy: 'The engine must run with --enable-metrics, which Tandem sets; see its log.',
      host,
    });
  }
}

// ---- Failures

const acceptanceFailed = (at: { message: string; remedy: string; host?: string }) =>
  new DeployError({ code: 'ACCEPTANCE_FAILED', retryable: false, ...at });

function pairFailed(at: {
  prefill: AskedEngine;
  decode: AskedEngine;
  streamed: boolean;
  ofPrefill: PromiseSettledResult<Generated>;
  ofDecode: PromiseSettledResult<Generated>;
}): DeployError {
  const { prefill, decode, streamed } = at;
  const told = `prefill ${resultOf(at.ofPrefill)}; decode ${resultOf(at.ofDecode)}`;
  return acceptanceFailed({
    message: `${prefill.engine.name} (${prefill.engine.host}) → ${decode.engine.name} (${decode.engine.host}): ${streamed ? 'a stream' : 'a completion'} failed: ${told}`,
    remedy: `Both may be healthy and yet not reach each other: check that ${decode.engine.host} reaches ${prefill.engine.url} and its bootstrap port ${prefill.engine.bootstrapPort} over the fabric, rdma.backend and the engines' logs.`,
    host: decode.engine.host,
  });
}

function resultOf(half: PromiseSettledResult<Generated>): string {
  if (half.status === 'fulfilled') return `answered after ${(half.value.totalMs / 1000).toFixed(1)} s`;
  const reason: unknown = half.reason;
  if (reason instanceof GenerateFailed) return `failed after ${reason.seconds.toFixed(1)} s: ${reason.message}`;
  return 'was given up after the other half failed';
}

async function failedAsAcceptance<T>(at: AcceptRouted, what: string, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    throw error instanceof GenerateFailed ? requestsFailed(at, what, [error], 1) : error;
  }
}

function requestsFailed(
  { router }: AcceptRouted,
  what: string,
  failures: readonly GenerateFailed[],
  of: number,
): DeployError {
  const [first] = failures;
  return acceptanceFailed({
    message: `through ${router.url}: ${failures.length} of ${of} failed in ${what}; the first after ${first!.seconds.toFixed(1)} s: ${first!.message}`,
    remedy:
      'Every pair was asked directly before, so look at the router: its log, its list of engines, its pairing keys.',
    ...(router.kind === 'managed' ? { host: router.host } : {}),
  });
}

const neverSeen = ({ router, engines }: AcceptRouted, missing: readonly string[]) =>
  acceptanceFailed({
    message: `through ${router.url}: ${missing.join(', ')} got no request, all ${engines.length} new engines should`,
    remedy: 'Look at the list of engines at the router (roles, pairing keys, health) and at router.policy.',
    ...(router.kind === 'managed' ? { host: router.host } : {}),
  });

function needQuickEnough({ router, acceptance }: AcceptRouted, { ttftMs }: LoadResult): void {
  const wanted = acceptance.maxTtftP99Ms;
  if (wanted === undefined) return;
  const few = acceptance.requests < P99_REQUESTS;
  const measured = few ? ttftMs.p95 : ttftMs.p99;
  if (measured <= wanted) return;
  throw acceptanceFailed({
    message: `through ${router.url}: time to first token ${few ? 'P95' : 'P99'} is ${measured} ms over ${acceptance.requests} requests at concurrency ${acceptance.concurrency}, acceptance.maxTtftP99Ms is ${wanted}`,
    remedy:
      'Add prefill engines, shorten acceptance.promptTokens to what your clients send, or raise acceptance.maxTtftP99Ms.',
    ...(router.kind === 'managed' ? { host: router.host } : {}),
  });
}
