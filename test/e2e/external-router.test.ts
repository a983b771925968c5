import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { ANSWER_MS, patientSeconds } from '../support/patience.ts';
import { startSmg, type Smg, type SmgEntry } from '../support/smg.ts';
import { standIn, type StandIn } from '../support/stand-in-engine.ts';
import { hostIn, startStack, stackSpec, type Picture, type Stack } from '../support/stack.ts';

/** A router that somebody else runs, with somebody else's engine in its list: Tandem adds and removes its own, no more. */
const ROUTER = '127.92.2.100';
const host = hostIn('127.92.2');
const spec = stackSpec(1, {
  name: 'guest',
  hosts: { list: [host('p0', 1, 2), host('d0', 2, 2), host('d1', 3, 2)] },
  router: { external: { url: `http://${ROUTER}:30000` } },
});
const smaller: ClusterSpec = { ...spec, decode: { ...spec.decode, replicas: 1 } };
let stack: Stack;
let smg: Smg;
let stranger: StandIn;
let before: Picture;
let theirs: readonly SmgEntry[];

beforeAll(async () => {
  [stack, smg] = await Promise.all([startStack({ spec }), startSmg(ROUTER)]);
  stranger = standIn('127.92.2.200', 30000, 'decode', { model: 'another-model' });
  await stranger.listening;
  await smg.admit({ url: stranger.url, role: 'decode', key: 'theirs' });
  before = await stack.picture();
  theirs = await smg.list();
});
afterAll(async () => {
  await Promise.allSettled([stack?.stop(), smg?.stop()]);
  stranger?.exit(0);
});

const ours = async (): Promise<readonly SmgEntry[]> => (await smg.list()).filter(({ url }) => url !== stranger.url);

/** The engine that answered a chat, as the router names it. */
async function chat(): Promise<string | null> {
  const response = await fetch(`${smg.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: spec.model.id,
      max_tokens: 4,
      messages: [{ role: 'user', content: 'Whose guest?' }],
    }),
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ choices: [{ message: { content: expect.stringMatching(/\S/) } }] });
  return response.headers.get('x-smg-routed-worker-id');
}

describe('a cluster behind a router that Tandem did not start', () => {
  it('is listed there engine by engine under its own key, beside what was listed before', async () => {
    expect(await stack.run(smaller)).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
    const { engines, router } = (await stack.client.record(spec.name)).serving!;
    expect(router.url).toBe(smg.url);
    const wanted = engines.map(({ url, role, kvGeneration }) => ({
      id: expect.any(String),
      url,
      role,
      status: 'ready',
      key: kvGeneration,
    }));
    expect(await ours()).toEqual(wanted.toSorted((one, other) => (one.url < other.url ? -1 : 1)));
    expect(await smg.list()).toEqual(expect.arrayContaining([...theirs]));
  });

  it('answers a chat through it', async () => {
    const { engines } = (await stack.client.record(spec.name)).serving!;
    expect(await chat()).toBe(engines.find(({ role }) => role === 'decode')!.url);
  });

  it('whose change fails after it was listed has the list of before, and still serves', async () => {
    const [list, picture] = [await smg.list(), await stack.picture()];
    await stack.simulation.setFaults([{ match: 'decode-1', host: 'd1', engine: { transferStuck: true } }]);
    const entry = await stack.run({ ...spec, acceptance: { ...spec.acceptance, timeoutSeconds: patientSeconds(2) } });
    await stack.simulation.setFaults([]);
    expect(entry).toMatchObject({ outcome: 'rolled-back', leftBehind: [], failed: { step: 'accept', host: 'd1' } });
    expect(await smg.list()).toEqual(list);
    expect(await stack.settledPicture(picture)).toEqual(picture);
    expect(await chat()).not.toBeNull();
  });

  it('with one decode engine more has that one listed, too, and the others as they were', async () => {
    const list = await smg.list();
    expect(await stack.run(spec)).toMatchObject({ outcome: 'succeeded' });
    const now = await smg.list();
    expect(now).toHaveLength(list.length + 1);
    expect(now).toEqual(expect.arrayContaining([...list]));
    const answered = new Set<string>();
    for (let request = 0; request < 40 && answered.size < 2; request += 1) answered.add((await chat()) ?? '');
    const decode = (await stack.client.record(spec.name)).serving!.engines.filter(({ role }) => role === 'decode');
    expect([...answered].toSorted()).toEqual(decode.map(({ url }) => url).toSorted());
  });

  it('destroyed takes its entries out and leaves the router running with those of others', async () => {
    expect(await stack.run(spec, 'destroy')).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
    expect(await smg.list()).toEqual(theirs);
    expect(stranger.bodies).toEqual([]);
    expect(await stack.settledPicture(before)).toEqual(before);
  });
});
