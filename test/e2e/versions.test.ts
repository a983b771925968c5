import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { EVERY_CASE } from '../support/choice.ts';
import { NEWEST_IMAGE, OLDEST_IMAGE, startStack, stackSpec, type Stack } from '../support/stack.ts';

/**
 * What an engine is, is decided by what it answers: each of these images holds another SGLang than its tag names. One of
 * them in `npm test`, all by the exhaustive run.
 */
const LIES = [
  { image: `${NEWEST_IMAGE}-20261101`, holds: '0.5.10.post1', ready: 404 },
  { image: `${NEWEST_IMAGE}-20261102`, holds: '0.5.18', ready: 404 },
  { image: `${NEWEST_IMAGE}-20261103`, holds: '0.5.20', ready: 200 },
  { image: OLDEST_IMAGE, holds: '0.5.23', ready: 200 },
] as const;
const base = stackSpec(8, { engine: { image: LIES[0].image } });
let stack: Stack;

beforeAll(async () => {
  const images = LIES.map(({ image, holds }) => ({ reference: image, sglang: holds }));
  stack = await startStack({ spec: base, scenario: { images } });
}, 120_000);
afterAll(async () => {
  await stack?.stop();
}, 60_000);
afterEach(async () => {
  for (const name of await stack.client.clusters()) {
    const { serving, specs } = await stack.client.record(name);
    if (serving) await stack.run(specs[serving.specDigest]!, 'destroy');
  }
}, 60_000);

describe.each(EVERY_CASE ? LIES : LIES.slice(0, 1))(
  'an engine whose image name lies about its version: $image holds $holds',
  ({ image, holds, ready }) => {
    it('is served', async () => {
      const name = `holds-${holds.replaceAll('.', '-')}`;
      const entry = await stack.run({ ...base, name, engine: { ...base.engine, image } });
      expect(entry).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
      const { engines } = (await stack.client.record(name)).serving!;
      expect(engines).toHaveLength(3);
      for (const { url } of engines) {
        const { version } = (await (await fetch(`${url}/v1/loads`)).json()) as { version: string };
        expect([version, (await fetch(`${url}/ready`)).status]).toEqual([holds, ready]);
      }
    }, 120_000);
  },
);
