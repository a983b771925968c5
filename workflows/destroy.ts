import type { Remains } from '../src/operations/ledger.ts';
import { hostRef, knownRefs } from '../src/plan/host-ref.ts';
import { modelPlan, usedInPlace } from '../src/plan/model.ts';
import type { HostRef, RemovalPlan } from '../src/plan/types.ts';
import type { Step } from '../src/saga/saga.ts';
import type { OperationInput } from './messages.ts';
import type { OperationResult } from '../src/operations/outcomes.ts';
import { observeReachable } from './observe.ts';
import { conduct, type Operation } from './operation.ts';
import { presenceAt, type Act } from './proxies.ts';
import { bookOf, leaveRouted, minutesOf, type Book } from './steps/context.ts';
import { removeUnit } from './steps/engines.ts';
import { nothingLeft } from './steps/picture.ts';

/**
 * Takes a cluster down. It has no undo: it goes on past a failure, ends stuck naming what is left, and run again it
 * finishes; cancelled or taken over, it stops between steps. Complete weights and images stay on the hosts as a cache.
 */
export async function destroy(given: OperationInput): Promise<OperationResult> {
  return conduct(given, async (operation, input) => {
    const { spec, cluster } = input;
    await operation.step('reach-worker', () => presenceAt(spec.site).present());
    const lost = new Set<string>();
    const plan = await operation.step('observe', () =>
      whatIsThere(input, operation, (host, error) => {
        lost.add(host);
        operation.left(host, error);
      }),
    );
    const { installation } = plan;
    operation.warnings(plan.strangers.map((stranger) => `left alone, not of this installation: ${stranger}`));
    const refs = hostsOf(input).filter(({ name }) => !lost.has(name));
    const hosts = new Map(refs.map((ref) => [ref.name, ref]));
    const ofKind = (wanted: RemovalPlan['kind']) => plan.removals.filter(({ kind }) => kind === wanted);
    const book = bookOf<Remains>({ held: [], routed: [] });
    const at: Destruction = { input: { ...input, installation }, operation, plan, hosts, ...book };
    await operation.forward(
      [
        unwireExternal(at),
        remove(at, 'stop-router', ofKind('router')),
        remove(at, 'stop-engines', ofKind('engine')),
        dropPartial(at),
        {
          name: 'release-gpus',
          run: () =>
            operation.each(plan.leases, async ({ host, pci }, act) => {
              if (book.ledger().held.includes(host)) return;
              await act({ summary: `release GPUs of ${host}` }).releaseGpus({
                ref: hosts.get(host)!,
                pci,
                owner: { cluster, installation },
              });
            }),
        },
        ...(input.purge ? [purge(at)] : []),
        { name: 'confirm', run: () => nothingLeft(at.input, operation, refs) },
      ],
      { stoppable: true },
    );
    return { outcome: 'succeeded', serving: null, abandoned: abandonedOf(input) };
  });
}

type DestroyPlan = Awaited<ReturnType<ReturnType<Act>['planDestruction']>>;

interface Destruction extends Book<Remains> {
  readonly input: OperationInput;
  readonly operation: Operation;
  readonly plan: DestroyPlan;
  readonly hosts: ReadonlyMap<string, HostRef>;
}

/** Every host that the spec or the record knows and that is not given up. */
const hostsOf = ({ spec, serving, abandon }: OperationInput): readonly HostRef[] =>
  [...knownRefs(spec, serving?.hosts ?? []).values()].filter(({ name }) => !abandon.includes(name));

/** What the record knows to be on hosts that are given up. */
const abandonedOf = ({ abandon, serving }: OperationInput): string[] =>
  abandon.map((host) => {
    const units = (serving?.engines ?? []).filter(({ hosts }) => hosts.includes(host)).map(({ name }) => name);
    if (serving?.router.host === host && serving.router.name) units.push(serving.router.name);
    return `${host}: ${units.length > 0 ? units.join(', ') : 'nothing that the record knows of'}`;
  });

/** What hosts show of this cluster; `lost` is told of those that cannot be asked. */
async function whatIsThere(
  input: OperationInput,
  operation: Operation,
  lost: (host: string, error: unknown) => void,
): Promise<DestroyPlan> {
  const { spec, cluster, installation, deployment, serving, abandon, recorded } = input;
  const refs = spec.hosts.list.map((host) => hostRef(spec, host));
  const observed = { spec, cluster, refs, model: modelPlan(spec), serving, abandon };
  const inventory = await observeReachable(operation.each, observed, lost);
  return await operation.act({ summary: 'plan the destruction' }).planDestruction({
    cluster,
    spec,
    inventory,
    // Without a record of its own it takes what the hosts show.
    ...(recorded ? { installation, deployment } : {}),
  });
}

/** A router of others keeps running: its list must not keep engines that are about to end. */
function unwireExternal(at: Destruction): Step {
  const { operation, hosts } = at;
  const { spec } = at.input;
  const { external, removals } = at.plan;
  const { drainTimeoutSeconds } = spec.upgrade;
  return {
    name: 'unwire-engines',
    run: async () => {
      if (!external) return;
      await operation.each(removals, async ({ name, url, parts }, act) => {
        if (url === undefined) return;
        try {
          await act({ summary: `take ${name} out of routing`, minutes: minutesOf(drainTimeoutSeconds) }).unwireEngine({
            router: external,
            engine: { name, url, ...(spec.engine.apiKey ? { apiKey: spec.engine.apiKey } : {}) },
            ref: hosts.get(parts[0]!.host)!,
            drainTimeoutSeconds,
          });
        } catch (error) {
          leaveRouted(at, name, parts);
          throw error;
        }
      });
    },
  };
}

function remove(at: Destruction, name: string, removals: readonly RemovalPlan[]): Step {
  const { input, operation, hosts } = at;
  const { cluster, installation, spec } = input;
  const timeoutSeconds = spec.engine.stopTimeoutSeconds;
  const parts = removals.flatMap(({ name: unit, runtime, deployment, parts: rows }) =>
    rows.flatMap(({ host, rank }) => {
      const ref = hosts.get(host);
      return ref ? [{ name: unit, runtime, deployment, rank, cluster, installation, ref }] : [];
    }),
  );
  return {
    name,
    run: () =>
      operation.each(parts, async (unit, act) => {
        await removeUnit(act, unit, timeoutSeconds, at);
      }),
  };
}

/** What would stay for a next deployment, once nothing of this one uses it. */
function purge({ input, operation, hosts }: Destruction): Step {
  const { spec, cluster } = input;
  const { path } = modelPlan(spec);
  return {
    name: 'purge',
    run: () =>
      operation.each([...hosts.values()], async (ref, act) => {
        const { usedBy } = await act({ summary: `purge ${ref.name}`, minutes: 15 }).purgeHost({
          ref,
          cluster,
          ...(usedInPlace(spec.model) ? {} : { path }),
        });
        if (usedBy !== undefined)
          operation.warnings([`${ref.name}: the weights stay, since ${usedBy} leases GPUs there and may read them`]);
      }),
  };
}

/** Of copies that were cut by a take-over or lost with their Temporal server; complete weights stay. */
function dropPartial({ input, operation, hosts }: Destruction): Step {
  const { spec, cluster, installation } = input;
  const { path } = modelPlan(spec);
  const refs = usedInPlace(spec.model) ? [] : [...hosts.values()];
  return {
    name: 'drop-partial-weights',
    run: () =>
      operation.each(refs, async (ref, act) => {
        await act({ summary: `drop partial weights on ${ref.name}` }).dropPartial({ ref, path, cluster, installation });
      }),
  };
}
