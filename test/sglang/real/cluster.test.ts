import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { engineClient } from '../../../src/drivers/engine-client.ts';
import { routerClient, type RouterEntry } from '../../../src/drivers/router-client.ts';
import type { ClusterSpec } from '../../../src/spec/schema.ts';
import { told } from '../../lab/cluster.ts';
import type { LabHost } from '../../lab/host.ts';
import { whyNoLab, type Lab } from '../../lab/lab.ts';
import { labPicture, leftIn, type Pictures } from '../../lab/picture.ts';
import { localDrivers } from '../../support/local-host.ts';
import { until } from '../../support/processes.ts';
import { allOf, startTemporalStack, type TemporalStack } from '../../support/temporal-stack.ts';
import { environmentOf, MISSING } from './environments.ts';
import {
  askWhole,
  crossed,
  endJob,
  endNext,
  isBetween,
  met,
  roomsOfJob,
  roomsOfNext,
  startLoad,
  startNext,
  type Rooms,
} from './generation.ts';
import { engineLab, engineSpec, ITS_OWN, START_MS } from './site.ts';

/**
 * `npm run test:sglang`: SGLang's own engines on CPU, one prefill and two decode, on three lab hosts behind real smg, with
 * real KV transfer over TCP. The hosts' GPUs are made up, so that what is checked of them is what a GPU host shows.
 */
const environment = environmentOf('0.5.23');
const why = environment === undefined ? MISSING : await whyNoLab();
const suite = why === undefined ? describe : describe.skip;

/** HTTP and bootstrap ports of engines that are started beside those that Tandem started, by those. */
const NEXT_PORTS = { 30_000: 30_050, 8_998: 9_048 } as const;

let lab: Lab;
let stack: TemporalStack;
let home: string;
let before: Pictures;
beforeAll(async () => {
  if (why !== undefined) return;
  home = await mkdtemp(join(tmpdir(), 'tandem-sglang-'));
  lab = await engineLab('engines', environment!, ['p0', 'd0', 'd1']);
  stack = await startTemporalStack(home);
  before = await labPicture(lab);
});
afterAll(() =>
  allOf([async () => stack?.stop(), async () => lab?.stop(), () => rm(home, { recursive: true, force: true })]),
);

const specOf = (name: string): ClusterSpec => engineSpec(lab, environment!, name);

/** What Tandem left. */
const left = async () => leftIn(before, await labPicture(lab)).filter((row) => !ITS_OWN.test(row));
const served = async () => (await stack.client.record('real')).serving!;
/** The first process of an engine on its host, or the router's container, as it was started. */
const runsOn = async (host: string) => {
  const engine = ['pgrep', '-f', '-o', 'sglang.launch_server'];
  const router = ['docker', 'ps', '--no-trunc', '--format', '{{.ID}}'];
  const { stdout, stderr } = await lab.host(host).run(host === 'r0' ? router : engine);
  expect([host, stdout, stderr]).toEqual([host, expect.stringMatching(/^[0-9a-f]+\n?$/), '']);
  return stdout;
};

suite(`SGLang’s own engines${why === undefined ? '' : ` (skipped: ${why})`}`, () => {
  it(
    'are deployed and accepted, with the TTFT that acceptance measured',
    async () => {
      const admitted = await stack.begin(specOf('real'));
      const record = await stack.ended('real', admitted, START_MS);
      expect(await told(Promise.resolve(record))).toBe('succeeded');
      expect(record.measured).toMatchObject({ requests: 12 });
    },
    START_MS,
  );

  it('answer a chat and a stream through the router, whole', async () => {
    const serving = await served();
    expect(await askWhole(serving, false)).toBeUndefined();
    expect(await askWhole(serving, true)).toBeUndefined();
  });

  it(
    'of which one is killed are repaired by the same spec, and the others run on',
    async () => {
      const others = ['p0', 'd0', 'r0'];
      const [before, killed] = [await Promise.all(others.map(runsOn)), await runsOn('d1')];
      await lab.host('d1').run(['pkill', '-KILL', '-f', 'sglang']);
      const admitted = await stack.begin(specOf('real'));
      expect(await told(stack.ended('real', admitted, START_MS))).toBe('succeeded');
      expect(await Promise.all(others.map(runsOn))).toEqual(before);
      expect(await runsOn('d1')).not.toBe(killed);
    },
    START_MS,
  );

  it(
    'move to the next generation under load by the steps that the router allows: no request fails or crosses',
    async () => {
      const { fetch } = localDrivers([]);
      const serving = await served();
      const router = routerClient({ fetch, url: serving.router.url });
      const listed = (is: (entries: readonly RouterEntry[]) => boolean, what: string) =>
        until(what, async () => is(await router.list()), { limitMs: START_MS });
      const old = await router.list();
      expect(old).toHaveLength(3);
      const jobOn = (host: string) => serving.engines.find(({ hosts }) => hosts.includes(host))!.name;
      const at = (host: string) => `http://${lab.host(host).address}:${NEXT_PORTS[30_000]}`;
      const next = [
        { role: 'prefill', url: at('p0'), bootstrapPort: NEXT_PORTS[8_998], pairingKey: 'next' },
        { role: 'decode', url: at('d0'), pairingKey: 'next' },
      ];
      const load = startLoad(serving, 4);
      try {
        // Admit: start, wait until it generates, list it with the key of its generation.
        for (const host of ['p0', 'd0']) await startNext(lab.host(host), jobOn(host), NEXT_PORTS);
        for (const { url } of next) {
          const generates = async () =>
            (await engineClient({ fetch, url })
              .healthStatus()
              .catch(() => 0)) === 200;
          await until(`${url} generates`, generates, { limitMs: START_MS, everyMs: 1_000 });
        }
        for (const engine of next) await router.add(engine);
        const isNext = ({ pairingKey, ready }: RouterEntry) => pairingKey === 'next' && ready;
        await listed((entries) => entries.filter(isNext).length === 2, 'the router has the next generation');
        const soaked = async () => (await roomsOfNext(lab.host('d0'))).size >= 8;
        await until('both generations serve', soaked, { limitMs: START_MS, everyMs: 500 });
        // Retire: cordon by a key of its own, wait until nothing is open there, take it out, end it.
        for (const { id } of old) await router.rekey(id, { pairingKey: `cordon-${id}` });
        const idle = ({ pairingKey, load: open }: RouterEntry) =>
          pairingKey?.startsWith('cordon-') === true && open === 0;
        await listed((entries) => entries.filter(idle).length === 3, 'nothing is open at the old engines');
        const open = () => Promise.all(old.map(({ url }) => engineClient({ fetch, url }).openRequests()));
        await until('they say so too', async () => (await open()).every((count) => count === 0), { limitMs: START_MS });
        for (const { id } of old) await router.remove(id);
        await listed((entries) => entries.length === 2, 'the old generation is gone');
        for (const host of ['p0', 'd0', 'd1']) await endJob(lab.host(host), jobOn(host));
        const before = load.asked();
        await until('the next serves alone', () => load.asked() >= before + 100, { limitMs: START_MS });
        expect(await load.end()).toEqual([]);

        const [p0, d0, d1] = ['p0', 'd0', 'd1'].map((host) => lab.host(host)) as [LabHost, LabHost, LabHost];
        const decodes = [...(await roomsOfJob(d0, jobOn('d0'))), ...(await roomsOfJob(d1, jobOn('d1')))];
        const was: Rooms = { prefill: await roomsOfJob(p0, jobOn('p0')), decode: new Set(decodes) };
        const is: Rooms = { prefill: await roomsOfNext(p0), decode: await roomsOfNext(d0) };
        expect(crossed(was, is)).toEqual([]);
        // They did meet, each within its generation.
        expect(Math.min(met(was), met(is))).toBeGreaterThanOrEqual(8);
        console.log(`${load.asked()} requests, ${met(was)} met in the old generation, ${met(is)} in the next`);
      } finally {
        await load.end();
        for (const { id, pairingKey } of await router.list()) if (pairingKey === 'next') await router.remove(id);
        for (const host of ['p0', 'd0']) await endNext(lab.host(host));
      }
    },
    3 * START_MS,
  );

  it(
    'destroyed leave every host as it was',
    async () => {
      const admitted = await stack.begin(specOf('real'), 'destroy');
      expect(await told(stack.ended('real', admitted, START_MS))).toBe('succeeded');
      expect(await left()).toEqual([]);
    },
    START_MS,
  );

  it(
    'that are cancelled while they load weights leave every host as it was',
    async () => {
      const admitted = await stack.begin(specOf('cut'));
      const loads = () =>
        isBetween(lab.host('d0'), `tandem-cut-decode-0-${admitted.deployment}`, 'Load weight begin', 'fired up');
      await until('an engine loads its weights', loads, { limitMs: START_MS / 2, everyMs: 100 });
      await stack.client.cancel('cut', { actor: 'tester' });
      expect(await told(stack.ended('cut', admitted, START_MS))).toMatch(/^cancelled/);
      expect(await left()).toEqual([]);
    },
    START_MS,
  );
});
