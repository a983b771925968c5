import { execa } from 'execa';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ClusterSpec } from '../../../src/spec/schema.ts';
import type { Serving } from '../../../workflows/messages.ts';
import { told } from '../../lab/cluster.ts';
import { PROJECT_THERE } from '../../lab/host.ts';
import { ROUTER_IMAGE } from '../../lab/images.ts';
import { startLab, whyNoLab, type Lab } from '../../lab/lab.ts';
import { labPicture, leftIn, type Pictures } from '../../lab/picture.ts';
import { aSpec } from '../../support/specs.ts';
import { allOf, startTemporalStack, type TemporalStack } from '../../support/temporal-stack.ts';

/**
 * `npm run test:sglang`: SGLang's own engines on CPU, one prefill and two decode, on three lab hosts behind real smg, with
 * real KV transfer over TCP. The hosts' GPUs are made up, so that what is checked of them is what a GPU host shows.
 */
const environment = process.env['TANDEM_SGLANG_ENV'];
const why = environment === undefined ? 'it needs SGLang: npm run test:sglang' : await whyNoLab();
const suite = why === undefined ? describe : describe.skip;

/** One a host: SGLang on CPU takes the number of a GPU for one of a NUMA node. */
const ONE = { product: 'MI300X', count: 1 };
const START_MS = 600_000;

let lab: Lab;
let stack: TemporalStack;
let home: string;
let before: Pictures;
beforeAll(async () => {
  if (why !== undefined) return;
  home = await mkdtemp(join(tmpdir(), 'tandem-sglang-'));
  const python = join(environment!, 'bin/python');
  const model = join(environment!, 'model');
  await execa(python, [join(import.meta.dirname, 'model.py'), model]);
  const { stdout: prefix } = await execa(python, ['-c', 'import sys; print(sys.base_prefix)']);
  const shared = prefix.startsWith('/usr') ? [environment!] : [environment!, prefix];
  const engine = (name: string) => ({ name, images: [], shared, machine: { gpus: { count: 1 } } });
  lab = await startLab('engines', [
    engine('p0'),
    engine('d0'),
    engine('d1'),
    { name: 'r0', images: ['router'], machine: { gpus: { count: 0 } } },
  ]);
  stack = await startTemporalStack(home);
  before = await labPicture(lab);
}, 180_000);
afterAll(
  () => allOf([async () => stack?.stop(), async () => lab?.stop(), () => rm(home, { recursive: true, force: true })]),
  120_000,
);

const specOf = (name: string): ClusterSpec =>
  aSpec({
    name,
    model: { id: 'tandem/tiny-qwen', source: `file://${environment}/model`, copy: false },
    engine: {
      image: undefined,
      runtime: 'process',
      version: '0.5.23',
      command: [`${environment}/bin/python3`, '-m', 'sglang.launch_server'],
      args: {
        device: 'cpu',
        'load-format': 'dummy',
        'attention-backend': 'torch_native',
        'disable-radix-cache': true,
        'disable-overlap-schedule': true,
        'disable-cuda-graph': true,
        'max-total-tokens': 4096,
        'sleep-on-idle': true,
        'log-requests': true,
        'log-requests-level': 1,
        'log-requests-format': 'json',
      },
      env: {
        PYTHONPATH: `${PROJECT_THERE}/test/sglang/real`,
        MOONCAKE_PROTOCOL: 'tcp',
        OMP_NUM_THREADS: '1',
      },
      readyTimeoutSeconds: 400,
      stopTimeoutSeconds: 60,
    },
    hosts: {
      ssh: {
        user: lab.user,
        identityFile: lab.identityFile,
        knownHostsFile: lab.knownHostsFile,
        configFile: lab.configFile,
        retrySeconds: 5,
      },
      leaseDir: '~/leases',
      list: lab.hosts.map((host) => ({
        name: host.name,
        address: host.address,
        gpus: host.name === 'r0' ? { ...ONE, count: 0 } : ONE,
      })),
    },
    prefill: { replicas: 1, gpus: ONE, hosts: ['p0'] },
    decode: {
      replicas: 2,
      gpus: ONE,
      hosts: ['d0', 'd1'],
      args: { 'disaggregation-decode-retraction-backup': 'none' },
    },
    rdma: { transport: 'tcp' },
    router: { host: 'r0', runtime: 'docker', image: ROUTER_IMAGE, port: 30000 },
    checks: { waive: [{ check: 'host-memlock', reason: 'this machine allows no more' }] },
    acceptance: { warmupRequests: 2, requests: 12, concurrency: 2, outputTokens: 8, promptTokens: 8 },
    upgrade: { drainTimeoutSeconds: 60, settleSeconds: 1 },
  });

const ask = (serving: Serving, path: string, body: object) =>
  fetch(`${serving.router.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: serving.model, max_tokens: 8, ...body }),
    signal: AbortSignal.timeout(60_000),
  });
const MESSAGES = [{ role: 'user', content: 'Who answers?' }];
/** What Tandem left; SGLang keeps caches of its own in its user's home and in /tmp. */
const left = async () =>
  leftIn(before, await labPicture(lab)).filter((row) => !/ files \+ (\/home\/ops\/\.cache|\/tmp\/)/.test(row));
/** First pid of an engine on its host. */
const pidOn = async (host: string) =>
  (await lab.host(host).run(['pgrep', '-f', '-o', 'sglang.launch_server'])).stdout.trim();

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
    const serving = (await stack.client.record('real')).serving!;
    const chat = (await (await ask(serving, '/v1/chat/completions', { messages: MESSAGES })).json()) as {
      usage: { completion_tokens: number };
    };
    expect(chat.usage.completion_tokens).toBeGreaterThan(0);
    const stream = await ask(serving, '/v1/chat/completions', { messages: MESSAGES, stream: true });
    const lines = (await stream.text()).split('\n').filter((line) => line.startsWith('data: '));
    expect(lines.at(-1)).toBe('data: [DONE]');
    expect(lines.at(-2)).toContain('"finish_reason"');
  }, 120_000);

  it(
    'of which one is killed are repaired by the same spec, and the others run on',
    async () => {
      const [p0, d0, d1] = [await pidOn('p0'), await pidOn('d0'), await pidOn('d1')];
      await lab.host('d1').run(['pkill', '-KILL', '-f', 'sglang']);
      const admitted = await stack.begin(specOf('real'));
      expect(await told(stack.ended('real', admitted, START_MS))).toBe('succeeded');
      expect([await pidOn('p0'), await pidOn('d0')]).toEqual([p0, d0]);
      expect(await pidOn('d1')).not.toBe(d1);
    },
    START_MS,
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
    'that are cancelled while they load leave every host as it was',
    async () => {
      const admitted = await stack.begin(specOf('cut'));
      await stack.seen(admitted, 'engines load', ({ stage }) => stage === 'start-decode');
      await stack.client.cancel('cut', { actor: 'tester' });
      expect(await told(stack.ended('cut', admitted, START_MS))).toMatch(/^cancelled/);
      expect(await left()).toEqual([]);
    },
    START_MS,
  );
});
