import type { LeaseRow, LeaseList } from '../../operations/questions.ts';
import type { ClusterRecord } from '../../operations/record.ts';
import type { HeldLease } from '../../plan/types.ts';
import { table } from './table.ts';

/**
 * What Temporal here knows of a lease's holder: `serving`, or busy with it; `stopped`, known and holding no engine;
 * `lost`, the cluster's name is known and the installation is another; `unknown`, the cluster is not known.
 */
export type Standing = 'serving' | 'stopped' | 'lost' | 'unknown';

/** `lease list --json`. */
export interface LeasesView {
  readonly leases: readonly (LeaseRow & { readonly known: Standing })[];
  /** Hosts that could not be read, and why. */
  readonly unread: readonly { readonly host: string; readonly message: string }[];
}

type Records = ReadonlyMap<string, ClusterRecord>;

export function standingOf({ cluster, installation }: HeldLease, records: Records): Standing {
  const record = records.get(cluster);
  if (!record) return 'unknown';
  if (record.installation !== installation) return 'lost';
  return record.state === 'none' || record.state === 'stopped' ? 'stopped' : 'serving';
}

export const leasesView = ({ leases, unread }: LeaseList, records: Records): LeasesView => ({
  leases: leases.map((lease) => ({ ...lease, known: standingOf(lease, records) })),
  unread: unread.map(({ host, message }) => ({ host, message })),
});

const WORDS: Record<Standing, string> = {
  serving: 'known here',
  stopped: 'known here, holds no engine',
  lost: 'of another installation than the one known here',
  unknown: 'not known here',
};

export function renderLeases({ leases, unread }: LeasesView): string {
  const rows = leases.map(({ host, gpu, pci, cluster, installation, deployment, takenAt, known }) => [
    host,
    gpu === null ? '?' : String(gpu),
    pci,
    cluster,
    installation,
    String(deployment),
    takenAt,
    WORDS[known],
  ]);
  return [
    rows.length === 0
      ? 'No leases.'
      : table([['HOST', 'GPU', 'PCI', 'CLUSTER', 'INSTALLATION', 'DEPLOYMENT', 'SINCE', 'TEMPORAL'], ...rows]),
    ...unread.map(({ host, message }) => `not read  ${host}: ${message}`),
  ].join('\n');
}

/** `lease break --json`. */
export interface BrokenView {
  readonly broken: readonly LeaseRow[];
  /** Those that were released or taken anew between the look and the act: untouched. */
  readonly changed: readonly LeaseRow[];
}

export function brokenView(asked: readonly LeaseRow[], broken: readonly HeldLease[]): BrokenView {
  const gone = new Set(broken.map(({ pci }) => pci));
  return { broken: asked.filter(({ pci }) => gone.has(pci)), changed: asked.filter(({ pci }) => !gone.has(pci)) };
}

export function renderBroken({ broken, changed }: BrokenView): string {
  const row = ({ host, pci, cluster, installation, deployment, takenAt }: LeaseRow) =>
    `${host} ${pci}: cluster ${cluster}, deployment ${deployment} of installation ${installation}, since ${takenAt}`;
  return [
    ...broken.map((lease) => `broken   ${row(lease)}`),
    ...changed.map((lease) => `changed  ${row(lease)}: not any more, so it was left alone`),
  ].join('\n');
}
