import type { ClusterRecord, DeploymentRecord, Failed } from '../../../workflows/messages.ts';
import type { Difference } from '../../facts/host-picture.ts';
import { failedLines, measuredLine, remainsLines } from './operation.ts';
import type { Shown } from './shown.ts';
import { duration, table } from './table.ts';

/** `status --json`: stays stable, more fields are welcome. */
export interface StatusView {
  readonly cluster: string;
  readonly state: ClusterRecord['state'];
  readonly deployment: number;
  readonly outcome: DeploymentRecord['outcome'];
  readonly stage: string;
  readonly running: {
    readonly operation: string;
    readonly deployment: number;
    readonly stage: string;
    readonly by: string;
    /** ISO 8601. */
    readonly since: string;
  } | null;
  readonly router: { readonly url: string } | null;
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

/** `health` by engine name; null where it could not be read. */
export function statusView(
  record: ClusterRecord,
  stage: string,
  health: Readonly<Record<string, boolean | null>>,
): StatusView {
  const last = record.deployments.at(-1);
  const engines = (record.serving?.engines ?? []).map(({ name, role, hosts, url }) => ({
    name,
    role,
    hosts,
    url,
    healthy: health[name] ?? null,
  }));
  const sick = engines.some(({ healthy }) => healthy === false);
  return {
    cluster: record.cluster,
    state: record.state === 'serving' && sick ? 'degraded' : record.state,
    deployment: last?.deployment ?? 0,
    outcome: last?.outcome ?? 'skipped',
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
    router: record.serving ? { url: record.serving.router.url } : null,
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
  const lines = [`${view.cluster}  ${view.state}  deployment ${view.deployment} ${view.outcome}`];
  if (view.running)
    lines.push(
      `running    ${view.running.operation} ${view.running.deployment} by ${view.running.by} since ${view.running.since}, at ${view.running.stage || 'its start'}`,
    );
  if (view.waiting)
    lines.push(`waiting    ${view.waiting.operation} ${view.waiting.deployment} by ${view.waiting.by}, to take over`);
  if (view.router) lines.push(`router     ${view.router.url}`);
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

export function listView(record: ClusterRecord): ListView {
  const engines = record.serving?.engines ?? [];
  return {
    cluster: record.cluster,
    state: record.state,
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
      ...(entry.failed ? failedLines(entry.failed) : []),
      ...remainsLines(entry, shown),
      ...(entry.measured ? [measuredLine(entry.measured)] : []),
    ])
    .join('\n');
}
