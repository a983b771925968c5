import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ClusterSpec } from '../../src/spec/schema.ts';
import type { OperationProgress } from '../../src/operations/progress.ts';
import type { DeploymentRecord } from '../../src/operations/record.ts';
import type { Admitted } from '../../src/operations/requests.ts';
import type { Serving } from '../../src/plan/types.ts';
import { patient, patientSeconds } from '../support/patience.ts';
import { SMALL_LOAD, startStack, stackSpec, type Picture, type Stack } from '../support/stack.ts';
import { nameOf, randomOf, STAGES, type CrashCase } from './cases.ts';
import { CRASH, withWorkers, type Struck } from './crashes.ts';
import { difference, isNamed, ofTheCrash, shown } from './oracle.ts';
import { watchFor } from './watch.ts';

/** What became of one case. */
export interface CaseResult {
  readonly case: string;
  readonly seed: number;
  /** The stage that ran when the crash came; "" when the operation had ended, or there was nothing to strike. */
  readonly hit: string;
  readonly outcome: string;
  /** Code and host of the failure, where it failed. */
  readonly failed: string;
  readonly seconds: number;
  readonly destroys: number;
  /** Steps that the operation showed and the matrix does not know. */
  readonly unknownSteps: readonly string[];
  /** Empty when every promise was kept. */
  readonly violations: readonly string[];
}

/** The stack of a campaign: one simulation with the hosts of several cases, which run side by side. */
export interface World {
  readonly stack: Stack;
  readonly slots: number;
  /** Second number of the addresses of its hosts, 127.<block>.<slot>.x: two worlds at once have two. */
  readonly block: number;
  /** Makes names of clusters that no case had before. */
  readonly nextNumber: () => number;
}

/** Every command begins so much later: a step that is over at once could not be struck. */
const LATENCY_MS = 60;
/** Longest time between the sight of a stage and the crash. */
const JITTER_MS = 400;
const LOOK_EVERY_MS = 50;
/** Longest time of an operation that need not give up a host; a machine that is shared is ten times slower than a quiet one. */
const OPERATION_LIMIT_MS = patient(600_000);
/** Of an operation that has to give up a host by itself. */
const LONG_LIMIT_MS = patient(900_000);
const SETTLE_MS = patient(60_000);
const DESTROYS = 3;

const hostsOf = (slot: number) => [`p${slot}`, `d${slot}`, `r${slot}`];

export async function startWorld(slots: number, block: number): Promise<World> {
  const stack = await startStack({ spec: wideSpec(slots, block) });
  let number = 0;
  return { stack, slots, block, nextNumber: () => (number += 1) };
}

/** Three hosts of a world. */
export interface Place {
  readonly slot: number;
  readonly block: number;
}

const hostRow = (name: string, address: string, count: number) => ({
  name,
  address,
  gpus: { product: 'MI300X', count },
});
const slotHosts = ({ slot, block }: Place) => {
  const [prefill, decode, router] = hostsOf(slot) as [string, string, string];
  const at = (last: number) => `127.${block}.${slot}.${last}`;
  return [hostRow(prefill, at(1), 4), hostRow(decode, at(2), 4), hostRow(router, at(3), 0)];
};

/** Two prefill engines of two GPUs and one decode engine on the hosts of a slot. */
export function slotSpec(place: Place, name: string, overrides: Parameters<typeof stackSpec>[1] = {}): ClusterSpec {
  const { slot } = place;
  const [prefill, decode, router] = hostsOf(slot) as [string, string, string];
  return stackSpec(0, {
    name,
    hosts: { list: slotHosts(place) },
    prefill: { replicas: 2, gpus: { product: 'MI300X', count: 2 }, hosts: [prefill] },
    decode: { replicas: 1, gpus: { product: 'MI300X', count: 2 }, hosts: [decode] },
    router: { host: router, runtime: 'process', port: 30000, readyTimeoutSeconds: patientSeconds(120) },
    engine: {
      image: 'rocm/sgl-dev:v0.5.23-rocm720-mi30x',
      readyTimeoutSeconds: patientSeconds(90),
      stopTimeoutSeconds: 5,
    },
    acceptance: { ...SMALL_LOAD, timeoutSeconds: patientSeconds(60) },
    ...overrides,
  });
}

/** Whose hosts are those of all slots. */
function wideSpec(slots: number, block: number): ClusterSpec {
  const all = Array.from({ length: slots }, (_, slot) => slotHosts({ slot, block })).flat();
  return slotSpec({ slot: 0, block }, 'wide', { hosts: { list: all } });
}

interface Prepared {
  readonly case: CrashCase;
  readonly seed: number;
  readonly slot: number;
  readonly spec: ClusterSpec;
  readonly operation: 'deploy' | 'destroy';
  /** Nothing is deployed. */
  readonly empty: Picture;
  /** When the operation begins. */
  readonly before: Picture;
  readonly at: Struck;
}

interface Operated {
  readonly hit: string;
  readonly record: DeploymentRecord;
  readonly serving: Serving | null;
  readonly progress: OperationProgress | undefined;
  readonly seconds: number;
}

/**
 * Runs cases of one crash side by side, one on each slot of hosts: all deploy what they need, then all operate and are
 * struck, then all are judged and destroyed.
 */
export async function runRound(
  world: World,
  cases: readonly CrashCase[],
  seed: number,
): Promise<readonly CaseResult[]> {
  const { stack } = world;
  await withWorkers(stack, cases[0]!.crash);
  const hosts = stack.simulation.state.hosts.map(({ name }) => name);
  const alone = queue();
  const prepared = await Promise.all(cases.map((one, slot) => prepare(world, { case: one, seed, slot, hosts, alone })));
  const reboots = (host: string) =>
    prepared.filter(({ case: { crash }, at }) => crash === 'reboot' && at.victim === host).length;
  const watch = watchFor(
    stack.simulation,
    cases.flatMap((_, slot) => hostsOf(slot)),
    reboots,
  );
  const operated = await Promise.all(prepared.map((one) => operate(stack, one)));
  const twice = await watch.stop();
  return await Promise.all(
    prepared.map(async (one, index) => {
      const done = operated[index]!;
      const own = twice.filter((line) => hostsOf(one.slot).some((host) => line.startsWith(`${host}:`)));
      const judged = await judge(stack, one, done);
      const { destroys, violations } = await destroyAll(stack, one);
      const names = done.progress?.steps.map(({ name }) => name) ?? [];
      // Reading the spec reaches no host: nothing that crashes there is met by it.
      const known = ['read-spec', ...STAGES[one.case.operation], ...STAGES['first-deploy']];
      return {
        case: nameOf(one.case),
        seed,
        hit: done.hit,
        outcome: done.record.outcome,
        failed: done.record.failed ? `${done.record.failed.code} ${done.record.failed.host}`.trim() : '',
        seconds: done.seconds,
        destroys,
        unknownSteps: names.filter((name) => !known.includes(name)),
        violations: [...own, ...judged, ...violations],
      };
    }),
  );
}

/** Runs tasks one after the other, in the order in which they are handed in. */
function queue(): Struck['alone'] {
  let last: Promise<unknown> = Promise.resolve();
  return (act) => {
    const next = last.then(act);
    last = next.catch(() => {});
    return next;
  };
}

async function prepare(
  { stack, nextNumber, block }: World,
  one: Pick<Prepared, 'case' | 'seed' | 'slot'> & Pick<Struck, 'hosts' | 'alone'>,
): Promise<Prepared> {
  const { operation } = one.case;
  const random = randomOf(`${one.seed} ${nameOf(one.case)}`);
  const own = hostsOf(one.slot);
  const victim = own[Math.floor(random() * own.length)]!;
  const at: Struck = { stack, hosts: one.hosts, victim, routerHost: own[2]!, random, alone: one.alone };
  const name = `c${nextNumber()}`;
  const empty = await stack.picture(own);
  const from = slotSpec({ slot: one.slot, block }, name);
  const fresh = { ...from, model: { ...from.model, dir: `~/models-${name}` } };
  const with_ = { ...one, empty, at };
  if (operation === 'first-deploy') return { ...with_, operation: 'deploy', spec: fresh, before: empty };
  if (operation === 'unwind') {
    const spec = { ...fresh, acceptance: { ...fresh.acceptance, maxTtftP99Ms: 0.001 } };
    return { ...with_, operation: 'deploy', spec, before: empty };
  }
  const first = await stack.ended(name, await stack.begin(from), OPERATION_LIMIT_MS);
  if (first.outcome !== 'succeeded')
    throw new Error(`${nameOf(one.case)}: its cluster could not be deployed: ${JSON.stringify(first.failed)}`);
  const before = await stack.picture(own);
  if (operation === 'destroy') return { ...with_, operation: 'destroy', spec: from, before };
  const to = {
    ...from,
    prefill: { ...from.prefill, replicas: 1 },
    decode: { ...from.decode, replicas: 2 },
  };
  return { ...with_, operation: 'deploy', spec: to, before };
}

async function operate(stack: Stack, one: Prepared): Promise<Operated> {
  const { spec, operation, at } = one;
  const crash = CRASH[one.case.crash];
  const began = performance.now();
  const setLatency = (ms: number) => {
    for (const host of hostsOf(one.slot)) stack.simulation.host(host).setLatency(ms);
  };
  setLatency(LATENCY_MS);
  const admitted = await stack.begin(spec, operation);
  let hit = await reached(stack, admitted, one.case);
  setLatency(0);
  if (hit !== '') {
    await new Promise((resolve) => setTimeout(resolve, at.random() * JITTER_MS));
    if (!(await crash.strike(at))) hit = '';
  }
  const limitMs = one.case.crash === 'cut-long' ? LONG_LIMIT_MS : OPERATION_LIMIT_MS;
  try {
    const record = await stack.ended(spec.name, admitted, limitMs);
    const seconds = Math.round((performance.now() - began) / 100) / 10;
    const { serving } = await stack.client.record(spec.name);
    const progress = await stack.client.progress(admitted.workflowId).catch(() => undefined);
    return { hit, record, serving, progress, seconds };
  } finally {
    crash.heal?.(at);
  }
}

/** Waits for the stage, or for a later one where it was too short to be seen; returns which it is, "" when all was over. */
async function reached(stack: Stack, { workflowId }: Admitted, { operation, stage }: CrashCase): Promise<string> {
  const [now, passed] =
    operation === 'unwind'
      ? ['undoing', ['undone', 'stuck']]
      : ['running', ['done', 'failed', 'cut', 'stuck', 'undoing', 'undone']];
  const endMs = Date.now() + OPERATION_LIMIT_MS;
  while (Date.now() < endMs) {
    const progress = await stack.client.progress(workflowId).catch(() => undefined);
    if (progress) {
      const state = progress.steps.find(({ name }) => name === stage)?.state;
      if (state === now) return stage;
      if (progress.outcome !== 'running') return '';
      if (state !== undefined && (passed as readonly string[]).includes(state)) return progress.stage;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
  throw new Error(`${workflowId} did not come to ${stage}`);
}

/** Steps of a deploy after which the new serves; what they leave over is named. */
const TIDYING = ['remove-old', 'release-gpus'];

async function judge(stack: Stack, one: Prepared, done: Operated): Promise<readonly string[]> {
  const { record, serving, hit } = done;
  const struck = hit === '' ? [] : CRASH[one.case.crash].kills(one.at);
  const own = hostsOf(one.slot);
  const wrong = (rows: ReturnType<typeof difference>) => rows.filter((row) => !ofTheCrash(row, struck));
  const { outcome } = record;
  if (CRASH[one.case.crash].unfelt && one.case.operation !== 'unwind' && outcome !== 'succeeded')
    return [`ended ${outcome}, though no host lost anything: ${JSON.stringify(record.failed)}`];
  if (outcome === 'rolled-back' || outcome === 'refused') {
    return (await settled(async () => wrong(difference(one.before, await stack.picture(own))).map(shown))).map(
      (row) => `rolled back, but ${row}`,
    );
  }
  if (outcome === 'stuck' && one.operation === 'deploy' && TIDYING.includes(record.failed?.step ?? '')) {
    const named = own.filter((host) => record.leftBehind.some((line) => line.includes(host)));
    return (await settled(() => servesAsPlanned(stack, one, serving, struck))).filter(
      (line) => !named.some((host) => line.includes(host)),
    );
  }
  if (outcome === 'stuck') {
    const base = one.operation === 'destroy' ? one.empty : one.before;
    const rows = await settled(async () =>
      wrong(difference(base, await stack.picture(own)))
        .filter((row) => !isNamed(row, record))
        .map(shown),
    );
    return [
      ...(record.leftBehind.length === 0 ? ['stuck, and nothing is named'] : []),
      ...rows.map((row) => `stuck without naming ${row}`),
    ];
  }
  if (outcome !== 'succeeded') return [`ended ${outcome}: ${JSON.stringify(record.failed)}`];
  if (one.case.operation === 'unwind') return ['succeeded, although its acceptance cannot pass'];
  if (one.operation === 'destroy') {
    return (await settled(async () => difference(one.empty, await stack.picture(own)).map(shown))).map(
      (row) => `destroyed, but ${row}`,
    );
  }
  return await settled(() => servesAsPlanned(stack, one, serving, struck));
}

/** What differs between the record of a cluster that serves and its hosts. */
async function servesAsPlanned(
  stack: Stack,
  { spec, slot }: Prepared,
  serving: Serving | null,
  struck: readonly string[],
): Promise<readonly string[]> {
  if (!serving) return ['succeeded, and the record says that nothing serves'];
  const wrong: string[] = [];
  const wanted = serving.engines.flatMap(({ name, hosts }) => hosts.map((host) => `${host} ${name}`));
  if (wanted.length !== spec.prefill.replicas + spec.decode.replicas) wrong.push(`it serves with ${wanted.join(', ')}`);
  const found: string[] = [];
  const picture = await stack.picture(hostsOf(slot));
  for (const [host, { containers, leases }] of Object.entries(picture)) {
    const ours = wanted.filter((row) => row.startsWith(`${host} `));
    for (const row of containers) {
      const [name = '', status] = row.split(' ');
      found.push(`${host} ${name}`);
      if (status !== 'running' && !struck.includes(host)) wrong.push(`${host}: ${name} is ${status}`);
    }
    if (leases.length !== 2 * ours.length) wrong.push(`${host}: ${leases.length} leases for ${ours.length} engines`);
  }
  for (const row of found) if (!wanted.includes(row)) wrong.push(`not of the serving cluster: ${row}`);
  for (const row of wanted) if (!found.includes(row)) wrong.push(`not there: ${row}`);
  if (struck.length === 0 && !(await answers(serving))) wrong.push('a request through the router got no answer');
  return wrong;
}

async function answers({ router, model }: Serving): Promise<boolean> {
  try {
    const response = await fetch(`${router.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, max_tokens: 2, prompt: 'Who is there?' }),
      signal: AbortSignal.timeout(5_000),
    });
    await response.text();
    return response.ok;
  } catch {
    return false;
  }
}

/** Destroys until it succeeds; the hosts then are as they were before anything was deployed. */
async function destroyAll(
  stack: Stack,
  { spec, empty, slot }: Prepared,
): Promise<{ readonly destroys: number; readonly violations: readonly string[] }> {
  let record: DeploymentRecord | undefined;
  let destroys = 0;
  while (record?.outcome !== 'succeeded' && destroys < DESTROYS) {
    destroys += 1;
    const admitted = await stack.begin(spec, 'destroy');
    record = await stack.ended(spec.name, admitted, OPERATION_LIMIT_MS);
  }
  const rows = await settled(async () => difference(empty, await stack.picture(hostsOf(slot))).map(shown));
  for (const host of hostsOf(slot))
    await rm(join(stack.simulation.host(host).home, `models-${spec.name}`), { recursive: true, force: true });
  return {
    destroys,
    violations: [
      ...(record?.outcome === 'succeeded'
        ? []
        : [
            `destroy ended ${record?.outcome} ${destroys} times: ${JSON.stringify([record?.failed, record?.leftBehind])}`,
          ]),
      ...rows.map((row) => `after destroy ${row}`),
    ],
  };
}

/** Looks until nothing is wrong any more: ends of processes and of connections take a moment. */
export async function settled(look: () => Promise<readonly string[]>): Promise<readonly string[]> {
  const endMs = Date.now() + SETTLE_MS;
  for (;;) {
    const wrong = await look();
    if (wrong.length === 0 || Date.now() > endMs) return wrong;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
