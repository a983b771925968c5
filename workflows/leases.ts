import type { LeaseRow } from '../activities/leases.ts';
import type { HeldLease } from '../src/drivers/types.ts';
import { hostRef } from '../src/plan/host-ref.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';
import { eachAt } from './batch.ts';
import { failedOf, refusal } from './failed.ts';
import { impatient } from './inspect.ts';
import type { Failed } from './messages.ts';
import { activitiesAt, presenceAt } from './proxies.ts';

/** Every lease on the hosts of a spec, by host and address; hosts that could not be read are named. */
export interface LeaseList {
  readonly leases: readonly LeaseRow[];
  readonly unread: readonly Failed[];
}

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

export interface BreakRequest {
  readonly spec: ClusterSpec;
  readonly host: string;
  /** As they were seen; one that changed since stays. */
  readonly leases: readonly HeldLease[];
  readonly actor: string;
  readonly reason: string;
  readonly force: boolean;
  /** ISO 8601. */
  readonly notAfter: string;
}

/** Breaks leases that nobody will release; a workflow of its own, so that who did it and why stays in Temporal's list. */
export async function breakLeases(request: BreakRequest): Promise<readonly HeldLease[]> {
  const { spec, actor, reason, force, notAfter } = request;
  const time = new Date().toISOString();
  if (time > notAfter)
    throw refusal('OPERATION_LATE', `the request was valid until ${notAfter}; no lease was broken`, 'Ask again.');
  if (reason.trim() === '') throw refusal('USAGE', 'a lease is not broken without a reason', 'Give --reason.');
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
