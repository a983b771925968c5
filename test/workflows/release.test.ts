import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import proto from '@temporalio/proto';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { dataConverter } from '../../src/connection.ts';
import { workflowBundle } from '../support/workflow-bundle.ts';

// How a release is made, on one that is made up: its histories are frozen, stay as they are, and bind the next release.

const ROOT = join(import.meta.dirname, '..', '..');
const CURRENT = join(ROOT, 'test', 'histories', 'current');
const { History } = proto.temporal.api.history.v1;

let tree: string;
beforeAll(async () => {
  Runtime.install({
    logger: new DefaultLogger('ERROR'),
    telemetryOptions: { logging: { filter: 'OFF', forward: {} } },
  });
  tree = await mkdtemp(join(tmpdir(), 'tandem-release-'));
  await mkdir(join(tree, 'test', 'histories'), { recursive: true });
  await cp(CURRENT, join(tree, 'test', 'histories', 'current'), { recursive: true });
  await version('9.1.0');
});
afterAll(() => rm(tree, { recursive: true, force: true }));

const version = (name: string) => writeFile(join(tree, 'package.json'), JSON.stringify({ version: name }));
const release = () =>
  promisify(execFile)(process.execPath, [join(ROOT, 'scripts', 'release.mjs'), '--root', tree]).then(
    ({ stdout }) => stdout,
    (error: { stderr: string }) => error.stderr,
  );
const frozen = (name: string, at = '9.1.0') => readFile(join(tree, 'test', 'histories', at, `${name}.json`), 'utf8');

async function replayed(index: string, text: string): Promise<void> {
  const history = History.fromObject(JSON.parse(text) as Record<string, unknown>);
  const { workflowId } = history.events![0]!.workflowExecutionStartedEventAttributes!;
  await Worker.runReplayHistory({ workflowBundle: await workflowBundle(index), dataConverter }, history, workflowId!);
}

describe('a release', () => {
  it('freezes the histories of its workflows under its version', async () => {
    expect(await release()).toContain('test/histories/9.1.0');
    expect(await readdir(join(tree, 'test', 'histories', '9.1.0'))).toEqual(await readdir(CURRENT));
    expect(await frozen('deploy-succeeded')).toBe(await readFile(join(CURRENT, 'deploy-succeeded.json'), 'utf8'));
  });

  it('is never frozen a second time', async () => {
    await rm(join(tree, 'test', 'histories', 'current', 'deploy-succeeded.json'));
    const before = await frozen('deploy-succeeded');
    expect(await release()).toMatch(/frozen already.*\n {2}remedy: /);
    expect(await frozen('deploy-succeeded')).toBe(before);
  });

  it('of a version that is none is refused', async () => {
    await version('next');
    expect(await release()).toMatch(/wanted as in 0\.2\.0/);
    await version('9.1.0');
  });

  it('is gone on with by the next one, which keeps the old code of a rewritten workflow under its old name', async () => {
    for (const name of ['deploy-cancelled', 'deploy-stuck', 'cluster-1', 'destroy-succeeded'])
      await replayed('test/support/next-workflows.ts', await frozen(name));
  });

  it('fails the tests of a next one that rewrote a workflow in its place', async () => {
    await expect(replayed('test/support/other-workflows.ts', await frozen('deploy-cancelled'))).rejects.toThrow(
      /determinis/i,
    );
  });
});
