import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import type { Serving } from '../../src/plan/types.ts';
import { ANSWER_MS } from '../support/patience.ts';
import { startStack, stackSpec, type Picture, type Stack } from '../support/stack.ts';

/** One cluster from nothing to nothing, through a real Temporal server, real ssh and a real router. */
const spec = stackSpec(1);
const smaller: ClusterSpec = { ...spec, decode: { ...spec.decode, replicas: 1 } };
let stack: Stack;
let before: Picture;

beforeAll(async () => {
  stack = await startStack({ spec });
  before = await stack.picture();
});
afterAll(async () => {
  await stack?.stop();
});

const serving = async (): Promise<Serving> => (await stack.client.record(spec.name)).serving!;
const started = (host: string) => stack.simulation.counts()[host]!.containersStarted;

async function ask(path: string, body: object): Promise<Response> {
  const { router, model } = await serving();
  return await fetch(`${router.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, ...body }),
    signal: AbortSignal.timeout(ANSWER_MS),
  });
}

describe('a cluster', () => {
  it('is deployed from a spec and every engine of it runs once, on leased GPUs, in the router’s list', async () => {
    expect(await stack.run(smaller)).toMatchObject({ deployment: 1, outcome: 'succeeded', leftBehind: [] });
    const { p0, d0, d1, 'router-0': router } = await stack.picture();
    expect(p0!.containers).toEqual(['tandem-small-prefill-0-1 running']);
    expect(d0!.containers).toEqual(['tandem-small-decode-0-1 running']);
    expect(d1).toEqual(before['d1']);
    expect([p0!.leases.length, d0!.leases.length, d1!.leases.length]).toEqual([2, 2, 0]);
    expect(router!.processes.join('\n')).toContain('smg::router');
    expect([started('p0'), started('d0'), started('d1')]).toEqual([1, 1, 0]);
  });

  it('answers a chat through the router, by the decode engine that it names', async () => {
    const response = await ask('/v1/chat/completions', {
      max_tokens: 8,
      messages: [{ role: 'user', content: 'Who answers?' }],
    });
    expect(response.status).toBe(200);
    const { choices } = (await response.json()) as { choices: { message: { content: string } }[] };
    expect(choices[0]!.message.content.trim()).not.toBe('');
    const decode = (await serving()).engines.filter(({ role }) => role === 'decode').map(({ url }) => url);
    expect(decode).toContain(response.headers.get('x-smg-routed-worker-id'));
  });

  it('streams an answer through the router, piece by piece to its end', async () => {
    const response = await ask('/v1/chat/completions', {
      max_tokens: 8,
      ignore_eos: true,
      stream: true,
      messages: [{ role: 'user', content: 'Count.' }],
    });
    const events = (await response.text()).split('\n').filter((line) => line.startsWith('data: '));
    expect(events.at(-1)).toBe('data: [DONE]');
    // Several tokens may come in one piece.
    expect(events.filter((line) => /"content":"[^"]/.test(line)).length).toBeGreaterThan(1);
    expect(events.join('\n')).toContain('"finish_reason":"length"');
    expect(events.join('\n')).not.toContain('"error"');
  });

  it('deployed again by the same spec is unchanged, and no host is touched', async () => {
    const picture = await stack.picture();
    expect(await stack.run(smaller)).toMatchObject({ outcome: 'unchanged' });
    expect(await stack.settledPicture(picture)).toEqual(picture);
    expect([started('p0'), started('d0'), started('d1')]).toEqual([1, 1, 0]);
  });

  it('with one decode engine more starts just that one, which answers too', async () => {
    const { p0, d0 } = await stack.picture();
    expect(await stack.run(spec)).toMatchObject({ outcome: 'succeeded' });
    const now = await stack.picture();
    expect([now['p0']!.containers, now['d0']!.containers]).toEqual([p0!.containers, d0!.containers]);
    expect(now['d1']!.containers).toEqual(['tandem-small-decode-1-3 running']);
    expect([started('p0'), started('d0'), started('d1')]).toEqual([1, 1, 1]);
    const answered = new Set<string | null>();
    for (let request = 0; request < 40 && answered.size < 2; request += 1) {
      const response = await ask('/v1/completions', { max_tokens: 2, prompt: `${request} tell me` });
      expect(response.status).toBe(200);
      await response.text();
      answered.add(response.headers.get('x-smg-routed-worker-id'));
    }
    expect(answered.size).toBe(2);
  });

  it('destroyed leaves every host as it was, but for complete weights and images, which are named', async () => {
    expect(await stack.run(spec, 'destroy')).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
    expect(await stack.settledPicture(before)).toEqual(before);
    const weights = [expect.stringMatching(/^models\/tandem\/tiny-chat\//)];
    expect(await stack.kept()).toMatchObject({ p0: { weights }, d0: { weights }, d1: { weights } });
    expect(await stack.client.record(spec.name)).toMatchObject({ state: 'stopped', serving: null });
  });
});
