import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { LABELS } from '../../src/drivers/types.ts';
import { ANSWER_MS } from '../support/patience.ts';
import { hostIn, startStack, stackSpec, type Picture, type Stack } from '../support/stack.ts';

/** Engines that span two hosts each: every host runs its own rank of one engine, and the engine lives or dies as one. */
const HOSTS = ['p0', 'p1', 'd0', 'd1'] as const;
const host = hostIn('127.92.1');
const overTwo = (...hosts: string[]) => ({
  replicas: 1,
  hostsPerReplica: 2,
  gpus: { product: 'MI300X', count: 2 },
  hosts,
});
const spec = stackSpec(1, {
  name: 'wide',
  hosts: { list: [...HOSTS.map((name, at) => host(name, at + 1, 2)), host('router-0', 9, 0)] },
  prefill: overTwo('p0', 'p1'),
  decode: overTwo('d0', 'd1'),
});
let stack: Stack;
let before: Picture;

beforeAll(async () => {
  stack = await startStack({ spec });
  before = await stack.picture();
});
afterAll(async () => {
  await stack?.stop();
});

/** The rank that the container of an engine on a host says it is, and the one that its command line says. */
const rankOn = (on: string, name: string): readonly [string | undefined, string | undefined] => {
  const { config } = stack.simulation.host(on).docker.find(name);
  return [config.labels[LABELS.rank], config.command[config.command.indexOf('--node-rank') + 1]];
};

describe('a cluster whose engines span two hosts each', () => {
  it('unwinds both hosts of an engine when one rank dies during its start, and names that rank’s host', async () => {
    await stack.simulation.setFaults([{ match: 'decode-0', host: 'd1', engine: { killedWhileLoading: true } }]);
    const entry = await stack.run({ ...spec, name: 'lame' });
    await stack.simulation.setFaults([]);
    expect(entry).toMatchObject({
      outcome: 'rolled-back',
      leftBehind: [],
      failed: { step: 'start-decode', code: 'ENGINE_EXITED', host: 'd1' },
    });
    expect(await stack.settledPicture(before)).toEqual(before);
  });

  it('runs one rank of one engine on each host, each once, and lists the first of each at the router', async () => {
    const started = stack.simulation.counts();
    expect(await stack.run(spec)).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
    const [prefill, decode] = ['tandem-wide-prefill-0-1', 'tandem-wide-decode-0-1'] as const;
    expect([rankOn('p0', prefill), rankOn('p1', prefill), rankOn('d0', decode), rankOn('d1', decode)]).toEqual([
      ['0', '0'],
      ['1', '1'],
      ['0', '0'],
      ['1', '1'],
    ]);
    const now = stack.simulation.counts();
    expect(HOSTS.map((name) => now[name]!.containersStarted - started[name]!.containersStarted)).toEqual([1, 1, 1, 1]);
    const picture = await stack.picture();
    expect(HOSTS.map((name) => picture[name]!.leases.length)).toEqual([2, 2, 2, 2]);
    const { engines, router } = (await stack.client.record(spec.name)).serving!;
    const { workers } = (await (await fetch(`${router.url}/workers`)).json()) as { workers: { url: string }[] };
    expect(workers.map(({ url }) => url).toSorted()).toEqual(engines.map(({ url }) => url).toSorted());
    expect(engines.map(({ url }) => new URL(url).hostname).toSorted()).toEqual(['127.92.1.1', '127.92.1.3']);
  });

  it('answers a chat through the router', async () => {
    const { router, model } = (await stack.client.record(spec.name)).serving!;
    const response = await fetch(`${router.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, max_tokens: 8, messages: [{ role: 'user', content: 'How many are you?' }] }),
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    expect(response.status).toBe(200);
    const { choices } = (await response.json()) as { choices: { message: { content: string } }[] };
    expect(choices[0]!.message.content.trim()).not.toBe('');
  });

  it('destroyed leaves every host as it was', async () => {
    expect(await stack.run(spec, 'destroy')).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
    expect(await stack.settledPicture(before)).toEqual(before);
  });
});
