import { isNoop } from '../../plan/noop.ts';
import type { Change, EnginePlan, Move, MoveName, Plan, Stage } from '../../plan/types.ts';
import { table } from './table.ts';

/** A plan as people read it: what changes and why, where everything will be, in which order it is done, what to know before. */
export function renderPlan(plan: Plan): string {
  return [
    heading(plan),
    section('Changes', lines(plan.changes.map(changeRow))),
    section('Where', lines([...plan.prefill, ...plan.decode].flatMap(engineRows).concat(routerRows(plan)))),
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
    // Acceptance asks the router also where nothing starts.
    const told = moves.flatMap(({ name: move, on }) =>
      on.length > 0 || move === 'accept' ? SAID[move](plan, on) : [],
    );
    const numbered = told.map((line) => `${String((number += 1)).padStart(2)}. ${line}`);
    return told.length > 0 ? [STAGES[name], ...numbered] : [];
  });
}

const starting = (plan: Plan, on: Move['on']): string[] =>
  [...plan.prefill, ...plan.decode]
    .filter(({ name, action }) => action !== 'keep' && on.includes(name))
    .map(({ name }) => name);

const startLine = (plan: Plan, on: Move['on']): string[] => {
  const names = starting(plan, on);
  return names.length > 0 ? [`start ${some(names)}`] : [];
};

/** What each move of a plan does, in a line. */
const SAID: Readonly<Record<MoveName, (plan: Plan, on: Move['on']) => readonly string[]>> = {
  'lease-gpus': ({ changes }, on) => {
    const missing = changes.filter(
      ({ kind, action, name }) => kind === 'lease' && action === 'create' && on.includes(name),
    );
    return missing.length > 0 ? [`lease GPUs on ${some(missing.map(({ name }) => name))}`] : [];
  },
  'check-rocm': (_, on) => [`check GPUs, drivers, RDMA and ports of ${some(on)}`],
  'check-rdma': ({ rounds }) => {
    const tests = rounds.flatMap((round) => round.tests);
    const slowest = Math.min(...tests.map(({ minGbps }) => minGbps));
    return [`measure ${tests.length} RDMA links in ${rounds.length} rounds, at least ${slowest} Gb/s each`];
  },
  'fetch-image': ({ images }, on) =>
    images
      .filter(({ reference }) => on.includes(reference))
      .map(({ reference, hosts }) => `fetch ${reference} on ${some(hosts)} where it is missing`),
  'stage-weights': ({ model, staging }, on) => {
    const copies = staging.filter(({ host, copy }) => copy && on.includes(host));
    return copies.length > 0 ? [`stage ${model.id} to ${model.path} on ${some(copies.map(({ host }) => host))}`] : [];
  },
  'make-room-unwire': (_, on) => [`take ${some(on)} out of routing: what starts needs its GPUs or ports`],
  'make-room-stop': (_, on) => [`stop ${some(on)}`],
  'start-prefill': startLine,
  'start-decode': startLine,
  'stop-old-router': (_, on) => [`stop ${some(on)}: serving is interrupted`],
  'start-router': (_, on) => [`start ${some(on)}`],
  'wire-router': (plan, on) =>
    starting(plan, on).length > 0 ? [`register what starts at the router under ${plan.kvGeneration}`] : [],
  accept: ({ pairs }) => [
    pairs.length > 0
      ? `prove ${pairs.length} prefill-decode pairs, then requests through the router`
      : 'send requests through the router: they have to be answered',
  ],
  'retire-unwire': (_, on) => [`take ${some(on)} out of routing`],
  'retire-stop': (_, on) => [`stop ${some(on)}`],
  confirm: (_, on) => [`compare ${some(on)} and the router’s list with this plan`],
  'remove-old': (_, on) => [`remove ${some(on)}`],
  'release-gpus': (_, on) => [`release GPUs on ${some(on)}`],
};

const some = (names: readonly string[]): string =>
  names.length <= NAMED_MAX
    ? names.join(', ')
    : `${names.slice(0, NAMED_MAX - 1).join(', ')} and ${names.length - NAMED_MAX + 1} more`;

/** GPU runs have no gaps. */
const range = (indices: readonly number[]): string =>
  indices.length > 1 ? `${indices[0]}–${indices.at(-1)}` : `${indices[0]}`;

const span = (names: readonly string[]): string =>
  names.length > 2 ? `${names[0]} … ${names.at(-1)} (${names.length})` : names.join(', ');
