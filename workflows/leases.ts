import type { LeaseList, LeaseRow } from '../src/operations/questions.ts';
import type { Failed } from '../src/operations/outcomes.ts';
import type { BreakRequest } from '../src/operations/requests.ts';
import type { HeldLease } from '../src/plan/types.ts';
import { hostRef } from '../src/plan/host-ref.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';
import { eachAt } from './batch.ts';
import { failedOf, refusal } from './failed.ts';
import { impatient } from './inspect.ts';
import { needEntity } from './operation.ts';
import { activitiesAt, presenceAt } from './proxies.ts';

/** The leases on the hosts of a spec, or on those named. */
export async function leases({
  spec,
  hosts,
}: {
  readonly spec: ClusterSpec;
  readonly hosts?: readonly string[];
}): Promise<LeaseList> {
  await presenceAt(spec.site).present();
  const asked = spec.hosts.list.filter(({ name }) => hosts?.includes(name) ?? true);
  const found = new Map<string, readonly LeaseRow[]>();
  const unread = new Map<string, Failed>();
  await eachAt(impatient(spec))(asked, async (host, act) => {
    try {
      found.set(host.name, await act({ summary: `leases of ${host.name}` }).listLeases({ ref: hostRef(spec, host) }));
    } catch (error) {
      const failed = failedOf(error, 'leases');
      unread.set(host.name, { ...failed, host: host.name });
    }
  });
  return {
    leases: asked.flatMap(({ name }) => found.get(name) ?? []),
    unread: asked.flatMap(({ name }) => unread.get(name) ?? []),
  };
}

/**
 * Breaks leases that nobody will release; a child of their cluster's entity, so that no operation runs beside it, and who
 * did it and why stays in Temporal's list.
 */
export async function breakLeases(request: BreakRequest): Promise<readonly HeldLease[]> {
  needEntity({ cluster: request.leases[0]?.cluster ?? '' });
  const { spec, actor, reason, force } = request;
  const time = new Date().toISOString();
  await presenceAt(spec.site).present();
  const host = spec.hosts.list.find(({ name }) => name === request.host);
  if (!host) throw refusal('USAGE', `the spec has no host ${request.host}`, 'Name a host of hosts.list.');
  const summary = `break ${request.leases.length} leases on ${host.name}`;
  return await activitiesAt(spec)({ summary }).breakLeasesOn({
    ref: hostRef(spec, host),
    leases: request.leases,
    note: { time, actor, reason },
    force,
  });
}
