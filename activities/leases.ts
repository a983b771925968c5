import type { LeaseRow } from '../src/operations/questions.ts';
import { LABELS, type BreakNote, type Drivers, type Host } from '../src/drivers/types.ts';
import type { HeldLease, HostRef } from '../src/plan/types.ts';
import { DeployError } from '../src/errors.ts';
import { gpusOf } from '../src/facts/inventory.ts';
import { byText } from '../src/plan/order.ts';
import { signal } from './context.ts';
import { askHost } from './rocm.ts';
import { raw } from '../src/text/raw.ts';

const DOCKER_TIMEOUT_MS = 10_000;

/** Leases of every team on a host: seeing them, and breaking those that nobody will ever release. */
export function createLeaseActivities(drivers: Drivers) {
  return {
    /** Every lease on a host, whoever holds it. */
    async listLeases({ ref }: { readonly ref: HostRef }): Promise<readonly LeaseRow[]> {
      const host = drivers.host(ref, signal());
      const leases = await host.leases.list();
      if (leases.length === 0) return [];
      const indices = new Map(gpusOf(await askHost(host, {})).map(({ pci, index }) => [pci, index]));
      return leases
        .map((lease) => ({ host: ref.name, gpu: indices.get(lease.pci) ?? null, ...lease }))
        .toSorted((a, b) => byText(a.pci, b.pci));
    },

    /**
     * Breaks leases as they were seen, and keeps the reason beside them. Unless forced it refuses while a unit of a
     * lease's cluster runs on the host. Returns those that are broken. Errors: LEASE_HELD naming what runs.
     */
    async breakLeasesOn({
      ref,
      leases,
      note,
      force,
    }: {
      readonly ref: HostRef;
      readonly leases: readonly HeldLease[];
      readonly note: BreakNote;
      readonly force: boolean;
    }): Promise<readonly HeldLease[]> {
      const host = drivers.host(ref, signal());
      const running = force ? [] : await runningOf(host, new Set(leases.map(({ cluster }) => cluster)));
      if (running.length > 0) throw stillRuns(ref.name, running);
      return await host.leases.breakHeld(leases, note);
    },
  };
}

async function runningOf(host: Host, clusters: ReadonlySet<string>): Promise<readonly string[]> {
  const docker = await host.run({ argv: ['sh', '-c', 'command -v docker'], timeoutMs: DOCKER_TIMEOUT_MS });
  const runtimes = docker.exitCode === 0 ? (['docker', 'process'] as const) : (['process'] as const);
  const units = await Promise.all(
    runtimes.flatMap((kind) => [...clusters].map((cluster) => host.runtime(kind).find({ [LABELS.cluster]: cluster }))),
  );
  return units
    .flat()
    .filter(({ running }) => running)
    .map(({ name }) => name)
    .toSorted();
}

const stillRuns = (host: string, units: readonly string[]) =>
  new DeployError({
    code: 'LEASE_HELD',
    message: `${host}: ${units.join(', ')} ${units.length === 1 ? 'runs' : 'run'} on the GPUs of the cluster whose leases would be broken; no lease was`,
    remedy: `End it first: \`tandem destroy NAME --spec FILE\` where its record is lost; or give --force, and what runs goes on without its leases.`,
    retryable: false,
    host,
    evidence: raw(units.join('\n')),
  });
