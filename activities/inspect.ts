import type { HostLogs } from '../src/operations/questions.ts';
import { NoAnswer } from '../src/drivers/ask.ts';
import { engineClient } from '../src/drivers/engine-client.ts';
import { routerClient } from '../src/drivers/router-client.ts';
import { LABELS, type Drivers, type Runtime } from '../src/drivers/types.ts';
import type { HostRef } from '../src/plan/types.ts';
import type { SecretRef } from '../src/spec/schema.ts';
import { signal } from './context.ts';
import { redacted, secretOf, valuesOf } from './units.ts';
import { cutStart, printable, type Redact } from '../src/text/printable.ts';
import { raw } from '../src/text/raw.ts';

/** What people ask to see of a running cluster. */
export function createInspectActivities(drivers: Drivers, redact: Redact) {
  return {
    /** Whether each engine of a host answers and generates, by name. */
    async engineHealth({
      ref,
      engines,
      apiKey,
    }: {
      readonly ref: HostRef;
      readonly engines: readonly { readonly name: string; readonly url: string }[];
      readonly apiKey?: SecretRef;
    }): Promise<Record<string, boolean>> {
      const { fetch } = drivers.host(ref, signal());
      const key = await secretOf(drivers, apiKey);
      const rows = engines.map(async ({ name, url }) => {
        const healthy = await engineClient({ fetch, url, key })
          .healthStatus()
          .then(
            (status) => status === 200,
            () => false,
          );
        return [name, healthy] as const;
      });
      return Object.fromEntries(await Promise.all(rows));
    },

    /** What keeps a router from serving these engines; empty where nothing does. `ref` is left out for one of others. */
    async routerHealth({
      ref,
      url,
      key,
      engines,
    }: {
      readonly ref?: HostRef;
      readonly url: string;
      readonly key?: SecretRef;
      readonly engines: readonly { readonly name: string; readonly url: string }[];
    }): Promise<string> {
      const fetch = ref ? drivers.host(ref, signal()).fetch : drivers.fetch;
      try {
        const listed = await routerClient({ fetch, url, key: await secretOf(drivers, key) }).list();
        const ready = new Set(listed.filter((entry) => entry.ready).map((entry) => entry.url));
        const missing = engines.filter((engine) => !ready.has(engine.url)).map(({ name }) => name);
        return missing.length === 0 ? '' : `it does not list ${missing.join(', ')} as ready`;
      } catch (error) {
        if (!(error instanceof NoAnswer)) throw error;
        return `it does not answer: ${printable(raw(error.message), redact)}`;
      }
    },

    /**
     * The last lines of a cluster's logs on a host, of what runs there, what has ended, and what an undo removed; and the
     * names of all that has one.
     */
    async hostLogs({ ref, cluster, installation, runtimes, secrets, ...asked }: HostLogsAsked): Promise<HostLogs> {
      const { tailLines, charactersMax, deployment } = asked;
      const host = drivers.host(ref, signal());
      const labels = { [LABELS.cluster]: cluster, [LABELS.installation]: installation };
      const [kept, ...units] = await Promise.all([
        deployment === undefined ? [] : host.keptLogs.list(cluster),
        ...runtimes.map((kind) => host.runtime(kind).find(labels)),
      ]);
      const all = [
        ...runtimes.flatMap((kind, index) =>
          units[index]!.map(({ name, labels: given }) => ({
            name,
            deployment: Number(given[LABELS.deployment]),
            read: () => host.runtime(kind).logs(name, { tailLines }),
          })),
        ),
        ...kept.map((log) => ({ ...log, read: () => host.keptLogs.read(log, { tailLines }) })),
      ].filter((log) => deployment === undefined || log.deployment === deployment);
      const wanted = all.filter(({ name }) => isMeant(cluster, name, asked.unit));
      const values = await valuesOf(drivers, secrets);
      const rows = wanted.map(async ({ name, read }) => {
        const text = await read().catch((error: unknown) => {
          signal().throwIfAborted();
          return raw(`(not readable: ${error instanceof Error ? error.message : String(error)})`);
        });
        const shown = printable(redacted(text, values), redact);
        return [`${name} on ${ref.name}`, cutStart(shown, Math.floor(charactersMax / wanted.length))] as const;
      });
      return { names: all.map(({ name }) => name), logs: Object.fromEntries(await Promise.all(rows)) };
    },
  };
}

interface HostLogsAsked {
  readonly ref: HostRef;
  readonly cluster: string;
  readonly installation: string;
  /** Where units of the cluster may be. */
  readonly runtimes: readonly Runtime['kind'][];
  /** Only this unit, by its name or as "prefill-0" or "router". */
  readonly unit?: string;
  /** Only what this deployment made, and then what was kept of it too. */
  readonly deployment?: number;
  /** Of each log. */
  readonly tailLines: number;
  /** Of all logs of the host together. */
  readonly charactersMax: number;
  readonly secrets: readonly SecretRef[];
}

const isMeant = (cluster: string, name: string, wanted: string | undefined): boolean =>
  wanted === undefined || name === wanted || name.startsWith(`tandem-${cluster}-${wanted}-`);
