import type { EndedBy, Failed } from '../../operations/outcomes.ts';
import type { ClusterRecord, DeploymentRecord } from '../../operations/record.ts';
import type { Seen } from '../look.ts';
import type { Difference } from '../../facts/host-picture.ts';
import { byWhom, failedLines, measuredLine, remainsLines } from './operation.ts';
import type { Shown } from './shown.ts';
import { standstillLines } from './standstill.ts';
import { duration, table } from './table.ts';

/** `status --json`: stays stable, more fields are welcome. */
export interface StatusView {
  readonly cluster: string;
  readonly state: SeenState;
  /** Why it is not as recorded, each with what mends it. */
  readonly why: readonly string[];
  /** What could not be learned. */
  readonly unknown: readonly string[];
  /** What serves, which may be older than what was tried last. */
  readonly serving: { readonly deployment: number; readonly model: string; readonly specDigest: string } | null;
  /** What was tried last. */
  readonly deployment: number;
  readonly outcome: DeploymentRecord['outcome'];
  readonly operation: string;
  readonly endedBy?: EndedBy;
  readonly stage: string;
  readonly running: {
    readonly operation: string;
    readonly deployment: number;
    readonly stage: string;
    readonly by: string;
    /** ISO 8601. */
    readonly since: string;
  } | null;
  /** `answers` is null where that could not be learned. */
  readonly router: { readonly url: string; readonly answers: boolean | null } | null;
  readonly engines: readonly {
    readonly name: string;
    readonly role: string;
    readonly hosts: readonly string[];
    readonly url: string;
    readonly healthy: boolean | null;
  }[];
  readonly failed?: Failed;
  readonly leftBehind: readonly string[];
  /** How the hosts differ from before the last deployment, or from nothing after a destroy. */
  readonly difference: readonly Difference[];
  /** Images and complete weights that stay on the hosts as a cache. */
  readonly kept: readonly string[];
  /** Hosts that the last deployment gave up, with what was known to be on them. */
  readonly abandoned: readonly string[];
  /** One that takes over as soon as the running one has yielded. */
  readonly waiting: { readonly operation: string; readonly deployment: number; readonly by: string } | null;
}

/** A record's state, or what is seen where that is worse. */
type SeenState = ClusterRecord['state'] | 'blocked';

function seenState(record: ClusterRecord, { health, standstill }: Seen): SeenState {
  if (standstill?.kind === 'blocked') return 'blocked';
  const sick = Object.values(health?.engines ?? {}).includes(false) || Boolean(health?.router);
  return record.state === 'serving' && sick ? 'degraded' : record.state;
}

/** What is wrong beside what the record says. */
function whyNot({ cluster, serving }: ClusterRecord, { health, standstill }: Seen): readonly string[] {
  const sick = Object.entries(health?.engines ?? {}).filter(([, healthy]) => healthy === false);
  const mends = `\`tandem deploy FILE\` with the spec of ${cluster} goes on from what the hosts show`;
  return [
    ...standstillLines(standstill).map((line) => line.trim().replaceAll(/ {2,}/g, ' ')),
    ...(health?.router && serving ? [`the router at ${serving.router.url}: ${health.router}; ${mends}`] : []),
    ...(sick.length > 0 ? [`${sick.map(([name]) => name).join(', ')} do not answer; ${mends}`] : []),
  ];
}

/** Whether a cluster serves as its record says, as far as all of it could be seen. */
export const isAsRecorded = ({ state, why, unknown, engines, router }: StatusView): boolean =>
  state === 'serving' &&
  why.length === 0 &&
  unknown.length === 0 &&
  router?.answers === true &&
  engines.every(({ healthy }) => healthy === true);

export function statusView(record: ClusterRecord, seen: Seen): StatusView {
  const { stage, health, unknown } = seen;
  const last = record.deployments.at(-1);
  const engines = (record.serving?.engines ?? []).map(({ name, role, hosts, url }) => ({
    name,
    role,
    hosts,
    url,
    healthy: health?.engines[name] ?? null,
  }));
  const answers = health === undefined || health.router === null ? null : health.router === '';
  return {
    cluster: record.cluster,
    state: seenState(record, seen),
    why: whyNot(record, seen),
    unknown,
    serving: record.serving
      ? {
          deployment: record.serving.deployment,
          model: record.serving.model,
          specDigest: record.serving.specDigest,
        }
      : null,
    deployment: last?.deployment ?? 0,
    outcome: last?.outcome ?? 'skipped',
    operation: last?.operation ?? '',
    ...(last?.endedBy ? { endedBy: last.endedBy } : {}),
    stage,
    running: record.running
      ? {
          operation: record.running.operation,
          deployment: record.running.deployment,
          stage,
          by: record.running.by,
          since: record.running.since,
        }
      : null,
    router: record.serving ? { url: record.serving.router.url, answers } : null,
    engines,
    ...(last?.failed ? { failed: last.failed } : {}),
    leftBehind: last?.leftBehind ?? [],
    difference: last?.difference ?? [],
    kept: last?.kept ?? [],
    abandoned: last?.abandoned ?? [],
    waiting: record.waiting
      ? { operation: record.waiting.operation, deployment: record.waiting.deployment, by: record.waiting.by }
      : null,
  };
}

export function renderStatus(view: StatusView, shown: Shown = {}): string {
  const { serving } = view;
  const lines = [`${view.cluster}  ${view.state}`];
  if (serving)
    lines.push(`serving    deployment ${serving.deployment}: ${serving.model}, ${serving.specDigest.slice(0, 19)}`);
  if (view.deployment > 0)
    lines.push(`last       ${view.operation} ${view.deployment}: ${view.outcome}${byWhom(view.endedBy)}`);
  lines.push(...view.why.map((why) => `why        ${why}`), ...view.unknown.map((what) => `unknown    ${what}`));
  if (view.running)
    lines.push(
      `running    ${view.running.operation} ${view.running.deployment} by ${view.running.by} since ${view.running.since}, at ${view.running.stage || 'its start'}`,
    );
  if (view.waiting)
    lines.push(`waiting    ${view.waiting.operation} ${view.waiting.deployment} by ${view.waiting.by}, to take over`);
  if (view.router)
    lines.push(
      `router     ${view.router.url}${view.router.answers === null ? '  unknown' : view.router.answers ? '' : '  NOT HEALTHY'}`,
    );
  if (view.engines.length > 0)
    lines.push(
      table(
        view.engines.map(({ name, role, hosts, url, healthy }) => [
          name,
          role,
          hosts.join(','),
          url,
          healthy === null ? 'unknown' : healthy ? 'healthy' : 'NOT HEALTHY',
        ]),
      ),
    );
  if (view.failed) lines.push(...failedLines(view.failed));
  lines.push(...remainsLines(view, shown));
  return lines.join('\n');
}

/** `list --json`. */
export interface ListView {
  readonly cluster: string;
  readonly state: string;
  readonly deployment: number;
  readonly model: string;
  readonly prefill: number;
  readonly decode: number;
  readonly router: { readonly url: string } | null;
}

export function listView(record: ClusterRecord, seen: Seen): ListView {
  const engines = record.serving?.engines ?? [];
  return {
    cluster: record.cluster,
    state: seenState(record, seen),
    deployment: record.deployments.at(-1)?.deployment ?? 0,
    model: record.serving?.model ?? '',
    prefill: engines.filter(({ role }) => role === 'prefill').length,
    decode: engines.filter(({ role }) => role === 'decode').length,
    router: record.serving ? { url: record.serving.router.url } : null,
  };
}

export function renderList(views: readonly ListView[]): string {
  if (views.length === 0) return 'No clusters yet. `tandem deploy FILE` makes one.';
  return table([
    ['CLUSTER', 'STATE', 'DEPLOYMENT', 'PREFILL', 'DECODE', 'ROUTER', 'MODEL'],
    ...views.map(({ cluster, state, deployment, prefill, decode, router, model }) => [
      cluster,
      state,
      String(deployment),
      String(prefill),
      String(decode),
      router?.url ?? '-',
      model,
    ]),
  ]);
}

/** `history --json`, newest first. */
export const historyView = (record: ClusterRecord): readonly DeploymentRecord[] => [...record.deployments].reverse();

export function renderHistory(entries: readonly DeploymentRecord[], shown: Shown = {}): string {
  return entries
    .flatMap((entry) => [
      `${entry.deployment}  ${entry.operation}  ${entry.outcome}  ${entry.startedAt}${entry.finishedAt ? `  ${duration(entry.startedAt, entry.finishedAt)}` : ''}  by ${entry.actor}${entry.reason ? `: ${entry.reason}` : ''}  ${entry.specDigest.slice(0, 19)}`,
      ...(entry.endedBy ? [`  ended    ${byWhom(entry.endedBy).trim()}`] : []),
      ...(entry.failed ? failedLines(entry.failed) : []),
      ...remainsLines(entry, shown),
      ...(entry.measured ? [measuredLine(entry.measured)] : []),
    ])
    .join('\n');
}
