import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from '@jest/globals';
import proto from '@temporalio/proto';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { dataConverter } from '../../src/connection.ts';
import { workflowBundle } from '../support/workflow-bundle.ts';

// A new release of Tandem takes over operations that an older one began: what it would do must be what was done.
// `npm run histories` records those of today anew, after a change that is meant to change what workflows do; those that
// `npm run release` froze under a version stay as they are.

const { History } = proto.temporal.api.history.v1;
type History = proto.temporal.api.history.v1.IHistory;

const FOLDER = join(import.meta.dirname, '..', 'histories');
const names = readdirSync(FOLDER)
  .toSorted()
  .flatMap((release) => readdirSync(join(FOLDER, release)).map((file) => `${release}/${file.replace(/\.json$/, '')}`));
const today = names.filter((name) => name.startsWith('current/'));
const text = (name: string) => readFileSync(join(FOLDER, `${name}.json`), 'utf8');
const history = (name: string): History => History.fromObject(JSON.parse(text(name)) as Record<string, unknown>);

let workflowBundled: { code: string };
beforeAll(async () => {
  // Each replay is a worker that tells of its life, and one of them is meant to fail.
  Runtime.install({
    logger: new DefaultLogger('ERROR'),
    telemetryOptions: { logging: { filter: 'OFF', forward: {} } },
  });
  workflowBundled = await workflowBundle();
});

const replay = async (told: History): Promise<void> => {
  const { workflowId } = told.events![0]!.workflowExecutionStartedEventAttributes!;
  await Worker.runReplayHistory({ workflowBundle: workflowBundled, dataConverter }, told, workflowId!);
};

it.each(names)('the history %s replays on the workflows of today', async (name) => {
  await replay(history(name));
});

describe('the histories kept', () => {
  it('are of every workflow, and of every way in which an operation ends', () => {
    const kept = today.map((name) => {
      const { events } = history(name);
      const [first] = events!;
      const end = events!.at(-1)!;
      const how = Object.keys(end).find((key) => /^workflowExecution.*EventAttributes$/.test(key))!;
      const outcome = /"outcome":"(stuck|refused|rolled-back|unchanged|succeeded|superseded)"/.exec(
        endTextOf(end),
      )?.[1];
      return [first!.workflowExecutionStartedEventAttributes!.workflowType!.name, outcome ?? how.slice(17, -15)].join(
        ' ',
      );
    });
    expect([...new Set(kept)].sort()).toEqual([
      'adoption Completed',
      'batch Completed',
      'breakLeases Completed',
      'check Completed',
      'cluster ContinuedAsNew',
      'deploy Canceled',
      'deploy refused',
      'deploy rolled-back',
      'deploy stuck',
      'deploy succeeded',
      'deploy superseded',
      'deploy unchanged',
      'destroy stuck',
      'destroy succeeded',
      'health Completed',
      'leases Completed',
      'logs Completed',
      'plan Completed',
      'presence Completed',
      'readiness Completed',
    ]);
  });

  it('do not fit workflows that do two things in another order', async () => {
    const told = text('current/deploy-succeeded').replaceAll('"name":"leaseGpus"', '"name":"kept"');
    const swapped = told
      .replaceAll('"name":"checkHost"', '"name":"leaseGpus"')
      .replaceAll('"name":"kept"', '"name":"checkHost"');
    expect(swapped).not.toBe(text('current/deploy-succeeded'));
    await expect(replay(History.fromObject(JSON.parse(swapped) as Record<string, unknown>))).rejects.toThrow(
      /nondeterminism|determinis/i,
    );
  });

  it('name no machine and no folder', () => {
    const found = names.filter((name) => /"identity"|"stackTrace"|\d+@/.test(text(name)));
    expect(found).toEqual([]);
  });
});

/** What the last event tells, of which the outcome is a part: the result, or the details of the failure. */
function endTextOf({
  workflowExecutionCompletedEventAttributes: completed,
  workflowExecutionFailedEventAttributes: failed,
}: proto.temporal.api.history.v1.IHistoryEvent): string {
  const payloads = completed?.result?.payloads ?? failed?.failure?.applicationFailureInfo?.details?.payloads ?? [];
  return payloads.map(({ data }) => Buffer.from(data!).toString()).join('');
}
