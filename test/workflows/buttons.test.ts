import { afterAll, describe, expect, it } from '@jest/globals';
import { WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { clusterWorkflowId, WORKFLOW_QUEUE } from '../../src/operations/names.ts';
import type { Admitted } from '../../src/operations/requests.ts';
import { specOf } from '../support/memory-scenarios.ts';
import type { ActivityCall, ActivityName, MemorySite } from '../support/memory-site.ts';
import { sideBySide } from '../support/side-by-side.ts';
import { startOperations } from '../support/memory-temporal.ts';
import { STILL_MS } from '../support/patience.ts';
import { eventually, until } from '../support/processes.ts';
import { buttonsOf } from '../support/temporal-buttons.ts';

// What an administrator can do to workflows past Tandem: terminate, reset, cancel twice, start by hand, send anything. Each
// ends by name, nothing is locked, no number is used twice, and never do two operations of a cluster act at once. Most
// cases wait for a heartbeat time-out, so they run side by side before the first test is told.

const operations = await startOperations();
const buttons = buttonsOf(operations.env);
afterAll(() => operations.close());

const AT_ONCE = 8;
/** Longest wait for a condition: cases wait for heartbeats that stay away, side by side. */
const LIMIT = { limitMs: STILL_MS, everyMs: 50 };

interface Stage {
  readonly name: string;
  readonly spec: ClusterSpec;
  readonly site: MemorySite;
  readonly begin: () => Promise<Admitted>;
  /** Waits until the operation's activity is under way. */
  readonly under: (activity: ActivityName, admitted: Admitted) => Promise<void>;
  /** Whether something that the first did to a host was under way when the second did something. */
  readonly overlapped: (first: string, second: string) => boolean;
}

let clusters = 0;
function stage(hangs?: ActivityName): Stage {
  const name = `b${(clusters += 1)}`;
  const spec = specOf(name, { prefill: 1, decode: 1 }, { p: 1, d: 1 });
  const site = operations.open(spec);
  if (hangs) site.trouble({ at: ({ activity, attempt }) => activity === hangs && attempt === 1, what: 'hangs' });
  const meets =
    (activity: ActivityName, { workflowId }: Admitted) =>
    (call: ActivityCall) =>
      call.activity === activity && call.operation === workflowId;
  return {
    name,
    spec,
    site,
    begin: () => operations.begin(spec),
    under: (activity, admitted) =>
      until(
        `${activity} of ${admitted.workflowId}`,
        () => site.driverCalls.some(({ within }) => within !== undefined && meets(activity, admitted)(within)),
        LIMIT,
      ),
    overlapped(first, second) {
      const of = (operation: string) => site.driverCalls.filter(({ within }) => within?.operation === operation);
      const begun = Math.min(...of(second).map((call) => call.begun));
      return of(first).some(({ ended }) => ended === undefined || ended > begun);
    },
  };
}

/** Runs a case and keeps what it threw, so that each is told by its own test. */
type Case = () => Promise<unknown>;
const begun = new Map<string, Promise<{ readonly value: unknown } | { readonly error: unknown }>>();
const cases: [string, Case][] = [];
const promise = (title: string, run: Case) => cases.push([title, run]);

const record = (name: string) => operations.client.record(name);
const entityOf = (name: string) => operations.env.client.workflow.getHandle(clusterWorkflowId(name));
const attributesOf = async (workflowId: string) => {
  const { searchAttributes } = await operations.env.client.workflow.getHandle(workflowId).describe();
  return [searchAttributes['TandemOutcome']?.[0], searchAttributes['TandemFailure']?.[0]];
};

promise('a cancel of the entity works for each operation, and while none runs it does nothing', async () => {
  const { name, site, begin, under } = stage('awaitEngine');
  const first = await begin();
  await under('awaitEngine', first);
  await entityOf(name).cancel();
  expect(await operations.ended(name, first)).toMatchObject({ outcome: 'cancelled', leftBehind: [] });
  await entityOf(name).cancel();
  await until('the entity goes on in a new run', async () => (await record(name)).running === null, LIMIT);
  const second = await begin();
  await under('awaitEngine', second);
  await entityOf(name).cancel();
  expect(await operations.ended(name, second)).toMatchObject({ deployment: 2, outcome: 'cancelled', leftBehind: [] });
  expect(site.picture()).toEqual({});
});

promise('who cancels, and why, stands in the record, in the list and in the details', async () => {
  const { name, begin, under } = stage('awaitEngine');
  const admitted = await begin();
  await under('awaitEngine', admitted);
  await operations.client.cancel(name, { actor: 'alice@host', reason: 'wrong model' });
  const row = await operations.ended(name, admitted);
  expect(row).toMatchObject({
    outcome: 'cancelled',
    endedBy: { how: 'cancel', actor: 'alice@host', reason: 'wrong model', at: expect.stringMatching(/^20\d\d-/) },
  });
  expect(await attributesOf(admitted.workflowId)).toEqual(['cancelled', 'CANCELLED alice@host']);
  const told = await eventually(() => operations.client.progress(admitted.workflowId), LIMIT);
  expect(told).toMatchObject({ endedBy: { actor: 'alice@host' } });
});

promise('a cancel in the Temporal UI is recorded with the identity that Temporal knows', async () => {
  const { name, begin, under } = stage('awaitEngine');
  const admitted = await begin();
  await under('awaitEngine', admitted);
  await operations.env.client.workflow.getHandle(admitted.workflowId).cancel();
  const row = await operations.ended(name, admitted);
  expect(row).toMatchObject({ outcome: 'cancelled', endedBy: { how: 'cancel', actor: expect.stringMatching(/./) } });
  expect(await attributesOf(admitted.workflowId)).toEqual(['cancelled', `CANCELLED ${row.endedBy!.actor}`]);
});

promise('an operation that is terminated while it touches hosts is stuck, and the next goes on alone', async () => {
  const { name, site, begin, under, overlapped } = stage('awaitEngine');
  const first = await begin();
  await under('awaitEngine', first);
  await buttons.terminate(first.workflowId);
  expect(await operations.ended(name, first)).toMatchObject({
    outcome: 'stuck',
    failed: { code: 'TERMINATED' },
    endedBy: { how: 'terminate', reason: 'an administrator’s finger slipped' },
  });
  expect((await record(name)).state).toBe('stuck');
  site.heal();
  const second = await begin();
  expect(await operations.ended(name, second)).toMatchObject({ deployment: 2, outcome: 'succeeded', leftBehind: [] });
  expect(site.serves()).toBe(true);
  expect(overlapped(first.workflowId, second.workflowId)).toBe(false);
});

promise('an operation that is terminated before it touches a host is refused', async () => {
  const { name, site, begin, under } = stage('observeHost');
  const first = await begin();
  await under('observeHost', first);
  await buttons.terminate(first.workflowId);
  expect(await operations.ended(name, first)).toMatchObject({ outcome: 'refused', leftBehind: [] });
  expect((await record(name)).state).toBe('none');
  expect(site.picture()).toEqual({});
});

promise('an entity that is terminated under an operation: it unwinds, and numbers go on', async () => {
  const { name, site, spec, begin, under, overlapped } = stage('awaitEngine');
  const first = await begin();
  await under('awaitEngine', first);
  await buttons.terminate(clusterWorkflowId(name));
  site.heal();
  const second = await until(
    'a new operation is admitted',
    async () =>
      await begin().then(
        () => true,
        (error: { code: string }) => {
          if (error.code !== 'OPERATION_RUNNING') throw error;
          return false;
        },
      ),
    LIMIT,
  ).then(async () => (await record(name)).deployments.at(-1)!);
  expect(second.deployment).toBe(2);
  expect(await operations.ended(name, second)).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
  expect(overlapped(first.workflowId, second.workflowId)).toBe(false);
  expect((await buttons.runs(first.workflowId)).map(({ status }) => status)).toEqual(['CANCELLED']);
  expect(spec.name).toBe(name);
});

promise('an entity that is terminated while idle: numbers go on above those that Temporal knows', async () => {
  const { name, site, begin } = stage();
  await operations.ended(name, await begin());
  const before = site.picture();
  await buttons.terminate(clusterWorkflowId(name));
  const again = await begin();
  expect(again.deployment).toBe(2);
  // Its own labels are of a lost record: adopting them is what is asked for.
  expect(await operations.ended(name, again)).toMatchObject({ outcome: 'refused', failed: { code: 'NAME_CONFLICT' } });
  expect(site.picture()).toEqual(before);
});

/** Which of a run's tasks it is reset to. */
const PLACES: Readonly<Record<string, (tasks: readonly number[]) => number>> = {
  first: (tasks) => tasks[0]!,
  middle: (tasks) => tasks[Math.floor(tasks.length / 2)]!,
  last: (tasks) => tasks.at(-1)!,
};

for (const [place, of] of Object.entries(PLACES)) {
  promise(`a running operation that is reset to its ${place} task does nothing more and ends by name`, async () => {
    const { name, site, begin, under, overlapped } = stage('awaitEngine');
    const first = await begin();
    await under('awaitEngine', first);
    const run = await buttons.runOf(first.workflowId);
    await buttons.reset(first.workflowId, run, of(await buttons.tasksOf(first.workflowId, run)));
    expect(await operations.ended(name, first)).toMatchObject({
      outcome: 'stuck',
      failed: { code: 'RESET' },
      endedBy: { how: 'reset' },
    });
    expect(await attributesOf(first.workflowId)).toEqual(['stuck', 'RESET']);
    site.heal();
    const second = await begin();
    expect(await operations.ended(name, second)).toMatchObject({ deployment: 2, outcome: 'succeeded' });
    expect(site.serves()).toBe(true);
    expect(overlapped(first.workflowId, second.workflowId)).toBe(false);
  });

  promise(`a closed operation that is reset to its ${place} task leaves hosts and record as they were`, async () => {
    const { name, site, begin } = stage();
    const admitted = await begin();
    await operations.ended(name, admitted);
    const [before, told] = [site.picture(), await record(name)];
    const calls = site.driverCalls.filter(({ changes }) => changes).length;
    const run = await buttons.runOf(admitted.workflowId);
    const again = await buttons.reset(admitted.workflowId, run, of(await buttons.tasksOf(admitted.workflowId, run)));
    const handle = operations.env.client.workflow.getHandle(admitted.workflowId, again);
    await handle.result().catch(() => {});
    expect(site.driverCalls.filter(({ changes }) => changes)).toHaveLength(calls);
    expect(site.picture()).toEqual(before);
    expect(await record(name)).toEqual(told);
    expect((await begin()).deployment).toBe(2);
  });

  promise(`a running entity that is reset to its ${place} task never begins a second operation beside`, async () => {
    const { name, site, begin, under, overlapped } = stage('awaitEngine');
    const first = await begin();
    await under('awaitEngine', first);
    const run = await buttons.runOf(clusterWorkflowId(name));
    await buttons.reset(clusterWorkflowId(name), run, of(await buttons.tasksOf(clusterWorkflowId(name), run)));
    site.heal();
    let second: Admitted | undefined;
    await until(
      'a new operation is admitted',
      async () => {
        const answer = await begin().catch((error: { code: string }) => error);
        if ('deployment' in answer) second = answer;
        else if (!['OPERATION_RUNNING', 'OPERATION_LATE'].includes(answer.code)) throw answer as unknown as Error;
        if (second === undefined)
          await operations.env.client.workflow
            .getHandle(first.workflowId)
            .cancel()
            .catch(() => {});
        return second !== undefined;
      },
      { ...LIMIT, everyMs: 500 },
    );
    expect(second!.deployment).toBeGreaterThan(first.deployment);
    expect(await operations.ended(name, second!)).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
    expect(overlapped(first.workflowId, second!.workflowId)).toBe(false);
    const { deployments } = await record(name);
    expect(new Set(deployments.map(({ deployment }) => deployment)).size).toBe(deployments.length);
  });
}

promise('an entity’s earlier run that is reset gives no number a second time', async () => {
  const { name, site, begin } = stage();
  await operations.ended(name, await begin());
  const [first] = await buttons.runs(clusterWorkflowId(name));
  await operations.ended(name, await begin());
  const before = site.picture();
  const tasks = await buttons.tasksOf(clusterWorkflowId(name), first!.runId);
  await buttons.reset(clusterWorkflowId(name), first!.runId, tasks[0]!);
  let third: Admitted | undefined;
  await until(
    'a new operation is admitted',
    async () => {
      const answer = await begin().catch((error: { code: string }) => error);
      if ('deployment' in answer) third = answer;
      else if (answer.code !== 'OPERATION_RUNNING') throw answer as unknown as Error;
      return third !== undefined;
    },
    { ...LIMIT, everyMs: 500 },
  );
  expect(third!.deployment).toBeGreaterThan(2);
  expect(await operations.ended(name, third!)).toMatchObject({ leftBehind: [] });
  expect(Object.keys(site.picture())).toEqual(Object.keys(before));
  expect(site.serves()).toBe(true);
});

promise('an operation that is started by hand with copied input is refused and touches nothing', async () => {
  const { name, site, begin } = stage();
  const admitted = await begin();
  await operations.ended(name, admitted);
  const before = site.picture();
  const { events } = await operations.env.client.workflow.getHandle(admitted.workflowId).fetchHistory();
  const input = JSON.parse(
    Buffer.from(events![0]!.workflowExecutionStartedEventAttributes!.input!.payloads![0]!.data!).toString(),
  ) as Record<string, unknown>;
  const calls = site.calls.length;
  const forged = await operations.env.client.workflow.start('deploy', {
    workflowId: `deploy/${name}/2`,
    taskQueue: WORKFLOW_QUEUE,
    args: [{ ...input, deployment: 2 }],
  });
  expect(await failureOf(forged.result())).toMatchObject({
    type: 'NOT_ADMITTED',
    details: [expect.objectContaining({ outcome: 'refused' })],
  });
  const { searchAttributes } = await forged.describe();
  expect(searchAttributes).toMatchObject({ TandemOutcome: ['refused'], TandemFailure: ['NOT_ADMITTED'] });
  expect(site.calls).toHaveLength(calls);
  expect(site.picture()).toEqual(before);
  // The number is used now: the next one is another.
  expect((await begin()).deployment).toBe(3);
});

promise('a batch and a break of leases that are started by hand are refused', async () => {
  const { name, spec, site } = stage();
  const reach = { site: spec.site, hosts: spec.hosts };
  const start = (type: string, ...args: unknown[]) =>
    operations.env.client.workflow.execute(type, { workflowId: `${type}/by-hand`, taskQueue: WORKFLOW_QUEUE, args });
  const calls = [{ name: 'leaseGpus', input: {}, options: { summary: 'x' } }];
  expect(await failureOf(start('batch', { reach, calls, thorough: false }))).toMatchObject({ type: 'NOT_ADMITTED' });
  const lease = { pci: '0000:05:00.0', cluster: name, installation: 'x', deployment: 1, takenAt: 'unknown' };
  const request = { spec, host: 'p0', leases: [lease], actor: 'eve', reason: 'x', force: true, notAfter: 'x' };
  expect(await failureOf(start('breakLeases', request))).toMatchObject({ type: 'NOT_ADMITTED' });
  expect(site.calls).toEqual([]);
});

promise('a workflow of a name that this worker does not know ends by name', async () => {
  const unknown = operations.env.client.workflow.execute('scale', {
    workflowId: 'scale/by-hand',
    taskQueue: WORKFLOW_QUEUE,
    args: [],
  });
  expect(await failureOf(unknown)).toMatchObject({
    type: 'OPERATION_UNKNOWN',
    message: expect.stringContaining('scale'),
  });
});

promise('requests of a wrong shape are refused by what is wrong, and the cluster goes on', async () => {
  const { name, spec, site, begin } = stage();
  await operations.ended(name, await begin());
  const { specDigest } = (await record(name)).deployments[0]!;
  const right = { operation: 'deploy', spec, specDigest, actor: 'tester', notAfter: '2999-01-01T00:00:00Z' };
  const wrong: readonly [string, unknown, string][] = [
    ['operate', undefined, 'wanted an object'],
    ['operate', 'deploy', 'wanted an object'],
    ['operate', [], 'wanted an object'],
    ['operate', {}, 'actor is missing'],
    ['operate', { ...right, actor: 7 }, 'actor is 7, wanted text'],
    ['operate', { ...right, actor: 'é'.repeat(200) }, 'wanted text of 1 to 255 bytes'],
    ['operate', { ...right, operation: 'scale' }, 'one of deploy, destroy'],
    ['operate', { ...right, operation: 'constructor' }, 'one of deploy, destroy'],
    ['operate', { ...right, notAfter: 'tomorrow' }, 'wanted a time'],
    ['operate', { ...right, notAfter: '2020-01-01T00:00:00Z' }, 'arrived later'],
    ['operate', { ...right, spec: {} }, 'wanted a spec with'],
    ['operate', { ...right, spec: { ...spec, name: 'other' } }, 'the request is about other'],
    ['operate', { ...right, spec: undefined }, 'without the other'],
    ['operate', { ...right, surge: 3 }, '"surge"'],
    ['operate', { ...right, reason: 'x'.repeat(600_000) }, 'at most'],
    ['cancel', undefined, 'wanted an object'],
    ['cancel', { actor: 'a' }, 'no operation runs'],
    ['force', { actor: 'a' }, 'no operation runs'],
    ['force', { actor: null }, 'actor is null'],
    ['adopt', { actor: 'a' }, 'installation is missing'],
    ['breakLeases', { actor: 'a', leases: {} }, 'spec is missing'],
    ['forget', { name: 'x' }, '"name"'],
    ['nothing-of-this-name', {}, 'nothing-of-this-name'],
  ];
  for (const [update, argument, told] of wrong) {
    const refused = entityOf(name).executeUpdate(update, { args: [argument] });
    const why = (error: Error) => (error.cause instanceof Error ? error.cause : error).message;
    await expect(refused.catch(why)).resolves.toContain(told);
  }
  const calls = site.calls.length;
  for (const signal of ['end', 'yield', 'anything']) await entityOf(name).signal(signal, { how: 'take-over' });
  expect((await record(name)).running).toBeNull();
  expect(site.calls).toHaveLength(calls);
  const again = await begin();
  expect(await operations.ended(name, again)).toMatchObject({ deployment: 2, outcome: 'unchanged' });
});

promise('signals of another shape change nothing of a running operation', async () => {
  const { name, site, begin, under } = stage('awaitEngine');
  const admitted = await begin();
  await under('awaitEngine', admitted);
  const handle = operations.env.client.workflow.getHandle(admitted.workflowId);
  for (const input of [undefined, null, 7, {}, { how: 'take-over' }, { how: 3, actor: {} }]) {
    await handle.signal('end', input);
    await handle.signal('yield', input);
  }
  await operations.client.cancel(name, { actor: 'tester' });
  expect(await operations.ended(name, admitted)).toMatchObject({ outcome: 'cancelled', leftBehind: [] });
  expect(site.picture()).toEqual({});
});

promise('a spec that is no spec is refused with a number, and nothing is touched', async () => {
  const { name, spec, site } = stage();
  const bad = { ...spec, decode: { ...spec.decode, replicas: -3 } } as ClusterSpec;
  const admitted = await operations.begin(bad);
  expect(await operations.ended(name, admitted)).toMatchObject({
    deployment: 1,
    outcome: 'refused',
    failed: { step: 'read-spec', code: 'SPEC_INVALID', evidence: expect.stringContaining('decode.replicas') },
  });
  expect(site.calls).toEqual([]);
});

promise('an operation is ended by force: its outcome, who, and the next one converges', async () => {
  const { name, site, begin, under, overlapped } = stage('awaitEngine');
  const first = await begin();
  await under('awaitEngine', first);
  await operations.client.cancel(name, { actor: 'alice@host', reason: 'it hangs' }, { force: true });
  expect(await operations.ended(name, first)).toMatchObject({
    outcome: 'stuck',
    failed: { code: 'FORCED' },
    endedBy: { how: 'force', actor: 'alice@host', reason: 'it hangs' },
  });
  site.heal();
  const second = await begin();
  expect(await operations.ended(name, second)).toMatchObject({ deployment: 2, outcome: 'succeeded', leftBehind: [] });
  expect(overlapped(first.workflowId, second.workflowId)).toBe(false);
});

promise('an entity whose first request is refused ends by itself', async () => {
  const handle = operations.env.client.workflow.getHandle(clusterWorkflowId('nobody'));
  await operations.env.client.workflow.start('cluster', {
    workflowId: clusterWorkflowId('nobody'),
    taskQueue: WORKFLOW_QUEUE,
    args: [{ cluster: 'nobody' }],
  });
  await handle.result();
});

async function failureOf(result: Promise<unknown>): Promise<ApplicationFailure> {
  const error = await result.then(
    () => new Error('it did not fail'),
    (reason: unknown) => reason,
  );
  if (error instanceof WorkflowFailedError && error.cause instanceof ApplicationFailure) return error.cause;
  throw error;
}

const limit = sideBySide(AT_ONCE);
for (const [title, run] of cases)
  begun.set(
    title,
    limit(run).then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    ),
  );

describe('Temporal’s own buttons:', () => {
  it.each(cases.map(([title]) => title))('%s', async (title) => {
    const end = await begun.get(title)!;
    if ('error' in end) throw end.error;
  });
});
