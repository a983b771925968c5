import { afterAll, describe, expect, it } from '@jest/globals';
import type { Thing } from '../../src/facts/host-picture.ts';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import type { Operation } from '../../src/operations/outcomes.ts';
import type { Admitted } from '../../src/operations/requests.ts';
import { EVERY_CASE, some } from '../support/choice.ts';
import { courseOf, enginesOf, SCENARIOS, stageOf, type Course } from '../support/memory-scenarios.ts';
import type { MemorySite } from '../support/memory-site.ts';
import { startOperations, type FanOut } from '../support/memory-temporal.ts';
import { specDigest } from '../../src/spec/canonical.ts';
import { eventually } from '../support/processes.ts';

// Cases are made of what a deploy does when nothing goes wrong: it is taken over while each of its activities runs, by
// the same spec, by another one, and by a destroy.

const operations = await startOperations();
afterAll(() => operations.close());

const TAKEN_OVER = SCENARIOS.slice(0, 2);
const courses = await Promise.all(TAKEN_OVER.map((scenario, at) => courseOf(operations, scenario, `course${at}`)));
/** Steps after which nothing can be taken over any more: the deploy ends well by itself. */
const TIDYING = ['remove-old', 'release-gpus'];

/** Steps that are finished once they began; the work of all others is cut. */
const WHOLE = [...TIDYING, 'start-router', 'wire-router', 'retire-unwire', 'retire-stop'];

type Successor = (typeof SUCCESSORS)[number];

interface Case {
  readonly course: Course;
  readonly fanOut: FanOut;
  readonly by: Successor;
  /** The activity is told of the take-over while it works, or has ended before it hears of it. */
  readonly hears: boolean;
}

/** Each eighth activity is taken over by one of the three in turn, each by all of them in `npm run test:exhaustive`. */
const SUCCESSORS = ['the same spec', 'another spec', 'a destroy'] as const;

const cases = courses.flatMap((course) =>
  some(course.fanOuts, 8).flatMap((fanOut, at) => {
    const heard = course.driving.has(fanOut.ids[0]!) && !WHOLE.includes(fanOut.step);
    const both = SUCCESSORS.flatMap((by, turn): (Case & { readonly due: boolean })[] => [
      { course, fanOut, by, hears: false, due: turn === at % 3 },
      ...(heard ? [{ course, fanOut, by, hears: true, due: turn === (at + 1) % 3 }] : []),
    ]);
    return both.filter(({ due }) => EVERY_CASE || due);
  }),
);

const titled = cases.map((one) => ({
  ...one,
  title: `${one.course.scenario.name}, at ${one.fanOut.activity} of ${one.fanOut.step}, by ${one.by}${one.hears ? ', heard of' : ''}`,
}));

/** What an engine is differs: another flag. */
const other = (spec: ClusterSpec): ClusterSpec => ({
  ...spec,
  decode: { ...spec.decode, args: { ...spec.decode.args, 'max-running-requests': 7 } },
});

const submit = (spec: ClusterSpec, operation: Operation, takeOver: boolean) =>
  operations.client.submit(spec.name, { operation, spec, specDigest: specDigest(spec), actor: 'second', takeOver });

let clusters = 0;

async function takenOver({ course, fanOut, by, hears }: Case) {
  const name = `t${(clusters += 1)}`;
  const { site, target, before } = await stageOf(operations, course.scenario, { name });
  site.trouble({
    at: ({ id, operation }) => id === fanOut.ids[0] && operation === `deploy/${name}/${before ? 2 : 1}`,
    what: hears ? 'hangs' : 'waits',
  });
  const first = await operations.begin(target);
  await eventually(() =>
    site.calls.some(({ operation, id }) => operation === first.workflowId && id === fanOut.ids[0]),
  );
  if (hears)
    await eventually(() =>
      site.driverCalls.some(({ within }) => within?.operation === first.workflowId && within.id === fanOut.ids[0]),
    );
  const next = by === 'another spec' ? (before ?? other(target)) : target;
  const second = await submit(next, by === 'a destroy' ? 'destroy' : 'deploy', true);
  await yields(first);
  site.release();
  const ended = [await operations.ended(name, first), await operations.ended(name, second)] as const;
  return { name, site, next, ended, record: await operations.client.record(name) };
}

/** Waits until the first has heard of the second, or has ended by itself. */
const yields = async ({ workflowId }: Admitted): Promise<void> => {
  await eventually(
    async () => {
      const progress = await operations.client.progress(workflowId);
      return (
        progress && (progress.outcome !== 'running' || progress.warnings.some((text) => text.includes('take over')))
      );
    },
    { everyMs: 50 },
  );
};

describe('a deploy that is taken over', () => {
  it.concurrent.each(titled)('$title', async (one) => {
    const { name, site, next, ended, record } = await takenOver(one);
    const [first, second] = ended;
    // The last activity of the table has ended well before it hears of the take-over: there is nothing more to cut.
    const past = TIDYING.includes(one.fanOut.step) || (one.fanOut.activity === 'confirmRouter' && !one.hears);
    expect(first).toMatchObject({ outcome: past ? 'succeeded' : 'superseded', leftBehind: [] });
    if (past && one.by === 'another spec' && !one.course.scenario.before) {
      // The first serves, and what its engines are is not changed by a deploy.
      expect(second).toMatchObject({ outcome: 'refused', leftBehind: [], failed: { code: 'CHANGE_REFUSED' } });
      expect(record).toMatchObject({ state: 'serving', running: null, waiting: null });
      return;
    }
    expect({ ...second, failed: second.failed }).toMatchObject({ leftBehind: [], failed: undefined });
    expect(['succeeded', 'unchanged']).toContain(second.outcome);
    if (one.by === 'a destroy') {
      expect(site.picture()).toEqual({});
      expect(record).toMatchObject({ serving: null });
      return;
    }
    expect(record).toMatchObject({ state: 'serving', running: null, waiting: null });
    needJust(site, next, name);
  });
});

/** Just the engines of a spec run, leased, listed and accepted: nothing twice, nothing over. */
function needJust(site: MemorySite, { prefill, decode }: ClusterSpec, name: string): void {
  const engines = enginesOf(site, name).map((row) => row.replace(/-\d+$/, ''));
  const wanted = [
    ...Array.from({ length: prefill.replicas }, (_, index) => `tandem-prefill-${index}`),
    ...Array.from({ length: decode.replicas }, (_, index) => `tandem-decode-${index}`),
  ];
  expect(new Set(engines.map((row) => row.split(' ')[1]))).toEqual(new Set(wanted));
  expect(new Set(engines).size).toBe(engines.length);
  const things = Object.values(site.picture());
  const count = (...kinds: readonly Thing[]) =>
    things.flatMap((host) => kinds.flatMap((kind) => host[kind] ?? [])).length;
  expect({ leases: count('lease'), entries: count('router-entry'), units: count('job', 'container') }).toEqual({
    leases: engines.length,
    entries: wanted.length,
    units: engines.length + 1, // And the router; nothing ended, no copy of weights.
  });
  expect(things.flatMap((host) => host.file ?? []).filter((path) => path.includes('.partial-'))).toEqual([]);
}

describe('of two that wait to take over', () => {
  it('the second is refused naming both, and a cancel drops the first of them: the running one ends superseded', async () => {
    const name = `t${(clusters += 1)}`;
    const { site, target } = await stageOf(operations, TAKEN_OVER[0]!, { name });
    site.trouble({ at: ({ activity }) => activity === 'awaitRouter', what: 'waits' });
    const first = await operations.begin(target);
    await eventually(() => site.calls.some(({ activity }) => activity === 'awaitRouter'));
    await submit(target, 'deploy', true);
    await expect(submit(target, 'deploy', true)).rejects.toMatchObject({
      code: 'OPERATION_RUNNING',
      message: expect.stringMatching(/deploy \(deployment 1\) of t\d+ runs .*deploy \(deployment 2\) of t\d+ waits/),
    });
    await expect(submit(target, 'deploy', false)).rejects.toMatchObject({ code: 'OPERATION_RUNNING' });
    expect(await operations.client.cancel(name, { actor: 'tester' })).toMatchObject({ deployment: 2 });
    site.release();
    expect(await operations.ended(name, first)).toMatchObject({ outcome: 'superseded' });
    const record = await operations.client.record(name);
    expect(record).toMatchObject({ state: 'degraded', running: null, waiting: null });
    expect(record.deployments.map(({ outcome }) => outcome)).toEqual(['superseded', 'cancelled']);
    expect(await operations.run(target)).toMatchObject({ deployment: 3, outcome: 'succeeded' });
    needJust(site, target, name);
  });
});

describe('an unwind that is under way', () => {
  it('ends first; then the one that takes over begins', async () => {
    const name = `t${(clusters += 1)}`;
    const { site, target } = await stageOf(operations, TAKEN_OVER[0]!, { name });
    site.trouble(
      { at: ({ activity, operation }) => activity === 'acceptRouted' && operation.endsWith('/1'), what: 'fails' },
      { at: ({ activity, operation }) => activity === 'releaseGpus' && operation.endsWith('/1'), what: 'waits' },
    );
    const first = await operations.begin(target);
    await eventually(() => site.calls.some(({ activity }) => activity === 'releaseGpus'));
    const second = await submit(target, 'deploy', true);
    await yields(first);
    site.release();
    expect(await operations.ended(name, first)).toMatchObject({ outcome: 'rolled-back', leftBehind: [] });
    expect(await operations.ended(name, second)).toMatchObject({ outcome: 'succeeded' });
    needJust(site, target, name);
  });
});
