import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { ANSWER_MS } from '../support/patience.ts';
import { hostIn, ROUTER_ARGS, startStack, stackSpec, type Picture, type Stack } from '../support/stack.ts';

/** Two clusters on the same hosts, four GPUs of eight each. */
const host = hostIn('127.86.4');
const fourGpus = (name: string, port: number): ClusterSpec => {
  const small = stackSpec(4);
  const hosts = { ...small.hosts, list: [host('p0', 1, 8), host('d0', 2, 8), host('router-0', 4, 0)] };
  return {
    ...small,
    name,
    hosts,
    prefill: { ...small.prefill, gpus: { product: 'MI300X', count: 4 } },
    decode: { ...small.decode, replicas: 1, gpus: { product: 'MI300X', count: 4 }, hosts: ['d0'] },
    router: { ...small.router, port, args: { ...ROUTER_ARGS, 'prometheus-port': port + 1 } } as ClusterSpec['router'],
  };
};
const one = fourGpus('one', 30000);
const two = fourGpus('two', 31000);
const three = fourGpus('three', 32000);
let stack: Stack;
let before: Picture;

beforeAll(async () => {
  stack = await startStack({ spec: one });
  before = await stack.picture();
});
afterAll(async () => {
  await stack?.stop();
});

async function answer(name: string): Promise<string | null> {
  const { serving } = await stack.client.record(name);
  const response = await fetch(`${serving!.router.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: serving!.model, max_tokens: 4, prompt: 'Who is there?' }),
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  expect(response.status).toBe(200);
  await response.text();
  return response.headers.get('x-smg-routed-worker-id');
}

const decodeUrl = async (name: string) =>
  (await stack.client.record(name)).serving!.engines.find(({ role }) => role === 'decode')!.url;

describe('two clusters on disjoint GPUs of the same hosts', () => {
  it('a second operation on a busy cluster is refused naming the first, and harms nothing', async () => {
    const first = await stack.begin(one);
    await expect(stack.begin(one, 'destroy')).rejects.toMatchObject({
      code: 'OPERATION_RUNNING',
      message: expect.stringMatching(/^deploy \(deployment 1\) of one runs since .*, by tester$/),
      remedy: expect.stringContaining('tandem cancel one'),
    });
    expect(await stack.ended('one', first)).toMatchObject({ outcome: 'succeeded' });
  });

  it('serve at once, each by its own engines', async () => {
    expect(await stack.run(two)).toMatchObject({ outcome: 'succeeded' });
    const { p0, d0 } = await stack.picture();
    expect([p0!.leases.length, d0!.leases.length]).toEqual([8, 8]);
    const [byOne, byTwo] = await Promise.all([answer('one'), answer('two')]);
    expect([byOne, byTwo]).toEqual([await decodeUrl('one'), await decodeUrl('two')]);
    expect(byOne).not.toBe(byTwo);
  });

  it('leave no GPU to a third, which is refused naming who holds them', async () => {
    const picture = await stack.picture();
    const entry = await stack.run(three);
    expect(entry).toMatchObject({ outcome: 'refused', leftBehind: [] });
    const { code, message, evidence, remedy } = entry.failed!;
    expect([code, remedy]).toEqual([expect.stringMatching(/LEASE|GPU|FIT|PLAN/), expect.stringMatching(/./)]);
    expect(`${message} ${evidence}`).toMatch(/\bone\b.*\btwo\b|\btwo\b.*\bone\b/s);
    expect(await stack.settledPicture(picture)).toEqual(picture);
  });

  it('go apart: the other still serves, and in the end every host is as it was', async () => {
    expect(await stack.run(one, 'destroy')).toMatchObject({ outcome: 'succeeded' });
    expect(await answer('two')).toBe(await decodeUrl('two'));
    expect(await stack.run(two, 'destroy')).toMatchObject({ outcome: 'succeeded' });
    expect(await stack.settledPicture(before)).toEqual(before);
  });
});
