import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { told } from '../../lab/cluster.ts';
import { whyNoLab, type Lab } from '../../lab/lab.ts';
import { labPicture, leftIn, type Pictures } from '../../lab/picture.ts';
import { allOf, startTemporalStack, type TemporalStack } from '../../support/temporal-stack.ts';
import { environmentOf, MISSING, VERSIONS } from './environments.ts';
import { askWhole } from './generation.ts';
import { engineLab, engineSpec, ITS_OWN, START_MS } from './site.ts';

/** Engines of the oldest SGLang, one prefill and one decode, on lab hosts behind real smg: deployed, asked and destroyed. */
const [OLDEST] = VERSIONS;
const environment = environmentOf(OLDEST);
const why = environment === undefined ? MISSING : await whyNoLab();
const suite = why === undefined ? describe : describe.skip;

let lab: Lab;
let stack: TemporalStack;
let home: string;
let before: Pictures;
beforeAll(async () => {
  if (why !== undefined) return;
  home = await mkdtemp(join(tmpdir(), 'tandem-oldest-'));
  lab = await engineLab('engines', environment!, ['p0', 'd0']);
  stack = await startTemporalStack(home);
  before = await labPicture(lab);
}, 180_000);
afterAll(
  () => allOf([async () => stack?.stop(), async () => lab?.stop(), () => rm(home, { recursive: true, force: true })]),
  120_000,
);

suite(`engines of SGLang ${OLDEST}${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it(
    'are deployed and accepted, although they have no /ready',
    async () => {
      const admitted = await stack.begin(engineSpec(lab, environment!, 'oldest'));
      const record = await stack.ended('oldest', admitted, START_MS);
      expect(await told(Promise.resolve(record))).toBe('succeeded');
      expect(record.measured).toMatchObject({ requests: 12 });
      for (const { url } of (await stack.client.record('oldest')).serving!.engines) {
        expect((await fetch(`${url}/ready`)).status).toBe(404);
      }
    },
    START_MS,
  );

  it('answer a chat and a stream through the router, whole', async () => {
    const serving = (await stack.client.record('oldest')).serving!;
    expect(await askWhole(serving, false)).toBeUndefined();
    expect(await askWhole(serving, true)).toBeUndefined();
  }, 240_000);

  it(
    'destroyed leave every host as it was, though they end with 137',
    async () => {
      const admitted = await stack.begin(engineSpec(lab, environment!, 'oldest'), 'destroy');
      expect(await told(stack.ended('oldest', admitted, START_MS))).toBe('succeeded');
      expect(leftIn(before, await labPicture(lab)).filter((row) => !ITS_OWN.test(row))).toEqual([]);
    },
    START_MS,
  );
});
