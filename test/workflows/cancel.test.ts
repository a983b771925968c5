import { afterAll, describe, expect, it } from '@jest/globals';
import { clusterWorkflowId } from '../../src/operations/names.ts';
import type { Admitted } from '../../src/operations/requests.ts';
import { differing, isTidying, told, undosIn, watched, type Undo } from '../support/memory-cases.ts';
import { Clusters, courseOf, SCENARIOS, type Cluster, type Course } from '../support/memory-scenarios.ts';
import { some } from '../support/choice.ts';
import type { ActivityCall, MemorySite, Trouble } from '../support/memory-site.ts';
import { sideBySide } from '../support/side-by-side.ts';
import { startOperations, type FanOut } from '../support/memory-temporal.ts';
import { patient } from '../support/patience.ts';
import { eventually, inTime } from '../support/processes.ts';

// A cancel while each activity of each step is under way, and while each undo is. As in unwind.test.ts the cases are
// made of what the operations do when nothing goes wrong, and run side by side before the first test is told. A choice
// of them is met by one of the ways to cancel in turn, all by each in `npm run test:exhaustive`.

const AT_ONCE = 12;
/** Far longer than a case takes, beside eleven others on a busy machine. */
const CASE_MS = patient(240_000);

const operations = await startOperations();
afterAll(() => operations.close());

/** The ways to cancel: what `tandem cancel` sends, and what the Temporal UI does to a workflow. */
const CANCELS: Readonly<Record<string, (cluster: string, admitted: Admitted) => Promise<unknown>>> = {
  'tandem cancel': (cluster) => operations.client.cancel(cluster, { actor: 'tester' }),
  'a cancel of the operation’s workflow': (_cluster, { workflowId }) =>
    operations.env.client.workflow.getHandle(workflowId).cancel(),
  'a cancel of the cluster’s workflow': (cluster) =>
    operations.env.client.workflow.getHandle(clusterWorkflowId(cluster)).cancel(),
};

const limit = sideBySide(AT_ONCE);
const clusters = new Clusters(operations);
const courses = await Promise.all(SCENARIOS.map((scenario) => courseOf(operations, scenario)));

interface Case {
  readonly course: Course;
  readonly title: string;
  readonly by: string;
  /** What goes wrong; the first of it is under way when the cancel comes. */
  readonly troubles: readonly Trouble[];
  /** Whether the held call ends by itself, once the cancel was sent. */
  readonly goesOn: boolean;
  readonly outcome: string;
  /** Ids of what may be called before the unwind, for a case that unwinds. */
  readonly last?: number;
}

/** Every activity of every step is met by every way to cancel. What cannot be cut goes on to its end. */
function casesOf(course: Course): readonly Case[] {
  const { scenario } = course;
  return some(course.fanOuts, 8).flatMap((fanOut, turn) =>
    some(Object.keys(CANCELS), 3, turn).map((by): Case => {
      const whole = scenario.operation === 'destroy' || isTidying(course, fanOut);
      const hangs = course.driving.has(fanOut.ids[0]!) ? 'hangs' : 'hangs-itself';
      const meets = (call: ActivityCall) => fanOut.ids.includes(call.id);
      return {
        course,
        by,
        title: `${by} while ${fanOut.activity} of ${fanOut.step} is under way`,
        troubles: [{ at: meets, what: whole ? 'waits' : hangs }],
        goesOn: whole,
        outcome: whole ? outcomeOf(course, fanOut) : 'cancelled',
        ...(whole ? {} : { last: fanOut.ids.at(-1)! }),
      };
    }),
  );
}

/** A destroy stops between two steps; after its last one, and in what follows a deploy, there is nothing to stop. */
const outcomeOf = (course: Course, { step }: FanOut): string =>
  course.scenario.operation === 'destroy' && step !== course.fanOuts.at(-1)!.step ? 'cancelled' : 'succeeded';

/** What a deploy undoes when its last step fails. */
async function unwindOf(course: Course) {
  const last = lastOf(course);
  return await clusters.use(course.scenario, async ({ site, target, run }) => {
    site.trouble(failing(last));
    const { outcome, workflowId } = await run(target);
    if (outcome !== 'rolled-back') throw new Error(`${course.scenario.name} ended ${outcome}`);
    return { course, undos: undosIn(site.calls, workflowId, last), last };
  });
}

const lastOf = (course: Course): FanOut => course.fanOuts.findLast((fanOut) => !isTidying(course, fanOut))!;

const failing = ({ ids }: FanOut): Trouble => ({ at: ({ id }) => ids.includes(id), what: 'fails' });

/** A cancel while an undo is under way changes nothing: the unwind goes on to its end. */
function undoCasesOf(course: Course, undo: Undo, last: FanOut): readonly Case[] {
  const meets = ({ id, activity, host }: ActivityCall) =>
    id > last.ids.at(-1)! && activity === undo.activity && (undo.hosts.length === 0 || undo.hosts.includes(host));
  return some(Object.keys(CANCELS), 3, undo.number).map((by) => ({
    course,
    by,
    title: `${by} while ${undo.activity} undoes (${undo.number})`,
    troubles: [{ at: meets, what: 'waits' }, failing(last)],
    goesOn: true,
    outcome: 'rolled-back',
    last: last.ids.at(-1)!,
  }));
}

async function resultOf(one: Case): Promise<Case & { readonly wrong: readonly string[] }> {
  try {
    // One that hangs must not keep the others from being told.
    const wrong = await clusters.use(one.course.scenario, (cluster) => inTime(one.title, CASE_MS, tried(one, cluster)));
    return { ...one, wrong };
  } catch (error) {
    return { ...one, wrong: [error instanceof Error ? (error.stack ?? error.message) : String(error)] };
  }
}

/** Runs one case and says what was not as promised. */
async function tried(
  { course, by, troubles, goesOn, outcome, last }: Case,
  cluster: Cluster,
): Promise<readonly string[]> {
  const { scenario } = course;
  const { name, site, target, begin, run } = cluster;
  const before = site.picture();
  const watch = watched(cluster, course);
  const operation = `${scenario.operation}/${name}/${cluster.next()}`;
  site.trouble(
    ...troubles.map(({ at, what }) => ({ what, at: (call: ActivityCall) => call.operation === operation && at(call) })),
  );
  const meets = (call: ActivityCall) => call.operation === operation && troubles[0]!.at(call);
  const admitted = await begin(target, scenario.operation);
  await eventually(
    () =>
      troubles[0]!.what === 'hangs'
        ? site.driverCalls.some(({ within }) => within !== undefined && meets(within))
        : site.calls.some(meets),
    { limitMs: CASE_MS },
  );
  await CANCELS[by]!(name, admitted);
  if (goesOn) {
    await cancelAsked(admitted);
    site.release();
  }
  const record = await operations.ended(name, admitted);
  const wrong: string[] = [...watch.end()];
  const promise = (promised: boolean, what: string) => {
    if (!promised) wrong.push(`${what}: ${told(record)}`);
  };
  promise(record.outcome === outcome, outcome);
  promise(record.leftBehind.length === 0, 'nothing left behind');
  if (last !== undefined) {
    const difference = differing(before, site.picture());
    promise(difference.length === 0, `as before, but for ${difference.join('; ')}`);
    promise(overBefore(site, admitted, last), 'the remote work was over before its undo began');
  }
  if (scenario.operation === 'destroy') {
    site.heal();
    const again = await run(target, 'destroy');
    promise(again.outcome === 'succeeded', `${again.outcome} when destroyed again`);
    promise(
      site.driverCalls.every(({ ended }) => ended !== undefined),
      'no call is left',
    );
  } else if (outcome === 'succeeded') promise(site.serves(), 'serving');
  return wrong;
}

/** Whether every call on a host that the deploy made had ended before the first one of the unwind began. */
function overBefore({ driverCalls }: MemorySite, { workflowId }: Admitted, last: number): boolean {
  const calls = driverCalls.filter(({ within }) => within?.operation === workflowId);
  const undoing = calls.filter(({ within }) => within!.id > last).map(({ begun }) => begun);
  const doing = calls.filter(({ within }) => within!.id <= last);
  return doing.every(({ ended }) => ended !== undefined && undoing.every((begun) => ended < begun));
}

/** Waits until the operation's workflow was told: until then nothing would have been cancelled. */
async function cancelAsked({ workflowId }: Admitted): Promise<void> {
  const handle = operations.env.client.workflow.getHandle(workflowId);
  await eventually(
    async () => {
      const { events } = await handle.fetchHistory();
      return events?.some(({ workflowExecutionCancelRequestedEventAttributes: asked }) => asked);
    },
    { limitMs: CASE_MS, everyMs: 50 },
  );
}

const undoings = await Promise.all(courses.filter(({ scenario }) => scenario.operation === 'deploy').map(unwindOf));

const cases = [
  ...courses.flatMap(casesOf),
  ...undoings.flatMap(({ course, undos, last }) => some(undos, 8).flatMap((undo) => undoCasesOf(course, undo, last))),
];
const results = await Promise.all(cases.map((one) => limit(() => resultOf(one))));

describe.each(SCENARIOS.map(({ name }) => name))('%s', (name) => {
  const own = results.filter(({ course }) => course.scenario.name === name);
  it.each(own.map((result) => [result.title, result] as const))('%s', (_title, { wrong }) => {
    expect(wrong).toEqual([]);
  });
});

describe('the cases', () => {
  it('cover every step of every operation', () => {
    const uncovered = courses.flatMap((course) => {
      const covered = new Set(course.fanOuts.map(({ step }) => step));
      return course.steps.filter((step) => !covered.has(step)).map((step) => ({ step, of: course.scenario.operation }));
    });
    const elsewhere = ({ step, of }: (typeof uncovered)[number]) =>
      courses.some(({ scenario, fanOuts }) => scenario.operation === of && fanOuts.some((one) => one.step === step));
    expect(uncovered.filter((one) => !elsewhere(one))).toEqual([]);
  });
});
