import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import { EVERY_CASE, some } from '../support/choice.ts';
import { specOf } from '../support/memory-scenarios.ts';
import type { ActivityCall, MemorySite } from '../support/memory-site.ts';
import { startOperations, type Operations } from '../support/memory-temporal.ts';
import { STILL_MS } from '../support/patience.ts';
import { eventually, until } from '../support/processes.ts';
import { buttonsOf } from '../support/temporal-buttons.ts';

// A cluster of so many hosts that fan-outs run in children. Most of its hosts have no engine: to look at them is enough.

const HOSTS = { p: 60, d: 50 };
const ALL = HOSTS.p + HOSTS.d + 1;
/** Longest wait for a condition: a batch that was ended is waited for until its heartbeats stay away. */
const LIMIT = { limitMs: STILL_MS, everyMs: 50 };

let operations: Operations;
beforeAll(async () => {
  operations = await startOperations();
});
afterAll(() => operations?.close());

let clusters = 0;
function opened(): { readonly spec: ClusterSpec; readonly site: MemorySite } {
  const spec = specOf(`many${(clusters += 1)}`, { prefill: 1, decode: 1 }, HOSTS);
  return { spec, site: operations.open(spec) };
}

/** A decode engine on so many hosts that all that is done for it runs in children. */
function wide(failing: string) {
  const ranks = 105;
  const spec = specOf(`wide${(clusters += 1)}`, { prefill: 1, decode: 1, ranks }, { p: 1, d: ranks });
  return { spec, site: operations.open(spec), failing: { ...on(failing, 'd50'), what: 'fails-after' as const } };
}

/** A minute that does not fit into `npm test`. */
const whole = EVERY_CASE ? it : it.skip;

const on = (activity: string, ...hosts: readonly string[]) => ({
  at: (call: ActivityCall) => call.activity === activity && hosts.includes(call.host),
});

describe('an operation over more hosts than one history should hold', () => {
  it('looks at all of them by children, each told by what it does, and its own history stays short', async () => {
    const { spec, site } = opened();
    const record = await operations.run(spec);
    expect(record).toMatchObject({ outcome: 'succeeded', leftBehind: [] });
    expect(site.serves()).toBe(true);
    const progress = await eventually(() => operations.client.progress(record.workflowId));
    expect(progress.steps.find(({ name }) => name === 'observe')).toMatchObject({ state: 'done', done: ALL, of: ALL });
    const { events = [] } = await operations.env.client.workflow.getHandle(record.workflowId).fetchHistory();
    const children = events!.flatMap(({ childWorkflowExecutionStartedEventAttributes: started }) =>
      started ? [started.workflowExecution!.workflowId] : [],
    );
    expect(new Set(children)).toEqual(new Set([1, 2, 3].map((number) => `${record.workflowId}/batch-${number}`)));
    const own = events!.map(({ activityTaskScheduledEventAttributes: asked }) => asked?.activityType?.name);
    expect(own).not.toContain('observeHost');
    expect(own).toContain('startRank');

    site.trouble({ ...on('pictureHost', 'p7', 'd40'), what: 'fails' });
    const destroyed = await operations.run(spec, 'destroy');
    expect(destroyed).toMatchObject({ outcome: 'stuck' });
    expect(new Set(destroyed.leftBehind.map((row) => row.split(': ')[1]))).toEqual(new Set(['d40', 'p7']));
    expect(site.picture()).toEqual({});
  });

  it('names the host that failed in a child, and asks no more of the others than they had begun', async () => {
    const { spec, site } = opened();
    site.trouble({ ...on('observeHost', 'p3'), what: 'fails' });
    expect(await operations.run(spec)).toMatchObject({
      outcome: 'refused',
      failed: { step: 'observe', host: 'p3', code: 'COMMAND_FAILED', evidence: 'injected', remedy: 'heal it' },
    });
    expect(site.calls.length).toBeLessThan(ALL);
    expect(site.driverCalls.every(({ ended }) => ended !== undefined)).toBe(true);
  });

  it('undoes by children what children did', async () => {
    const { spec, site, failing } = wide('checkHost');
    site.trouble(failing);
    expect(await operations.run(spec)).toMatchObject({
      outcome: 'rolled-back',
      leftBehind: [],
      failed: { step: 'check-rocm', host: 'd50' },
    });
    expect(site.calls.filter(({ activity }) => activity === 'releaseGpus').length).toBeGreaterThan(100);
    expect(site.picture()).toEqual({});
  });

  whole('starts, stops and removes by children, also what was started in vain', async () => {
    const { spec, site, failing } = wide('startRank');
    site.trouble(failing);
    expect(await operations.run(spec)).toMatchObject({
      outcome: 'rolled-back',
      leftBehind: [],
      failed: { step: 'start-decode', host: 'd50' },
    });
    expect(site.picture()).toEqual({});
    site.heal();
    expect(await operations.run(spec)).toMatchObject({ outcome: 'succeeded' });
    expect(site.serves()).toBe(true);
    expect(await operations.run(spec, 'destroy')).toMatchObject({ outcome: 'succeeded' });
    expect(site.picture()).toEqual({});
  });

  it.each([
    ['a cancel', 'cancelled'],
    ['a take-over', 'superseded'],
  ])('%s ends what children have under way, and waits for its end', async (what, outcome) => {
    const { spec, site } = opened();
    site.trouble({ ...on('observeHost', 'd5'), what: 'hangs' });
    const admitted = await operations.begin(spec);
    await until('d5 is looked at', () => site.driverCalls.some(({ host }) => host === 'd5'));
    if (what === 'a cancel') await operations.client.cancel(spec.name, { actor: 'tester' });
    else await operations.client.submit(spec.name, { operation: 'destroy', actor: 'tester', takeOver: true });
    expect(await operations.ended(spec.name, admitted)).toMatchObject({ outcome });
    const ours = site.driverCalls.filter(({ within }) => within?.operation === admitted.workflowId);
    expect(ours.every(({ ended }) => ended !== undefined)).toBe(true);
  });
});

const LEFT: unknown = expect.stringMatching(/^lease-gpus: d50: .*\/batch-\d+ was (?:terminated|reset) in Temporal/);
const BY_WHOM = / was terminated in Temporal by .+: an administrator’s finger slipped$/;

describe('a batch that somebody ends in Temporal while it runs', () => {
  const buttons = () => buttonsOf(operations.env);
  const acts: Readonly<Record<string, (batch: string) => Promise<unknown>>> = {
    terminated: (batch) => buttons().terminate(batch),
    async reset(batch) {
      const run = await buttons().runOf(batch);
      await buttons().reset(batch, run, (await buttons().tasksOf(batch, run)).at(-1)!);
    },
  };

  it.each(
    some(
      [
        { how: 'terminated', activity: 'checkHost', outcome: 'rolled-back', left: [] },
        { how: 'reset', activity: 'checkHost', outcome: 'rolled-back', left: [] },
        { how: 'terminated', activity: 'observeHost', outcome: 'refused', left: [] },
        { how: 'reset', activity: 'observeHost', outcome: 'refused', left: [] },
        // In an undo each host of it is named.
        { how: 'terminated', activity: 'releaseGpus', outcome: 'stuck', left: expect.arrayContaining([LEFT]) },
        { how: 'reset', activity: 'releaseGpus', outcome: 'stuck', left: expect.arrayContaining([LEFT]) },
      ],
      6,
      1,
    ),
  )(
    '$how in $activity: the operation ends by name, nothing acts beside its undo, and the next one converges',
    async ({ how, activity, outcome, left }) => {
      const { spec, site, failing } = wide('checkHost');
      const undoing = outcome === 'stuck';
      if (undoing) site.trouble(failing);
      site.trouble({ ...on(activity, 'd50'), what: 'hangs' });
      const admitted = await operations.begin(spec);
      const meets = (call?: ActivityCall) => call?.activity === activity && call.host === 'd50';
      await until('d50 is at it', () => site.driverCalls.some(({ within }) => meets(within)), LIMIT);
      const { operation: batch } = site.calls.find(meets)!;
      expect(batch).toMatch(/\/batch-\d+$/);
      await acts[how]!(batch);
      const code = undoing ? 'COMMAND_FAILED' : how === 'reset' ? 'RESET' : 'TERMINATED';
      const row = await operations.ended(spec.name, admitted);
      expect(row).toMatchObject({ outcome, leftBehind: left, failed: { code } });
      if (code === 'TERMINATED') expect(row.failed?.message).toMatch(BY_WHOM);

      const ofBatch = site.calls.filter(({ operation }) => operation === batch);
      expect(new Set(ofBatch.map(({ host }) => host)).size).toBe(ofBatch.length); // None of it was done twice.
      const over = Math.max(...ofBatch.map(({ ended }) => ended ?? Infinity));
      const after = site.calls.filter(
        (call) => call.operation !== batch && !undoing && call.activity === 'releaseGpus',
      );
      expect(after.every(({ begun }) => begun > over)).toBe(true);
      if (!undoing) expect(site.picture()).toEqual({});
      site.heal();
      expect(await operations.run(spec)).toMatchObject({ deployment: 2, outcome: 'succeeded', leftBehind: [] });
      expect(site.serves()).toBe(true);
    },
  );
});

describe('children that wait for a Temporal worker of the site', () => {
  it('are told as queued where it is busy, and as no worker where it is gone; a question ends by that name', async () => {
    const busy = await startOperations({ slots: 1, patience: { requestValidMs: 3_000 } });
    try {
      const spec = specOf('waits', { prefill: 1, decode: 1 }, HOSTS);
      const site = busy.open(spec);
      site.trouble({ ...on('observeHost', 'd5'), what: 'hangs' });
      const { workflowId } = await busy.begin(spec);
      const told = async (kind: string) => {
        const standstill = await busy.client.standstill(spec.name, workflowId);
        return standstill?.kind === kind && standstill.why;
      };
      expect(await eventually(() => told('queued'), LIMIT)).toMatch(/^observeHost waits until .+ has room$/);

      const question = { spec, cluster: spec.name, installation: 'x', deployment: 2, serving: null };
      site.trouble({ ...on('observeHost', 'd6'), what: 'hangs' });
      const asked = busy.client.ask('plan', [question]).catch((error: unknown) => error);
      await until('the question is at d6', () => site.driverCalls.some(({ host }) => host === 'd6'), LIMIT);
      busy.leave();
      expect(await asked).toMatchObject({ code: 'NO_WORKER' });
      expect(await eventually(() => told('no-worker'), LIMIT)).toMatch(
        /^no Temporal worker of site .+ takes observeHost$/,
      );
    } finally {
      await busy.close();
    }
  });
});
