import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createAcceptanceActivities, type AcceptRouted, type AskedEngine } from '../../activities/acceptance.ts';
import { percentilesOf } from '../../activities/measure.ts';
import { createRouterActivities } from '../../activities/router.ts';
import type { DeployError } from '../../src/errors.ts';
import type { ManagedRouterPlan } from '../../src/plan/types.ts';
import { type begin, endAll, modelFolder, serve, type TestEngine } from '../sim/engine-support.ts';
import { localDrivers, localHost, type LocalHost } from '../support/local-host.ts';
import { patientSeconds } from '../support/patience.ts';
import { anEngine, aRouter } from '../support/plan-rows.ts';
import { aSpec } from '../support/specs.ts';
import { event, standIn, type Answers, type StandIn } from '../support/stand-in-engine.ts';

const failure = async (promise: Promise<unknown>): Promise<DeployError> =>
  await promise.then(
    (value) => {
      throw new Error(`it succeeded: ${JSON.stringify(value)}`);
    },
    (error: DeployError) => error,
  );

let host: LocalHost;
let model: string;
let last = 0;
const standIns: StandIn[] = [];
beforeAll(async () => {
  host = await localHost('h0', '127.84.8.1');
  model = await modelFolder();
});
afterEach(async () => {
  for (const engine of standIns) engine.exit(0);
  await Promise.all(standIns.splice(0).map(({ exited }) => exited));
});
afterAll(async () => {
  await endAll();
  await host.close();
});
const activities = () => createAcceptanceActivities(localDrivers([host], { KEY: 'engine-key' }), { tries: 4 });

/** A simulated engine: it needs its other half for an answer. */
async function simulated(
  role: 'prefill' | 'decode',
  given: Partial<Parameters<typeof begin>[0]> = {},
): Promise<AskedEngine & { readonly sim: TestEngine }> {
  const number = (last += 1);
  const address = `127.84.9.${number}`;
  const sim = await serve({
    role,
    model,
    host: address,
    port: 30000,
    bootstrapPort: 8998,
    ...given,
    args: ['--served-model-name', 'm', '--enable-metrics', ...(given.args ?? [])],
  });
  return { sim, engine: anEngine(role, { host: 'h0', address, name: `tandem-c-${role}-${number}-1` }), ref: host.ref };
}

/** An engine that answers what it is told. */
async function standingIn(
  role: 'prefill' | 'decode',
  answers: Answers = {},
): Promise<AskedEngine & { readonly it: StandIn }> {
  const number = (last += 1);
  const address = `127.84.9.${number}`;
  const running = standIn(address, 30000, role, answers);
  standIns.push(running);
  await running.listening;
  return {
    it: running,
    engine: anEngine(role, { host: 'h0', address, name: `tandem-c-${role}-${number}-1` }),
    ref: host.ref,
  };
}

const accept = (prefill: AskedEngine, decode: AskedEngine, timeoutSeconds = patientSeconds(60)) =>
  activities().acceptPair({
    prefill: { engine: prefill.engine, ref: prefill.ref },
    decode: { engine: decode.engine, ref: decode.ref },
    model: 'm',
    timeoutSeconds,
  });
/** Both time-outs of an engine, one of its own seconds. */
const IMPATIENT = { SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT: '5', SGLANG_DISAGGREGATION_WAITING_TIMEOUT: '5' };

describe('a pair of engines', () => {
  it('is accepted by a completion and a stream of which both got both halves', async () => {
    const [prefill, decode] = [await simulated('prefill'), await simulated('decode')];
    expect(await accept(prefill, decode)).toEqual({
      prefill: prefill.engine.name,
      decode: decode.engine.name,
      completionMs: expect.any(Number),
      streamTtftMs: expect.any(Number),
    });
    expect(prefill.sim.counts()).toMatchObject({ received: 2, failed: 0 });
    expect(decode.sim.counts()).toMatchObject({ received: 2, answered: 2 });
  });

  it('fails when the KV cache never arrives, although both are healthy', async () => {
    const prefill = await simulated('prefill', { env: IMPATIENT, faults: { transferStuck: true } });
    const decode = await simulated('decode', { env: IMPATIENT });
    expect((await decode.sim.get('/health')).status).toBe(200);
    const error = await failure(accept(prefill, decode));
    expect(error).toMatchObject({
      code: 'ACCEPTANCE_FAILED',
      retryable: false,
      remedy: expect.stringContaining('bootstrap port 8998'),
    });
    expect(error.message).toContain(`${prefill.engine.name} (h0) → ${decode.engine.name} (h0): a completion failed`);
    expect(error.message).toMatch(/failed after \d+\.\d s: status 500: .*/);
  });

  it('fails within its own limit when the engines would hang for minutes', async () => {
    const timing = { secondMs: 1000 };
    const prefill = await simulated('prefill', { timing, faults: { transferStuck: true } });
    const decode = await simulated('decode', { timing });
    expect((await failure(accept(prefill, decode, 1))).message).toMatch(
      /decode failed after \d+\.\d s: no answer|was given up/,
    );
  });

  it('fails when the two are of different KV generations', async () => {
    const prefill = await simulated('prefill');
    const decode = await simulated('decode', { model: await modelFolder('weights of revision two') });
    expect(await failure(accept(prefill, decode))).toMatchObject({ code: 'ACCEPTANCE_FAILED' });
    expect(decode.sim.counts().crossed + prefill.sim.counts().crossed).toBeGreaterThan(0);
  });

  it('gets halves that name the same room, in 63 bits, at the prefill engine’s own address', async () => {
    const [prefill, decode] = [await standingIn('prefill'), await standingIn('decode')];
    await accept(prefill, decode);
    const rooms = (engine: StandIn) => engine.bodies.map((body) => /"bootstrap_room":(\d+)\}$/.exec(body)?.[1]);
    expect(rooms(prefill.it)).toEqual(rooms(decode.it));
    expect(new Set(rooms(prefill.it)).size).toBe(2);
    for (const room of rooms(prefill.it)) expect(BigInt(room!)).toBeLessThan(1n << 63n);
    expect(JSON.parse(decode.it.bodies[0]!)).toMatchObject({
      bootstrap_host: new URL(prefill.engine.url).hostname,
      bootstrap_port: 8998,
      model: 'm',
    });
  });

  it.each<[string, Answers]>([
    ['an error event and [DONE]', { events: [event('a'), '{"error":{"message":"KV transfer failed"}}', '[DONE]'] }],
    ['a cut', { events: [event('a'), 'CUT'], eventMs: 10 }],
    ['an aborted answer', { events: [event('a', 'abort'), '{"usage":{"completion_tokens":1}}', '[DONE]'] }],
  ])('fails on a stream with %s, however well the completion went', async (_, answers) => {
    const [prefill, decode] = [await standingIn('prefill'), await standingIn('decode', answers)];
    expect((await failure(accept(prefill, decode))).message).toContain('a stream failed');
  });

  it('fails when the prefill half fails although the decode half answers', async () => {
    const prefill = await standingIn('prefill', { completion: { status: 500, body: { message: 'no room' } } });
    const error = await failure(accept(prefill, await standingIn('decode')));
    expect(error.message).toMatch(/prefill failed after .* status 500: .*no room/);
  });

  it('is asked with the key of the engines', async () => {
    const [prefill, decode] = [await standingIn('prefill'), await standingIn('decode')];
    const keyed = ({ engine, ref }: AskedEngine) => ({ engine: { ...engine, apiKey: { fromEnv: 'KEY' } }, ref });
    await accept(keyed(prefill), keyed(decode));
    expect(new Set([...prefill.it.keys, ...decode.it.keys])).toEqual(new Set(['Bearer engine-key']));
  });
});

const acceptance = aSpec({
  acceptance: {
    warmupRequests: 4,
    requests: 12,
    concurrency: 4,
    promptTokens: 20,
    outputTokens: 6,
    timeoutSeconds: patientSeconds(30),
  },
}).acceptance;

describe('engines behind a router (real smg)', () => {
  let router: ManagedRouterPlan;
  let engines: (AskedEngine & { readonly sim: TestEngine })[];
  const owner = { cluster: 'c', installation: 'inst' };
  const routing = () => createRouterActivities(localDrivers([host]), { pollMs: 20 });
  const wire = ({ engine }: AskedEngine) =>
    routing().wireEngine({ router, routerRef: host.ref, engine, ref: host.ref, kvGeneration: 'gen-1' });
  const unwire = ({ engine }: AskedEngine) =>
    routing().unwireEngine({
      router,
      routerRef: host.ref,
      engine,
      ref: host.ref,
      drainTimeoutSeconds: patientSeconds(20),
    });
  const acceptRouted = (rows: readonly AskedEngine[], rest: Partial<AcceptRouted> = {}) =>
    activities().acceptRouted({
      router,
      routerRef: host.ref,
      model: 'm',
      acceptance,
      engines: rows.map(({ engine, ref }) => ({ engine, ref })),
      ...rest,
    });

  beforeAll(async () => {
    router = aRouter({ host: 'h0', address: '127.84.8.2' });
    await routing().startRouter({ ref: host.ref, router, ...owner });
    await routing().awaitRouter({ ref: host.ref, router, ...owner });
    engines = await Promise.all((['prefill', 'prefill', 'decode', 'decode'] as const).map((role) => simulated(role)));
    await Promise.all(engines.map(wire));
  });

  it('are accepted when each of them had a request, with what was measured', async () => {
    const accepted = await acceptRouted(engines);
    expect(accepted.seen).toEqual(engines.map(({ engine }) => engine.name));
    expect(accepted.load).toMatchObject({ requests: 12, concurrency: 4 });
    expect(accepted.load.ttftMs.p50).toBeGreaterThan(0);
    expect(accepted.load.ttftMs.p99).toBeGreaterThanOrEqual(accepted.load.ttftMs.p50);
    expect(accepted.load.outputTokensPerSecond).toBeGreaterThan(0);
    for (const { sim } of engines) expect(sim.counts()).toMatchObject({ failed: 0, crossed: 0 });
  });

  it.each(['prefill', 'decode'] as const)('fail when a new %s engine gets no request, by name', async (role) => {
    const idle = await simulated(role);
    const error = await failure(acceptRouted([...engines, idle]));
    expect(error).toMatchObject({ code: 'ACCEPTANCE_FAILED', host: 'h0' });
    expect(error.message).toContain(`${idle.engine.name} got no request`);
  });

  it('fail when the first tokens come later than the gate allows, P95 below 200 requests', async () => {
    const error = await failure(acceptRouted(engines, { acceptance: { ...acceptance, maxTtftP99Ms: 0.01 } }));
    expect(error.code).toBe('ACCEPTANCE_FAILED');
    expect(error.message).toMatch(
      /P95 is \d+(\.\d+)? ms over 12 requests at concurrency 4, acceptance\.maxTtftP99Ms is 0\.01/,
    );
  });

  it('fail when one of them ends its streams with an error and [DONE]', async () => {
    const good = await standingIn('prefill');
    const bad = await standingIn('decode', {
      events: [event('a'), '{"error":{"message":"KV transfer failed"}}', '[DONE]'],
    });
    await Promise.all(engines.map(unwire));
    await Promise.all([good, bad].map(wire));
    const error = await failure(acceptRouted([bad]));
    expect(error.message).toMatch(/1 of 1 failed in the first request; .*KV transfer failed/);
    await Promise.all([good, bad].map(unwire));
    await Promise.all(engines.map(wire));
  });

  it('fail when no pair may meet, although every engine is listed ready', async () => {
    for (const prefill of engines.slice(0, 2)) {
      await routing().wireEngine({
        router,
        routerRef: host.ref,
        engine: prefill.engine,
        ref: host.ref,
        kvGeneration: 'gen-2',
      });
    }
    expect((await failure(acceptRouted(engines))).message).toContain('no_compatible_pd_pair');
    for (const prefill of engines.slice(0, 2)) await wire(prefill);
  });
});

describe('a router that names no engine on its answers', () => {
  const external = (url: string) =>
    ({ kind: 'external', url, implementation: 'sglang-router', version: '0.3.2', pairingKeys: false }) as const;
  const acceptThrough = (router: AskedEngine & { it: StandIn }, engines: readonly AskedEngine[]) =>
    activities().acceptRouted({
      router: external(router.it.url),
      model: 'm',
      acceptance,
      engines,
      engineKey: { fromEnv: 'KEY' },
    });

  it('is judged by the counters of the engines, of both roles', async () => {
    const decode = await standingIn('decode', { counted: 5 });
    const router = await standingIn('decode', { asked: () => void (decode.it.answers = { counted: 6 }) });
    expect((await acceptThrough(router, [decode])).seen).toEqual([decode.engine.name]);
    expect(new Set(router.it.keys)).toEqual(new Set(['Bearer engine-key']));
    const idle = await standingIn('decode', { counted: 5 });
    expect((await failure(acceptThrough(router, [decode, idle]))).message).toContain(idle.engine.name);
  });

  it('sends prompts of which no two begin alike', async () => {
    const router = await standingIn('decode');
    await acceptThrough(router, []);
    const beginnings = router.it.bodies.map((body) => (JSON.parse(body) as { prompt: string }).prompt.slice(0, 16));
    expect(new Set(beginnings).size).toBe(1 + 4 + 12);
  });
});

describe('percentiles', () => {
  it('are values that were measured, by nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect(percentilesOf(hundred)).toEqual({ p50: 50, p90: 90, p95: 95, p99: 99, max: 100 });
    expect(percentilesOf([7])).toEqual({ p50: 7, p90: 7, p95: 7, p99: 7, max: 7 });
    expect(percentilesOf([])).toEqual({ p50: 0, p90: 0, p95: 0, p99: 0, max: 0 });
  });
});
