import { ApplicationFailure } from '@temporalio/workflow';
import { hostRef } from '../src/plan/host-ref.ts';
import { modelPlan } from '../src/plan/model.ts';
import type { HostRef, RemovalPlan } from '../src/plan/types.ts';
import type { Step } from '../src/saga/saga.ts';
import type { OperationInput, OperationResult } from './messages.ts';
import { observeReachable } from './observe.ts';
import { conduct, type Operation } from './operation.ts';
import { activitiesAt, presenceAt, type Act } from './proxies.ts';
import { minutesOf } from './steps/context.ts';

/**
 * Takes a cluster down. It has no undo: it goes on past a failure, ends stuck naming what is left, and run again it
 * finishes; cancelled, it stops between steps. Complete weights and images stay on the hosts as a cache.
 */
export async function destroy(input: OperationInput): Promise<OperationResult> {
  return conduct(input, async (operation) => {
    const { spec, cluster, installation } = input;
    const act = activitiesAt(spec);
    await operation.step('reach-worker', () => presenceAt(spec.site).present());
    const plan = await operation.step('observe', () => whatIsThere(input, act, operation, operation.left));
    operation.warnings(plan.strangers.map((stranger) => `left alone, not of this installation: ${stranger}`));
    const hosts = new Map(plan.hosts.map((ref) => [ref.name, ref]));
    const ofKind = (wanted: RemovalPlan['kind']) => plan.removals.filter(({ kind }) => kind === wanted);
    await operation.forward(
      [
        unwireExternal(input, act, operation, plan, hosts),
        remove(input, act, operation, 'stop-router', ofKind('router'), hosts),
        remove(input, act, operation, 'stop-engines', ofKind('engine'), hosts),
        {
          name: 'release-gpus',
          run: () =>
            operation.each(plan.leases, async ({ host, pci }) => {
              await act({ summary: `release GPUs of ${host}` }).releaseGpus({
                ref: hosts.get(host)!,
                pci,
                owner: { cluster, installation },
              });
            }),
        },
        {
          name: 'confirm',
          run: async () => needNothing(input, await whatIsThere(input, act, operation, () => {})), // Lost hosts are named already.
        },
      ],
      { cancellable: true },
    );
    return { outcome: 'succeeded', serving: null };
  });
}

type DestroyPlan = Awaited<ReturnType<ReturnType<Act>['planDestruction']>>;

/** What hosts show of this cluster; `lost` is told of those that cannot be asked. */
async function whatIsThere(
  { spec, cluster, installation, serving }: OperationInput,
  act: Act,
  operation: Operation,
  lost: (host: string, error: unknown) => void,
): Promise<DestroyPlan> {
  const refs = spec.hosts.list.map((host) => hostRef(spec, host));
  const observed = { spec, cluster, refs, model: modelPlan(spec), serving };
  const inventory = await observeReachable(operation.each, act, observed, lost);
  const knownHosts = serving?.hosts ?? [];
  return await act({ summary: 'plan the destruction' }).planDestruction({
    cluster,
    spec,
    inventory,
    installation,
    knownHosts,
  });
}

function needNothing({ cluster }: OperationInput, { removals, leases }: DestroyPlan): void {
  if (removals.length === 0 && leases.length === 0) return;
  const left = [
    ...removals.flatMap(({ name, parts }) => parts.map(({ host }) => `${name} on ${host}`)),
    ...leases.map(({ host, pci }) => `${pci.length} leases on ${host}`),
  ];
  throw ApplicationFailure.create({
    type: 'NOT_AS_PLANNED',
    nonRetryable: true,
    message: `still there: ${left.join(', ')}`,
    details: [
      {
        host: removals[0]?.parts[0]?.host ?? leases[0]!.host,
        evidence: left.join('\n'),
        remedy: `Run \`tandem destroy ${cluster}\` again.`,
      },
    ],
  });
}

/** A router of others keeps running: its list must not keep engines that are about to end. */
function unwireExternal(
  { spec }: OperationInput,
  act: Act,
  operation: Operation,
  { external, removals }: DestroyPlan,
  hosts: ReadonlyMap<string, HostRef>,
): Step {
  const drainTimeoutSeconds = spec.upgrade.drainTimeoutSeconds;
  return {
    name: 'unwire-engines',
    run: async () => {
      if (!external) return;
      await operation.each(removals, async ({ name, url, parts }) => {
        if (url === undefined) return;
        await act({ summary: `take ${name} out of routing`, minutes: minutesOf(drainTimeoutSeconds) }).unwireEngine({
          router: external,
          engine: { name, url, ...(spec.engine.apiKey ? { apiKey: spec.engine.apiKey } : {}) },
          ref: hosts.get(parts[0]!.host)!,
          drainTimeoutSeconds,
        });
      });
    },
  };
}

function remove(
  { cluster, installation, spec }: OperationInput,
  act: Act,
  operation: Operation,
  name: string,
  removals: readonly RemovalPlan[],
  hosts: ReadonlyMap<string, HostRef>,
): Step {
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
      operation.each(parts, async (unit) => {
        const summary = `remove ${unit.name} from ${unit.ref.name}`;
        await act({ summary, minutes: minutesOf(timeoutSeconds) }).stopRank({ ...unit, timeoutSeconds });
        await act({ summary }).removeRank(unit);
      }),
  };
}
