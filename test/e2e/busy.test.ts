import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execa } from 'execa';
import { CLI, runCli } from '../support/cli.ts';
import { specOf } from '../support/memory-scenarios.ts';
import type { ActivityCall, MemorySite } from '../support/memory-site.ts';
import { startOperations, type Operations } from '../support/memory-temporal.ts';
import { ANSWER_MS, patient, START_MS, STILL_MS } from '../support/patience.ts';
import { until } from '../support/processes.ts';

// A Temporal worker with one slot for all that acts on hosts, and a long activity in it: a busy site is one that is there.

const shape = [
  { prefill: 1, decode: 1 },
  { p: 1, d: 1 },
] as const;
const [holder, served, asked, given] = ['holder', 'served', 'asked', 'given'].map((name) => specOf(name, ...shape));

let operations: Operations;
let sites: Readonly<Record<string, MemorySite>>;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-busy-'));
  operations = await startOperations({ slots: 1 });
  // What only reads is asked of the site that was opened last.
  sites = Object.fromEntries([holder, asked, given, served].map((spec) => [spec!.name, operations.open(spec!)]));
  for (const spec of [served, asked]) await writeFile(fileOf(spec!), JSON.stringify(spec)); // JSON is YAML.
  expect(await operations.run(served!)).toMatchObject({ outcome: 'succeeded' });
  const waits = ({ activity }: ActivityCall) => activity === 'awaitEngine';
  sites['holder']!.trouble({ at: waits, what: 'hangs' });
  await operations.begin(holder!);
  await until('the slot is taken', () => sites['holder']!.calls.some(waits), { limitMs: STILL_MS });
});
afterAll(async () => {
  await operations?.close();
  await rm(folder, { recursive: true, force: true });
});

const fileOf = ({ name }: { readonly name: string }) => join(folder, `${name}.yaml`);
const tandem = (...args: readonly string[]) => runCli(args, { address: operations.env.address, timeoutMs: ANSWER_MS });

describe('a site that has no room', () => {
  it.each<[string, () => readonly string[], unknown]>([
    ['status', () => ['status', 'served'], { state: 'serving', why: [], unknown: [], router: { answers: true } }],
    [
      'list',
      () => ['list'],
      [
        { cluster: 'holder', state: 'deploying' },
        { cluster: 'served', state: 'serving' },
      ],
    ],
    ['plan', () => ['plan', fileOf(served!)], expect.anything()],
    ['check', () => ['check', fileOf(served!)], { verdict: 'pass' }],
    ['logs', () => ['logs', 'served'], expect.anything()],
    ['lease list', () => ['lease', 'list', fileOf(served!)], { unread: [] }],
  ])('answers %s', async (_, args, told) => {
    const begun = performance.now();
    const { exitCode, stdout, stderr } = await tandem(...args());
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject(told as object);
    expect(performance.now() - begun).toBeLessThan(patient(15_000));
  });

  it('cancels an operation that waits for room', async () => {
    const admitted = await operations.begin(given!);
    const { exitCode, stdout } = await tandem('cancel', 'given');
    expect([exitCode, JSON.parse(stdout)]).toMatchObject([0, { ...deploymentOf(admitted), outcome: 'cancelled' }]);
    expect(sites['given']!.driverCalls).toEqual([]);
  });

  it('takes a deploy, tells that it is queued and not that nobody is there, and carries it out once there is room', async () => {
    const { address } = operations.env;
    const deploy = execa(process.execPath, [CLI, 'deploy', fileOf(asked!), '--json'], {
      env: { TEMPORAL_ADDRESS: address, TEMPORAL_NAMESPACE: 'default' },
      reject: false,
      timeout: START_MS + STILL_MS,
    });
    let stderr = '';
    deploy.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    await until('it is told as queued', () => / {2}queued {9}since .*observeHost waits until /.test(stderr), {
      limitMs: STILL_MS,
    });
    await operations.client.cancel('holder', { actor: 'tester' });
    const { exitCode, stdout } = await deploy;
    expect([exitCode, JSON.parse(stdout)]).toMatchObject([0, { outcome: 'succeeded' }]);
    expect(stderr).not.toMatch(/NO_WORKER|no worker|no answer/);
    expect(stderr).toContain('goes on');
  });
});

const deploymentOf = ({ deployment }: { readonly deployment: number }) => ({ deployment });
