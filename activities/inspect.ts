import { NoAnswer } from '../src/drivers/ask.ts';
import { engineClient } from '../src/drivers/engine-client.ts';
import { routerClient } from '../src/drivers/router-client.ts';
import type { Drivers, Runtime } from '../src/drivers/types.ts';
import type { HostRef } from '../src/plan/types.ts';
import type { SecretRef } from '../src/spec/schema.ts';
import { signal } from './context.ts';
import { redacted, secretOf } from './units.ts';
import { printable, type Redact } from '../src/text/printable.ts';
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

    /** The last lines of units' output, by name, without `secrets`; what cannot be read says so in its place. */
    async unitLogs({
      ref,
      units,
      tailLines,
      secrets,
    }: {
      readonly ref: HostRef;
      readonly units: readonly { readonly name: string; readonly runtime: Runtime['kind'] }[];
      readonly tailLines: number;
      readonly secrets: readonly SecretRef[];
    }): Promise<Record<string, string>> {
      const host = drivers.host(ref, signal());
      const values = await valuesOf(drivers, secrets);
      const rows = units.map(async ({ name, runtime }) => {
        const text = await host
          .runtime(runtime)
          .logs(name, { tailLines })
          .catch((error: unknown) => raw(`(not readable: ${error instanceof Error ? error.message : String(error)})`));
        return [`${name} on ${ref.name}`, printable(redacted(text, values), redact)] as const;
      });
      return Object.fromEntries(await Promise.all(rows));
    },
  };
}

/** Values of those that resolve: one that does not cannot have been given to what ran. */
async function valuesOf(drivers: Drivers, refs: readonly SecretRef[]): Promise<string[]> {
  const found = await Promise.allSettled(refs.map((ref) => drivers.secret(ref)));
  return found.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
}
