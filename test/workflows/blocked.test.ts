import { afterAll, beforeEach, expect, it } from '@jest/globals';
import { seenCluster } from '../../src/cli/look.ts';
import { listView, statusView } from '../../src/cli/views/cluster.ts';
import { clusterWorkflowId } from '../../src/operations/names.ts';
import { some } from '../support/choice.ts';
import { specOf } from '../support/memory-scenarios.ts';
import { startOperations } from '../support/memory-temporal.ts';
import { patient, STILL_MS } from '../support/patience.ts';
import { eventually, until } from '../support/processes.ts';

// Workflow code that cannot go on is tried again by Temporal for ever. It is told as blocked, and ended by force.

const operations = await startOperations({ patience: {} }); // As operators wait.
afterAll(() => operations.close());
beforeEach(() => operations.changeWorkflows('workflows/index.ts'));
const LIMIT = { limitMs: STILL_MS, everyMs: 100 };

const stands = (workflowId: string) => operations.client.standstill(workflowId.split('/')[1]!, workflowId);
const blocked = async (workflowId: string) => {
  const look = async () => {
    const found = await stands(workflowId);
    return found?.kind === 'blocked' && found.why;
  };
  return await eventually(look, { ...LIMIT, what: `${workflowId} is blocked` });
};

/** A deploy of a cluster of this name that waits for an engine. */
async function deployThatWaits(name: string) {
  const spec = specOf(name, { prefill: 1, decode: 1 }, { p: 1, d: 1 });
  const site = operations.open(spec);
  site.trouble({ at: ({ activity }) => activity === 'awaitEngine', what: 'hangs' });
  const first = await operations.begin(spec);
  await until('it waits for an engine', () => site.calls.some(({ activity }) => activity === 'awaitEngine'), LIMIT);
  return { spec, site, first };
}

it('an operation that another release cannot replay is blocked, is ended by force, and the cluster goes on', async () => {
  const { spec, site, first } = await deployThatWaits('changed');
  expect(await stands(first.workflowId)).toBeUndefined();
  await operations.changeWorkflows('test/support/other-workflows.ts');
  // What it waits for comes to nothing, so that its workflow has something to do.
  await operations.env.client.workflow.getHandle(first.workflowId).signal('end', {});
  expect(await operations.client.progress(first.workflowId)).toBeUndefined();
  expect(await blocked(first.workflowId)).toMatch(/^non_deterministic_error: .+ \(tried \d+ times\)$/);

  await operations.client.cancel(spec.name, { actor: 'alice', reason: 'a release without it' }, { force: true });
  expect(await operations.ended(spec.name, first)).toMatchObject({
    outcome: 'stuck',
    failed: { code: 'FORCED' },
    endedBy: { how: 'force', actor: 'alice', reason: 'a release without it' },
  });
  await operations.changeWorkflows('workflows/index.ts');
  site.heal();
  expect(await operations.run(spec)).toMatchObject({ deployment: 2, outcome: 'succeeded', leftBehind: [] });
  expect(site.serves()).toBe(true);
  expect(await stands(clusterWorkflowId(spec.name))).toBeUndefined();
});

it.each(
  some<[string, RegExp]>(
    [
      ['attribute', /^bad_search_attributes: /],
      ['payload', /^[a-z_]+: .+ \(tried/],
    ],
    2,
  ),
)('an operation of which the server refuses a %s is blocked, and ended by force', async (what, why) => {
  const spec = specOf(what, { prefill: 1, decode: 1 }, { p: 1, d: 1 });
  operations.open(spec);
  await operations.run(spec);
  await operations.changeWorkflows('test/support/other-workflows.ts');
  const admitted = await operations.begin(spec, 'destroy');
  expect(await blocked(admitted.workflowId)).toMatch(why);
  await operations.client.cancel(spec.name, { actor: 'alice' }, { force: true });
  expect(await operations.ended(spec.name, admitted)).toMatchObject({
    outcome: 'refused',
    failed: { code: 'FORCED' },
  });
  await operations.changeWorkflows('workflows/index.ts');
  expect(await operations.run(spec, 'destroy')).toMatchObject({ outcome: 'succeeded' });
});

it('an entity that another release cannot replay is shown as blocked by status and list, and terminate brings it back', async () => {
  const { spec, site, first } = await deployThatWaits('entity');
  await operations.changeWorkflows('test/support/other-entity.ts');
  const shown = async () => {
    const begun = performance.now();
    const { record, seen } = await seenCluster(operations.client, spec.name);
    expect(performance.now() - begun).toBeLessThan(patient(15_000));
    expect([statusView(record, seen), listView(record, seen)]).toEqual([
      expect.objectContaining({ state: 'blocked', why: [expect.stringMatching(WHY), expect.stringMatching(MENDS)] }),
      expect.objectContaining({ state: 'blocked' }),
    ]);
  };
  const entity = operations.env.client.workflow.getHandle(clusterWorkflowId(spec.name));
  await shown(); // It waits for its operation: only a question replays it.
  await entity.signal('anything'); // Its next task is tried for ever from here on.
  await shown();
  expect(await blocked(entity.workflowId)).toMatch(/ \(tried \d+ times\)$/);
  await shown();
  for (const asked of [operations.begin(spec), operations.client.cancel(spec.name, { actor: 'alice' })])
    await expect(asked).rejects.toMatchObject({ code: 'BLOCKED', message: expect.stringMatching(WHY) });

  await operations.changeWorkflows('workflows/index.ts');
  await entity.terminate('as `status` says');
  site.heal();
  const next = await eventually(
    () =>
      operations
        .begin(spec)
        .catch((error: { code: string }) => error.code !== 'OPERATION_RUNNING' && Promise.reject(error)),
    { ...LIMIT, what: 'the operation under it has unwound' },
  );
  expect(await operations.ended(spec.name, next)).toMatchObject({ deployment: 2, outcome: 'succeeded' });
  expect(first.deployment).toBe(1);
});
const WHY = /Nondeterminism error: /;
const MENDS = /^remedy .*terminate cluster\/entity in Temporal, and `tandem adopt FILE`/;
