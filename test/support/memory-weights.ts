import type { Host, UnitSpec } from '../../src/drivers/types.ts';
import { LABELS } from '../../src/drivers/types.ts';
import type { AnyCopyOwner, CopyOwner, Weights } from '../../src/drivers/weights/types.ts';
import { beginCopy, endCopy, type MemoryHost, type Surroundings } from './memory-host.ts';

/** Weights of hosts that are only state: a copy is a job that ends when it is looked at a second time. */
export function memoryWeights(site: Surroundings): Weights {
  const through = <T>(host: Host, method: string, signal: AbortSignal | undefined, act: (at: MemoryHost) => T) => {
    const at = site.hosts.get(host.ref.name)!;
    return site.through({ host: at.name, method, changes: method !== 'weights.look' }, signal, () => act(at));
  };
  return {
    async stage(host, { path: toPath, copy, owner }, { signal, progress }) {
      const path = await host.expand(toPath);
      const there = await through(host, 'weights.look', signal, ({ weights }) => weights.get(path));
      if (!copy || there !== undefined) return { bytes: there ?? 1, files: 1, reused: true };
      const partial = `${path}.partial-${owner.cluster}-${owner.deployment}-${owner.installation}`;
      await through(host, 'weights.begin', signal, (at) => beginCopy(site, at, jobOf(owner), partial));
      progress({ host: host.ref.name, bytes: 0, totalBytes: 1 });
      await through(host, 'weights.end', signal, (at) => endCopy(at, jobOf(owner).name, partial, path));
      return { bytes: 1, files: 1, reused: false };
    },
    async halt(host, _path, owner) {
      await through(host, 'weights.halt', undefined, ({ units }) => {
        const job = units.get(jobOf(owner).name);
        if (job) job.running = false;
      });
    },
    async drop(host, toPath, owner) {
      const path = await host.expand(toPath);
      return await through(host, 'weights.drop', undefined, (at) => {
        for (const [name, { labels }] of at.units) if (isOf(labels, owner)) at.units.delete(name);
        const { cluster, installation, deployment } = owner;
        const begins = `${path}.partial-${cluster}-${deployment === undefined ? '' : `${deployment}-`}`;
        for (const partial of at.partial)
          if (partial.startsWith(begins) && partial.endsWith(`-${installation}`)) at.partial.delete(partial);
        const bytes = at.weights.get(path);
        return bytes === undefined ? {} : { kept: { path, bytes } };
      });
    },
    pin: async (source) => source,
  };
}

function jobOf({ cluster, installation, deployment }: CopyOwner): UnitSpec {
  return {
    name: `tandem-${cluster}-weights-0-${deployment}`,
    labels: {
      [LABELS.kind]: 'weights',
      'tandem.weights': cluster,
      [LABELS.installation]: installation,
      [LABELS.deployment]: String(deployment),
    },
    argv: ['sh', 'program.sh'],
    env: {},
    stopTimeoutSeconds: 10,
  };
}

const isOf = (labels: UnitSpec['labels'], { cluster, installation, deployment }: AnyCopyOwner): boolean =>
  labels['tandem.weights'] === cluster &&
  labels[LABELS.installation] === installation &&
  (deployment === undefined || labels[LABELS.deployment] === String(deployment));
