import { hostRef } from '../src/plan/host-ref.ts';
import { modelPlan } from '../src/plan/model.ts';
import { isNoop } from '../src/plan/noop.ts';
import type { OperationInput } from './messages.ts';
import type { Measured, OperationResult } from '../src/operations/outcomes.ts';
import { observe } from './observe.ts';
import { conduct, type OperationStep } from './operation.ts';
import { presenceAt } from './proxies.ts';
import { accept, confirm } from './steps/accept.ts';
import { isWired, leavingUnits, listedBefore, refsOf, servingOf, unitAt, type DeployContext } from './steps/context.ts';
import { launch } from './steps/engines.ts';
import { compare, pictures } from './steps/picture.ts';
import { checkHosts, checkLinks, fetchAndStage, leaseGpus } from './steps/prepare.ts';
import { replaceRouter, retire, startRouter, wireEngines } from './steps/router.ts';

/** Brings a cluster to what the spec says: observe → plan → diff → the step table. What fails unwinds. */
export async function deploy(given: OperationInput): Promise<OperationResult> {
  return conduct(given, async (operation, input) => {
    const { spec, specDigest, cluster, installation, deployment, serving } = input;
    const { act } = operation;
    await operation.step('reach-worker', () => presenceAt(spec.site).present());
    const refs = spec.hosts.list.map((host) => hostRef(spec, host));
    const inventory = await operation.step('observe', () =>
      observe(operation.each, { spec, cluster, refs, model: modelPlan(spec), serving }),
    );
    const plan = await operation.step('plan', () =>
      act({ summary: `plan deployment ${deployment}` }).planDeployment({
        spec,
        inventory,
        installation,
        deployment,
        ...(serving ? { serving } : {}),
      }),
    );
    operation.warnings(plan.warnings);
    const listed = await operation.step('compare-router', () => listedBefore(act, plan));
    const measured: { value?: Measured } = {};
    const context: DeployContext = {
      input,
      plan,
      inventory,
      listed,
      operation,
      measured,
      held: new Set(),
      routed: new Set(),
      ref: refsOf(plan),
    };
    if (isNoop(plan) && isWired(context)) return { outcome: 'unchanged', serving: servingOf(plan, specDigest) };

    const before = await operation.step('picture', () => pictures(context));
    await operation.saga(deploySteps(context), () => compare(context, before));
    await operation.forward(tidySteps(context), { stoppable: false });
    return {
      outcome: 'succeeded',
      serving: servingOf(plan, specDigest),
      ...(measured.value ? { measured: measured.value } : {}),
    };
  });
}

/** The step table of a deploy. An undo touches only what this deployment's number created, and restores what it removed. */
function deploySteps(context: DeployContext): readonly OperationStep[] {
  const { plan } = context;
  const early = plan.removals.filter(({ first }) => first);
  const late = plan.removals.filter(({ first }) => !first);
  return [
    leaseGpus(context),
    checkHosts(context),
    checkLinks(context),
    ...fetchAndStage(context),
    ...retire(context, 'make-room', early),
    launch(context, 'prefill'),
    launch(context, 'decode'),
    ...replaceRouter(context),
    ...startRouter(context),
    wireEngines(context),
    accept(context),
    ...retire(context, 'retire', late),
    confirm(context),
  ];
}

/** What cannot be undone comes last and outside of the saga: what serves must not fall for what is only left over. */
function tidySteps(context: DeployContext): readonly OperationStep[] {
  const { plan, input, operation, ref } = context;
  const leaving = leavingUnits(context);
  return [
    {
      name: 'remove-old',
      run: () =>
        operation.each(leaving, async (unit, act) => {
          await act({ summary: `remove ${unit.name} from ${unit.ref.name}` }).removeRank({
            ...unitAt(input, unit),
            ref: unit.ref,
          });
        }),
    },
    {
      name: 'release-gpus',
      run: () =>
        operation.each(plan.releases, async ({ host, pci }, act) => {
          await act({ summary: `release GPUs of ${host}` }).releaseGpus({
            ref: ref(host),
            pci,
            owner: { cluster: input.cluster, installation: input.installation },
          });
        }),
    },
  ];
}
