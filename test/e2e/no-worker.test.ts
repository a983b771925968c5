import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { execa } from 'execa';
import { connectClient, type TandemClient } from '../../src/client.ts';
import { dataConverter } from '../../src/connection.ts';
import { specDigest } from '../../src/spec/canonical.ts';
import { CLI, runCli } from '../support/cli.ts';
import { START_MS } from '../support/patience.ts';
import { aSpec } from '../support/specs.ts';
import { startTemporal } from '../support/temporal.ts';
import { workflowBundle } from '../support/workflow-bundle.ts';

/** What is asked while no Temporal worker runs is not done, and is not done later either. */
const spec = aSpec({ name: 'late', site: 'late' });
const request = { spec, specDigest: specDigest(spec), actor: 'tester' };
const LEASE = { pci: '0000:05:00.0', cluster: 'late', installation: 'run-0', deployment: 1, takenAt: 'unknown' };
const NOBODY = { code: 'NO_WORKER', message: expect.stringContaining('nothing will happen later') as unknown };

let env: TestWorkflowEnvironment;
let client: TandemClient;
let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tandem-late-'));
  file = join(folder, 'late.yaml');
  await writeFile(file, JSON.stringify(spec)); // JSON is YAML.
  env = await startTemporal();
  const settings = { connectionOptions: { address: env.address }, namespace: 'default', origin: env.address };
  client = await connectClient(settings, 'tester', { requestValidMs: 1_500 });
});
afterAll(async () => {
  await client?.close();
  await env?.teardown();
  await rm(folder, { recursive: true, force: true });
});

const tandem = (...args: readonly string[]) => runCli(args, { address: env.address, timeoutMs: START_MS });

describe('without a Temporal worker', () => {
  it('a verb ends with exit code 4, and a worker that starts afterwards executes nothing', async () => {
    const [deploy, destroy, plan, ...refused] = await Promise.all([
      tandem('deploy', file),
      tandem('destroy', 'late', '--yes', '--spec', file),
      tandem('plan', file),
      ...[
        client.submit('late', { operation: 'deploy', ...request }),
        client.adopt('late', { installation: 'run-0', lastDeployment: 3, serving: null, ...request }),
        client.breakLeases('late', { spec, host: 'p0', leases: [LEASE], actor: 'tester', reason: 'r', force: true }),
      ].map((asked) => asked.catch((error: unknown) => error)),
    ]);
    for (const { exitCode, stdout } of [deploy, destroy, plan])
      expect([exitCode, JSON.parse(stdout)]).toEqual([4, { error: expect.objectContaining(NOBODY) }]);
    for (const error of refused) expect(error).toMatchObject(NOBODY);

    const asked: string[] = [];
    const common = { connection: env.nativeConnection, namespace: 'default', dataConverter };
    const site = await Worker.create({
      ...common,
      taskQueue: 'tandem-late-reads',
      activities: { present: async () => void asked.push('present') }, // With it every workflow but the entity begins.
    });
    const workflows = await Worker.create({
      ...common,
      taskQueue: 'tandem',
      workflowBundle: await workflowBundle(),
    });
    await site.runUntil(
      workflows.runUntil(async () => {
        expect(await client.record('late')).toMatchObject({ state: 'none', deployments: [], lastDeployment: 0 });
        // A second look: the first may have been answered by the task that refused the requests.
        expect(await client.record('late')).toMatchObject({ state: 'none', running: null, deployments: [] });
      }),
    );
    expect(asked).toEqual([]);
  });
});

describe('without a Temporal server', () => {
  it('a Temporal worker whose configuration cannot be read says so, with exit code 2', async () => {
    const config = join(folder, 'temporal.toml');
    await writeFile(config, 'no toml [');
    const env = { TEMPORAL_CONFIG_FILE: config };
    const { exitCode, stderr } = await execa(process.execPath, [CLI, 'worker'], { env, reject: false });
    expect(stderr).toMatch(/^USAGE: the Temporal configuration cannot be read: [^]*\n {2}remedy: .*\n?$/);
    expect(exitCode).toBe(2);
  });

  it('a Temporal worker says where it looked and what to do, and ends with exit code 4', async () => {
    const env = { TEMPORAL_ADDRESS: '127.0.0.1:1' };
    const { exitCode, stderr } = await execa(process.execPath, [CLI, 'worker'], { env, reject: false });
    expect(stderr).toMatch(/^TEMPORAL_UNREACHABLE: the Temporal server at 127\.0\.0\.1:1 .*\n {2}remedy: .*\n?$/);
    expect(exitCode).toBe(4);
  });
});
