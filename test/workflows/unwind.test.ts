import { afterAll, describe, expect, it } from '@jest/globals';
import type { DeploymentRecord } from '../../src/operations/record.ts';
import { differing, isTidying, told, undosIn, watched, type Undo } from '../support/memory-cases.ts';
import {
  Clusters,
  courseOf,
  enginesOf,
  numberless,
  SCENARIOS,
  type Cluster,
  type Course,
  type Picture,
} from '../support/memory-scenarios.ts';
import { EVERY_CASE, some } from '../support/choice.ts';
import type { ActivityCall, MemorySite, Misfortune, Trouble } from '../support/memory-site.ts';
import { sideBySide } from '../support/side-by-side.ts';
import { startOperations, type FanOut } from '../support/memory-temporal.ts';

// Cases are made of what each operation does when nothing goes wrong: every step, every activity that it calls, every
// way of failing, every way in which an undo goes. All of them run side by side before the first test is told, since a
// real time-out takes its time. `npm run test:exhaustive` runs the product of all of these. `npm test` runs a choice of
// it: every step of every operation fails in one way or another, and now and then something is undone twice or cannot be.

/** Cases at a time: time-outs wait while others work. */
const AT_ONCE = 8;
const SILENT_AT_ONCE = 20;

const WHAT = {
  fails: 'fails',
  'fails half-way': 'fails',
  'fails after it acted': 'fails-after',
  'breaks off': 'breaks-off',
  'falls silent': 'falls-silent',
  'falls silent after it acted': 'falls-silent-after',
} as const satisfies Readonly<Record<string, Misfortune>>;
type Failing = keyof typeof WHAT;

type Undoing = 'once' | 'twice' | { readonly failing: Undo };

interface Case {
  readonly course: Course;
  readonly fanOut: FanOut;
  readonly failing: Failing;
  readonly undoing: Undoing;
}

interface Result extends Case {
  readonly title: string;
  /** What was not as promised; empty is well. */
  readonly wrong: readonly string[];
  readonly undos: readonly Undo[];
}

const operations = await startOperations();
afterAll(() => operations.close());
const clusters = new Clusters(operations);
const limits = { quick: sideBySide(AT_ONCE), silent: sideBySide(SILENT_AT_ONCE) };

const courses = await Promise.all(SCENARIOS.map((scenario) => courseOf(operations, scenario)));

const chosenSteps = new Set<string>();

/**
 * The activities of each step in every way of failing. Of a choice each step fails in one way; of steps that an earlier
 * course of the same operation has, every other one.
 */
function casesOf(course: Course): readonly Case[] {
  const steps = [...new Set(course.fanOuts.map(({ step }) => step))];
  const again = some(steps, 2);
  return steps.flatMap((step, turn) => {
    const named = `${course.scenario.operation} ${step}`;
    if (chosenSteps.has(named) && !again.includes(step)) return [];
    chosenSteps.add(named);
    const fanOuts = course.fanOuts.filter((fanOut) => fanOut.step === step);
    const ways = (Object.keys(WHAT) as Failing[]).map((failing) => ({
      failing,
      fit: fanOuts.filter(({ ids }) => fits(course, ids, failing)),
    }));
    const possible = ways.filter(({ fit }) => fit.length > 0);
    return some(possible, possible.length, turn).flatMap(({ failing, fit }, way) => {
      const chosen = EVERY_CASE || fit.length === 0 ? fit : [fit[(fit.length - 1 + way) % fit.length]!];
      return chosen.map((fanOut): Case => ({ course, fanOut, failing, undoing: 'once' }));
    });
  });
}

function fits({ changing }: Course, ids: readonly number[], failing: Failing): boolean {
  if (failing === 'fails half-way') return ids.length > 1;
  if (failing === 'breaks off' || failing === 'falls silent') return changing.has(ids[0]!);
  return true;
}

/** What was undone once is undone twice in another case, and in a third one of the undos fails, each time another. */
function undoingsOf({ course, fanOut, failing, undos }: Result, index: number): readonly Case[] {
  if (undos.length === 0) return [];
  const failingUndo = undos[index % undos.length]!;
  const both = ['twice', { failing: failingUndo }] as const;
  return some(both, 6, index).map((undoing) => ({ course, fanOut, failing, undoing }));
}

const resultsOf = (cases: readonly Case[]): Promise<readonly Result[]> =>
  Promise.all(
    cases.map((one) => (one.failing.startsWith('falls silent') ? limits.silent : limits.quick)(() => resultOf(one))),
  );

async function resultOf(one: Case): Promise<Result> {
  const { undoing, fanOut, failing } = one;
  const how =
    typeof undoing === 'string'
      ? `undone ${undoing}`
      : `undo ${undoing.failing.number}, ${undoing.failing.activity}, fails`;
  const title = `${fanOut.step}: ${fanOut.activity} ${failing}; ${how}`;
  try {
    const found = await clusters.use(one.course.scenario, (cluster) => tried(one, cluster));
    return { ...one, title, ...found };
  } catch (error) {
    const wrong = [error instanceof Error ? (error.stack ?? error.message) : String(error)];
    return { ...one, title, undos: [], wrong };
  }
}

/** Runs one case and says what was not as promised. */
async function tried(one: Case, cluster: Cluster): Promise<Pick<Result, 'wrong' | 'undos'>> {
  const { course, undoing, fanOut } = one;
  const { scenario } = course;
  const { site } = cluster;
  const before = site.picture();
  const watch = watched(cluster, course);
  site.trouble(...troublesOf(one, `${scenario.operation}/${cluster.name}/${cluster.next()}`));
  const record = await cluster.run(cluster.target, scenario.operation);
  const undos = undosIn(site.calls, record.workflowId, fanOut);
  const wrong: string[] = [];
  const promise = (promised: boolean, what: string) => {
    if (!promised) wrong.push(`${what}: ${told(record)}`);
  };
  const at = { ...one, record, before, cluster, promise };
  promise(record.failed?.step === fanOut.step, `it failed at ${fanOut.step}`);
  if (scenario.operation === 'destroy') await needDestroyed(at);
  else if (isTidying(course, fanOut)) await needTidied(at);
  else if (typeof undoing === 'string') needUnwound(at, undoing, undos);
  else await needStuck(at, undoing.failing);
  const undone = scenario.operation === 'deploy' && !isTidying(course, fanOut);
  return { wrong: [...wrong, ...watch.end()], undos: undone ? undos : [] };
}

function troublesOf({ course, fanOut, failing, undoing }: Case, operation: string): readonly Trouble[] {
  const ids = failed(fanOut, failing);
  const last = fanOut.ids.at(-1)!;
  const fails = (call: ActivityCall) => call.operation === operation && ids.includes(call.id);
  const undoes = (call: ActivityCall) =>
    course.scenario.operation === 'deploy' && call.operation === operation && call.id > last;
  return [
    // What broke off may do well when Temporal runs it again; then nothing would be undone.
    ...(failing === 'breaks off'
      ? [{ at: (call: ActivityCall) => fails(call) && call.attempt > 1, what: 'fails' as const }]
      : []),
    { at: fails, what: WHAT[failing] },
    ...(undoing === 'twice' ? [{ at: undoes, what: 'repeats' as const }] : []),
    ...(typeof undoing === 'object'
      ? [{ at: (call: ActivityCall) => undoes(call) && isThat(call, undoing.failing), what: 'fails' as const }]
      : []),
  ];
}

/** By activity and host: of hosts that are dealt with side by side either may come first. */
const isThat = ({ activity, host }: ActivityCall, undo: Undo): boolean =>
  activity === undo.activity && host === (undo.hosts[0] ?? '');

/** Which of the calls of a fan-out fail: all, the first, or one in the middle of others that do well. */
function failed({ ids }: FanOut, failing: Failing): readonly number[] {
  if (failing === 'fails' || failing === 'fails after it acted') return ids;
  return [ids[failing === 'fails half-way' ? Math.floor(ids.length / 2) : 0]!];
}

interface Tried extends Case {
  readonly record: DeploymentRecord;
  readonly before: Picture;
  readonly cluster: Cluster;
  readonly promise: (promised: boolean, what: string) => void;
}

/** Steps that only look: what fails there was refused before it touched anything. */
const LOOKING = ['reach-worker', 'observe', 'plan', 'compare-router', 'picture'];

/** As it was, and said so. */
function needUnwound(
  { record, before, fanOut, cluster: { site }, promise }: Tried,
  undoing: string,
  undos: readonly Undo[],
): void {
  const wanted = LOOKING.includes(fanOut.step) ? 'refused' : 'rolled-back';
  promise(record.outcome === wanted, wanted);
  promise(record.leftBehind.length === 0, 'nothing left behind');
  const difference = differing(before, site.picture());
  promise(difference.length === 0, `as before, but for ${difference.join('; ')}`);
  if (undoing === 'once') return;
  const again = site.calls.filter(({ attempt, operation }) => attempt > 1 && operation === record.workflowId);
  promise(again.length >= undos.length, `${undos.length} undos run twice, not ${again.length}`);
}

/** Named, nothing else left, and what the record prints finishes the job. */
async function needStuck({ record, before, cluster, promise }: Tried, failing: Undo): Promise<void> {
  const { site, name, run, target } = cluster;
  promise(record.outcome === 'stuck', 'stuck');
  const [host] = failing.hosts;
  promise(
    record.leftBehind.some((left) => host === undefined || left.includes(host)),
    `${host} is named`,
  );
  // What could not be undone on one host may leave the router's list as it is.
  const elsewhere = differing(before, site.picture()).filter(
    (row) => !failing.hosts.some((own) => row.startsWith(`${own} `)) && !row.includes(' router-entry '),
  );
  promise(elsewhere.length === 0, `the rest undone, but for ${elsewhere.join('; ')}`);
  site.heal();
  const remedy = cluster.before ? await run(cluster.before) : await run(target, 'destroy');
  promise(['succeeded', 'unchanged'].includes(remedy.outcome), `the remedy works: ${told(remedy)}`);
  const difference = differing(numberless(before, name), numberless(site.picture(), name));
  promise(difference.length === 0, `as before after the remedy, but for ${difference.join('; ')}`);
  promise(cluster.before === undefined || site.serves(), 'serving after the remedy');
}

/** Nothing that serves falls for what is only left over; the same deploy again finishes the job. */
async function needTidied({ record, cluster, promise, fanOut }: Tried): Promise<void> {
  const { site, name, run, target } = cluster;
  promise(record.outcome === 'stuck', 'stuck');
  promise(
    record.leftBehind.some((left) => left.includes(fanOut.step)),
    `${fanOut.step} is named`,
  );
  promise(site.serves(), 'serving');
  const serving = enginesOf(site, name);
  site.heal();
  const again = await run(target);
  promise(['succeeded', 'unchanged'].includes(again.outcome), `deployed again: ${told(again)}`);
  promise(same(enginesOf(site, name), serving), 'the same engines serve');
  const units = [...site.hosts.values()].flatMap((at) => [...at.units.values()]);
  promise(
    units.every(({ running }) => running),
    'no ended unit is left',
  );
  const leased = [...site.hosts.values()].filter(({ leases }) => leases.size > 0).map((at) => at.name);
  const used = [...new Set(enginesOf(site, name).map((engine) => engine.split(' ')[0]!))];
  promise(same(leased, used), `leases are where engines are, ${used.join(', ')}, not ${leased.join(', ')}`);
}

/** The rest is gone, the failed is named, and a second run ends clean. */
async function needDestroyed({ record, before, cluster, promise, course, fanOut, failing }: Tried): Promise<void> {
  const { site, target, run } = cluster;
  const left = () => differing({}, withoutOthers(site));
  const changed = course.fanOuts.find(({ ids }) => ids.some((id) => course.changing.has(id)))!;
  if (record.outcome === 'refused') {
    promise(fanOut.ids[0]! < changed.ids[0]!, 'refused only before anything was removed');
    promise(same(site.picture(), before), 'nothing changed');
  } else {
    promise(record.outcome === 'stuck', 'stuck');
    const hosts = hostsOf(site, record, failed(fanOut, failing));
    const nameless = hosts.filter((host) => !record.leftBehind.some((row) => row.includes(host)));
    promise(nameless.length === 0, `${nameless.join(', ')} named`);
    // What could not be seen on one host, or be taken out of routing, is still listed by a router of others.
    const mayBeListed = ['observe', 'unwire-engines'].includes(fanOut.step);
    const elsewhere = left().filter(
      (row) => !hosts.some((host) => row.startsWith(`${host} `)) && !(mayBeListed && row.includes(' router-entry ')),
    );
    promise(elsewhere.length === 0, `the rest gone, but for ${elsewhere.join('; ')}`);
  }
  site.heal();
  const again = await run(target, 'destroy');
  promise(again.outcome === 'succeeded', `destroyed again: ${told(again)}`);
  promise(left().length === 0, `gone when destroyed again, but for ${left().join('; ')}`);
}

/** The hosts on which an operation's activities failed. */
const hostsOf = (site: MemorySite, { workflowId }: DeploymentRecord, ids: readonly number[]): readonly string[] => {
  const calls = site.calls.filter(({ operation, id }) => operation === workflowId && ids.includes(id));
  return [...new Set(calls.map(({ host }) => host).filter((host) => host !== ''))];
};

/** Without a router of others, which no destroy removes; what it lists of the cluster stays in the picture. */
function withoutOthers(site: MemorySite): Picture {
  return Object.fromEntries(
    Object.entries(site.picture()).map(([host, things]) => {
      const { job: _job, process: _process, port: _port, ...rest } = things;
      return [host, site.hosts.get(host)!.units.has('router-of-others') ? rest : things];
    }),
  );
}

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);

// ---- The tests

const first = await resultsOf(courses.flatMap(casesOf));
const second = await resultsOf(first.flatMap(undoingsOf));
const results = [...first, ...second];

describe('the cases', () => {
  it.each(['deploy', 'destroy'])('cover every step of a %s', (operation) => {
    const of = courses.filter(({ scenario }) => scenario.operation === operation);
    const covered = new Set(first.filter(({ course }) => of.includes(course)).map(({ fanOut }) => fanOut.step));
    expect([...new Set(of.flatMap(({ steps }) => steps))].filter((step) => !covered.has(step))).toEqual([]);
  });
});

describe.each(SCENARIOS.map(({ name }) => name))('%s', (name) => {
  const own = results.filter(({ course }) => course.scenario.name === name);
  it.each(own.map((result) => [result.title, result] as const))('%s', (_title, { wrong }) => {
    expect(wrong).toEqual([]);
  });
});
