import { readFile } from 'node:fs/promises';
import { afterAll, describe, expect, it } from '@jest/globals';
import { engineClient } from '../../src/drivers/engine-client.ts';
import { localDrivers } from '../support/local-host.ts';
import { eventually } from '../support/processes.ts';
import { ask, chatBody, endAll, meeting, modelFolder, serve, type TestEngine } from './engine-support.ts';

/**
 * Simulated engines of other versions speak as those do. What each has is read from its wheel's source, and is in
 * test/golden/engine/wheels.json, where `scripts/sglang/release.py VERSION` writes it; never from here.
 */
interface Wheel {
  readonly pages: readonly string[];
  readonly model_info: readonly string[];
  readonly loads: readonly string[];
  readonly load: readonly string[];
  readonly disaggregation: readonly string[];
  readonly queues: readonly string[];
  readonly 'queue metrics': readonly string[];
  readonly 'ping looks at the state': boolean;
  readonly 'end of the warm-up': readonly string[];
  readonly 'kills itself after SIGTERM': boolean;
}
const wheels = JSON.parse(await readFile(new URL('../golden/engine/wheels.json', import.meta.url), 'utf8')) as Readonly<
  Record<string, Wheel>
>;

/** The shapes that differ in what Tandem asks; the others are between two of them. */
const SPOKEN = ['0.5.10.post1', '0.5.18', '0.5.20', '0.5.23'] as const;
const OLDEST = SPOKEN[0];

afterAll(endAll);
const model = await modelFolder();
async function pair(version: string): Promise<readonly [TestEngine, TestEngine]> {
  const args = ['--enable-metrics', '--served-model-name', 'tiny'];
  return await Promise.all((['prefill', 'decode'] as const).map((role) => serve({ role, model, version, args }))).then(
    ([prefill, decode]) => [prefill!, decode!] as const,
  );
}
const sorted = (keys: readonly string[]) => [...keys].toSorted();
const keysOf = (value: unknown) => sorted(Object.keys(value as object));

describe.each(SPOKEN)('a simulated engine of %s', (version) => {
  const wheel = wheels[version]!;

  it('has the pages of its wheel, with their keys, and no others', async () => {
    const [prefill] = await pair(version);
    const pages = Object.values(wheels).flatMap((each) => each.pages);
    for (const page of new Set(pages)) {
      const { status } = await prefill.get(page);
      expect([page, status === 404 ? 'absent' : 'there']).toEqual([
        page,
        wheel.pages.includes(page) ? 'there' : 'absent',
      ]);
    }
    expect(keysOf((await prefill.get('/model_info')).json())).toEqual(sorted(wheel.model_info));
    const loads = (await prefill.get('/v1/loads')).json<{ loads: [Record<string, unknown>] }>();
    expect(keysOf(loads)).toEqual(sorted(wheel.loads));
    const [load] = loads.loads;
    // Sections that an engine without speculation and adapters does not have; until 0.5.12 the sum was added, the time
    // and the rank, of which there is but one, left out.
    const absent = ['speculative', 'lora', ...(wheel.loads.includes('aggregate') ? ['timestamp', 'dp_rank'] : [])];
    const added = wheel.loads.includes('aggregate') ? ['num_total_reqs'] : [];
    expect(keysOf(load)).toEqual(sorted([...wheel.load.filter((key) => !absent.includes(key)), ...added]));
    expect(keysOf(load['disaggregation'])).toEqual(sorted(wheel.disaggregation));
    expect(keysOf(load['queues'])).toEqual(sorted(wheel.queues));
    const metrics = [
      ...(await prefill.get('/metrics')).text.matchAll(/^sglang:(num_(?:prefill|decode)_\w+_queue_reqs)\{/gm),
    ];
    expect(sorted(metrics.map(([, name]) => name!))).toEqual(wheel['queue metrics']);
  });

  it('says how it starts and ends as its wheel does', async () => {
    const [prefill, decode] = await pair(version);
    const [mark] = wheel['end of the warm-up'];
    expect(prefill.lines.filter((line) => line.includes(mark!))).toHaveLength(1);
    const stream = ask(prefill, decode, { stream: true, max_tokens: 400, ignore_eos: true });
    await eventually(async () => (await decode.load()).num_running_reqs === 1);
    decode.signal('SIGTERM');
    expect((await decode.get('/health')).status).toBe(503);
    expect((await decode.get('/ping')).status).toBe(wheel['ping looks at the state'] ? 503 : 200);
    // What was open goes on to its end in every version.
    expect((await stream).decode.text).toMatch(/data: \[DONE\]\n\n$/);
    expect(await decode.exited).toBe(wheel['kills itself after SIGTERM'] ? 137 : 0);
  });

  it('is ready, what it is and idle by the pages that Tandem asks', async () => {
    const [prefill, decode] = await pair(version);
    const { fetch } = localDrivers([]);
    for (const [role, { url }] of [
      ['prefill', prefill],
      ['decode', decode],
    ] as const) {
      const client = engineClient({ fetch, url });
      expect(await client.readiness()).toEqual({ ready: true });
      expect(await client.identity()).toEqual({ role, servedModelName: 'tiny', version });
      expect(await client.openRequests()).toBe(0);
    }
    // One half alone waits for the other in a queue that has another name in each.
    const waiting = prefill.post('/v1/chat/completions', chatBody(meeting(prefill)));
    await eventually(async () => (await engineClient({ fetch, url: prefill.url }).openRequests()) === 1);
    await prefill.post('/abort_request', { abort_all: true });
    await waiting;
    const before = await engineClient({ fetch, url: decode.url }).requestCount();
    await ask(prefill, decode);
    expect(await engineClient({ fetch, url: decode.url }).requestCount()).toBe(before + 1);
  });
});

describe(`a simulated engine of ${OLDEST}`, () => {
  it('dies of one request with top_logprobs, as the real one does', async () => {
    const [prefill, decode] = await pair(OLDEST);
    void decode;
    await prefill.post('/generate', { text: 'x', ...meeting(prefill), top_logprobs_num: 1 }).catch(() => undefined);
    expect(await prefill.exited).toBe(137);
  });

  it('never ends by SIGTERM once it refused a request that was too long, and at once where it refused none', async () => {
    const [prefill, decode] = await pair(OLDEST);
    const asked = await decode.post('/v1/chat/completions', chatBody({ ...meeting(prefill), max_tokens: 5_000 }));
    expect(asked.status).toBe(400);
    for (const engine of [prefill, decode]) engine.signal('SIGTERM');
    expect(await prefill.exited).toBe(137);
    await prefill.logged('Remaining number of requests 0');
    const looks = () => decode.lines.filter((line) => line.includes('Remaining number of requests 1')).length;
    await eventually(() => looks() === 3);
    decode.signal('SIGKILL');
    await decode.exited;
  });

  it('knows its own flags alone', async () => {
    await expect(
      serve({ role: 'decode', model, version: OLDEST, args: ['--disaggregation-decode-retraction-backup', 'none'] }),
    ).rejects.toThrow('ended with 2');
  });
});
