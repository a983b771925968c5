import { isNoop } from '../../plan/noop.ts';
import type { Change, EnginePlan, Plan } from '../../plan/types.ts';
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

/** The steps of a deploy, those left out that have nothing to do. */
function order(plan: Plan): string[] {
  const starting = (engines: readonly EnginePlan[]) => engines.filter(({ action }) => action !== 'keep');
  const names = (rows: readonly { readonly name: string }[]) => some(rows.map(({ name }) => name));
  const first = plan.removals.filter((row) => row.first);
  const last = plan.removals.filter((row) => !row.first);
  const tests = plan.rounds.flatMap((round) => round.tests);
  const slowest = Math.min(...tests.map(({ minGbps }) => minGbps));
  const leasing = plan.changes.filter(({ kind, action }) => kind === 'lease' && action === 'create');
  const copies = plan.staging.filter(({ copy }) => copy);
  const { router } = plan;
  const steps = [
    first.length > 0 && `stop ${names(first)}: GPUs or ports are needed`,
    leasing.length > 0 && `lease GPUs on ${some(leasing.map(({ name }) => name))}`,
    starting([...plan.prefill, ...plan.decode]).length > 0 && 'check GPUs, drivers, RDMA and ports of their hosts',
    tests.length > 0 &&
      `measure ${tests.length} RDMA links in ${plan.rounds.length} rounds, at least ${slowest} Gb/s each`,
    ...plan.images.map(({ reference, hosts }) => `fetch ${reference} on ${some(hosts)} where it is missing`),
    copies.length > 0 && `stage ${plan.model.id} to ${plan.model.path} on ${some(copies.map(({ host }) => host))}`,
    starting(plan.prefill).length > 0 && `start ${names(starting(plan.prefill))}`,
    starting(plan.decode).length > 0 && `start ${names(starting(plan.decode))}`,
    router.kind === 'managed' &&
      router.action !== 'keep' &&
      (router.replaces.length > 0
        ? `stop ${router.replaces.join(', ')}, start ${router.name}`
        : `start ${router.name}`),
    starting([...plan.prefill, ...plan.decode]).length > 0 && `register them at the router under ${plan.kvGeneration}`,
    plan.pairs.length > 0 && `prove ${plan.pairs.length} prefill-decode pairs, then requests through the router`,
    last.length > 0 && `stop ${names(last)}`,
    plan.releases.length > 0 && `release GPUs on ${some(plan.releases.map(({ host }) => host))}`,
  ].filter((step) => step !== false);
  return steps.map((step, at) => `${String(at + 1).padStart(2)}. ${step}`);
}

const some = (names: readonly string[]): string =>
  names.length <= NAMED_MAX
    ? names.join(', ')
    : `${names.slice(0, NAMED_MAX - 1).join(', ')} and ${names.length - NAMED_MAX + 1} more`;

/** GPU runs have no gaps. */
const range = (indices: readonly number[]): string =>
  indices.length > 1 ? `${indices[0]}–${indices.at(-1)}` : `${indices[0]}`;

const span = (names: readonly string[]): string =>
  names.length > 2 ? `${names[0]} … ${names.at(-1)} (${names.length})` : names.join(', ');
