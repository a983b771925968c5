import { isNoop } from '../../plan/noop.ts';
import type { Change, EnginePlan, Move, MoveName, Plan, Stage } from '../../plan/types.ts';
import { enginesOf } from '../../plan/units.ts';
import { someText } from '../../text/some.ts';
import { table } from './table.ts';

/** A plan as people read it: what changes and why, where everything will be, in which order it is done, what to know before. */
export function renderPlan(plan: Plan): string {
  return [
    heading(plan),
    section('Changes', lines(plan.changes.map(changeRow))),
    section('Where', lines(enginesOf(plan).flatMap(engineRows).concat(routerRows(plan)))),
    section('In this order', isNoop(plan) ? ['nothing to do'] : order(plan)),
    section('Know before', plan.warnings),
  ]
    .filter((part) => part.length > 0)
    .map((part) => `${part.join('\n')}\n`)
    .join('\n');
}

function heading(plan: Plan): string[] {
  const { cluster, deployment, model, prefill, decode, kvGeneration, specDigest, changes } = plan;
  const total = (wanted: Change['action']) => changes.filter(({ action }) => action === wanted).length;
  return [
    `${cluster}, deployment ${deployment}: ${prefill.length} prefill and ${decode.length} decode engines of ${model.id} (${model.revision})`,
    `${total('create')} to create, ${total('replace')} to replace, ${total('remove')} to remove, ${total('keep')} kept`,
    `spec ${specDigest.slice(0, 19)}, KV generation ${kvGeneration}`,
  ];
}

const lines = (rows: readonly (readonly string[])[]): string[] => table(rows).split('\n');

const section = (title: string, content: readonly string[]): string[] =>
  content.length === 0 ? [] : [title, ...content.map((line) => `  ${line}`)];

const SIGNS = { create: '+', keep: '=', replace: '~', remove: '-' } as const;
const NAMED_MAX = 4;

const changeRow = ({ action, kind, name, hosts, reason }: Change): string[] => [
  `${SIGNS[action]} ${action}`,
  kind,
  name,
  // A lease is named by its host, so the host says nothing more.
  hosts.join() === name ? '' : some(hosts),
  reason,
];

function engineRows({ name, url, ranks }: EnginePlan): string[][] {
  return ranks.map(({ rank, host, gpus, nics }) => [
    rank === 0 ? name : '',
    ranks.length > 1 ? `${host} (rank ${rank})` : host,
    `GPU ${range(gpus.map(({ index }) => index))}`,
    nics.length === 0 ? 'no RDMA device' : span(nics),
    rank === 0 ? url : '',
  ]);
}

const routerRows = ({ router }: Plan): string[][] => [
  router.kind === 'external'
    ? ['external router', '', '', '', router.url]
    : [router.name, router.host, '', '', router.url],
];

const STAGES: Readonly<Record<Stage['name'], string>> = {
  prepare: 'prepare: what serves is untouched',
  change: 'change: undone where something fails',
  tidy: 'tidy up: for good, once all of it serves',
};

/** The plan's own order; moves are left out that have nothing to do. */
function order(plan: Plan): string[] {
  let number = 0;
  return plan.stages.flatMap(({ name, moves }) => {
    const told = moves.flatMap(({ name: move, on }) => SAID[move](plan, on));
    const numbered = told.map((line) => `${String((number += 1)).padStart(2)}. ${line}`);
    return told.length > 0 ? [STAGES[name], ...numbered] : [];
  });
}

type Said = (plan: Plan, on: Move['on']) => readonly string[];

/** Said where it is about something. */
const about =
  (say: (names: string) => string): Said =>
  (_, on) =>
    on.length > 0 ? [say(some(on))] : [];

const starting = (plan: Plan, on: Move['on']): string[] =>
  enginesOf(plan)
    .filter(({ name, action }) => action !== 'keep' && on.includes(name))
    .map(({ name }) => name);

const start = about((names) => `start ${names}`);
const startEngines: Said = (plan, on) => start(plan, starting(plan, on));

/** What each move of a plan does, in a line; none where there is nothing to do. */
const SAID: Readonly<Record<MoveName, Said>> = {
  'lease-gpus': (plan, on) => {
    const missing = plan.changes.filter(({ kind, action }) => kind === 'lease' && action === 'create');
    const hosts = missing.map(({ name }) => name).filter((name) => on.includes(name));
    return about((names) => `lease GPUs on ${names}`)(plan, hosts);
  },
  'check-rocm': about((names) => `check GPUs, drivers, RDMA and ports of ${names}`),
  'check-rdma': ({ rounds }) => {
    const tests = rounds.flatMap((round) => round.tests);
    if (tests.length === 0) return [];
    const slowest = Math.min(...tests.map(({ minGbps }) => minGbps));
    return [`measure ${tests.length} RDMA links in ${rounds.length} rounds, at least ${slowest} Gb/s each`];
  },
  'fetch-image': ({ images }, on) =>
    images
      .filter(({ reference }) => on.includes(reference))
      .map(({ reference, hosts }) => `fetch ${reference} on ${some(hosts)} where it is missing`),
  'stage-weights': (plan, on) => {
    const hosts = plan.staging.flatMap(({ host, copy }) => (copy && on.includes(host) ? [host] : []));
    return about((names) => `stage ${plan.model.id} to ${plan.model.path} on ${names}`)(plan, hosts);
  },
  'make-room-unwire': about((names) => `take ${names} out of routing: what starts needs its GPUs or ports`),
  'make-room-stop': about((names) => `stop ${names}`),
  'start-prefill': startEngines,
  'start-decode': startEngines,
  'stop-old-router': about((names) => `stop ${names}: serving is interrupted`),
  'start-router': start,
  'wire-router': (plan, on) =>
    starting(plan, on).length > 0 ? [`register what starts at the router under ${plan.kvGeneration}`] : [],
  // The router is asked also where nothing starts.
  accept: ({ pairs }) => [
    pairs.length > 0
      ? `prove ${pairs.length} prefill-decode pairs, then requests through the router`
      : 'send requests through the router: they have to be answered',
  ],
  'retire-unwire': about((names) => `take ${names} out of routing`),
  'retire-stop': about((names) => `stop ${names}`),
  confirm: about((names) => `compare ${names} and the router’s list with this plan`),
  'remove-old': about((names) => `remove ${names}`),
  'release-gpus': about((names) => `release GPUs on ${names}`),
};

/** "and 1 more" would take the place of the one. */
const some = (names: readonly string[]): string =>
  someText(names, names.length > NAMED_MAX ? NAMED_MAX - 1 : NAMED_MAX);

/** GPU runs have no gaps. */
const range = (indices: readonly number[]): string =>
  indices.length > 1 ? `${indices[0]}–${indices.at(-1)}` : `${indices[0]}`;

const span = (names: readonly string[]): string =>
  names.length > 2 ? `${names[0]} … ${names.at(-1)} (${names.length})` : names.join(', ');
