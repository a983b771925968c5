import { isCancellation } from '@temporalio/workflow';
import { byText } from '../src/plan/order.ts';
import type { HostInventory, HostRef, Inventory, ModelPlan, Serving } from '../src/plan/types.ts';
import type { ClusterSpec } from '../src/spec/schema.ts';
import type { Each } from './batch.ts';
import type { Act } from './proxies.ts';

/** One host to look at; `gpus` is what the spec says it has. */
interface Sight {
  readonly ref: HostRef;
  readonly gpus: number;
}

export interface Observed {
  readonly spec: ClusterSpec;
  readonly cluster: string;
  readonly refs: readonly HostRef[];
  readonly model: ModelPlan;
  readonly serving: Serving | null;
  /** Hosts that are given up: nobody looks there. */
  readonly abandon?: readonly string[];
}

/** What every host of the spec shows, and every host where the record still has a part of the cluster. */
export async function observe(each: Each, observed: Observed): Promise<Inventory> {
  const hosts: HostInventory[] = [];
  await each(sightsOf(observed), async (sight, act) => {
    hosts.push(await observeOne(act, observed, sight));
  });
  return inOrder(hosts);
}

/** As `observe`, but a host that cannot be read is told to `lost` and left out: destroying goes on without it. */
export async function observeReachable(
  each: Each,
  observed: Observed,
  lost: (host: string, error: unknown) => void,
): Promise<Inventory> {
  const hosts: HostInventory[] = [];
  await each(sightsOf(observed), async (sight, act) => {
    try {
      hosts.push(await observeOne(act, observed, { ...sight, gpus: 0 })); // A dead driver is no reason to leave an engine behind.
    } catch (error) {
      if (isCancellation(error)) throw error;
      lost(sight.ref.name, error);
    }
  });
  return inOrder(hosts);
}

/** Activities end in any order; the inventory must not tell which. */
const inOrder = (hosts: HostInventory[]): Inventory => ({ hosts: hosts.sort((a, b) => byText(a.host, b.host)) });

function sightsOf({ spec, refs, serving, abandon = [] }: Observed): readonly Sight[] {
  const gpus = new Map(spec.hosts.list.map((host) => [host.name, host.gpus.count]));
  const named = refs.map((ref): Sight => ({ ref, gpus: gpus.get(ref.name) ?? 0 }));
  const former = (serving?.hosts ?? []).filter(({ name }) => !gpus.has(name)).map((ref): Sight => ({ ref, gpus: 0 }));
  return [...named, ...former].filter(({ ref }) => !abandon.includes(ref.name));
}

const observeOne = (
  act: Act,
  { spec, cluster, model, serving }: Observed,
  { ref, gpus }: Sight,
): Promise<HostInventory> =>
  act({ summary: `observe ${ref.name}` }).observeHost({
    ref,
    cluster,
    gpus,
    runtimes: runtimesOn(spec, ref.name, serving),
    model,
    options: spec.rdma.providerLibrary.startsWith('/') ? { providerLibrary: spec.rdma.providerLibrary } : {},
  });

/** Named jobs can be anywhere; Docker is asked only where the spec or the record has a use for it. */
export function runtimesOn(
  spec: ClusterSpec,
  host: string,
  serving: Serving | null,
): readonly ('docker' | 'process')[] {
  const entry = spec.hosts.list.find(({ name }) => name === host);
  const engines = spec.engine.runtime === 'docker' && (entry?.gpus.count ?? 0) > 0;
  const router = 'host' in spec.router && spec.router.host === host && spec.router.runtime === 'docker';
  const before =
    serving?.engines.some(({ runtime, hosts }) => runtime === 'docker' && hosts.includes(host)) ||
    (serving?.router.runtime === 'docker' && serving.router.host === host);
  return engines || router || before ? ['docker', 'process'] : ['process'];
}
