import { begun } from '../src/operations/ledger.ts';
import { hostRef } from '../src/plan/host-ref.ts';
import { modelPlan } from '../src/plan/model.ts';
import { isNoop } from '../src/plan/noop.ts';
import type { OperationInput } from './messages.ts';
import type { OperationResult } from '../src/operations/outcomes.ts';
import { observe } from './observe.ts';
import type { Move, MoveName, Stage } from '../src/plan/types.ts';
import { conduct, type OperationStep, type Work } from './operation.ts';
import { presenceAt } from './proxies.ts';
import { accept, confirm } from './steps/accept.ts';
import { bookOf, isWired, listedBefore, refsOf, servingOf, type DeployContext } from './steps/context.ts';
import { removeLeaving, startEngines } from './steps/engines.ts';
import { compare, pictures } from './steps/picture.ts';
import { checkHosts, checkLinks, fetchImages, leaseGpus, releaseGpus, stageWeights } from './steps/prepare.ts';
import { startRouter, stopLeaving, stopOldRouter, unwireUnits, wireEngines } from './steps/router.ts';

/** Brings a cluster to what the spec says: observe → plan → the plan's stages. What fails unwinds. */
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
    const book = bookOf(begun(plan, inventory, listed, serving));
    if (isNoop(plan) && isWired(plan, book.ledger()))
      return { outcome: 'unchanged', serving: servingOf(plan, specDigest) };

    const context: DeployContext = { input, plan, operation, ref: refsOf(plan), ...book };
    await operation.step('picture', () => pictures(context));
    const stages = (undoable: boolean) =>
      plan.stages.filter((stage) => isUndoable(stage) === undoable).flatMap((stage) => stepsOf(context, stage));
    await operation.saga(stages(true), () => compare(context));
    await operation.forward(stages(false), { stoppable: false });
    const { measured } = book.ledger();
    return { outcome: 'succeeded', serving: servingOf(plan, specDigest), ...(measured ? { measured } : {}) };
  });
}

/**
 * What each move of a plan does; the plan says which come, in which order. An undo touches only what this deployment's
 * number created, and restores what it removed.
 */
const MOVES: Readonly<Record<MoveName, (context: DeployContext, on: Move['on']) => Work>> = {
  'lease-gpus': leaseGpus,
  'check-rocm': checkHosts,
  'check-rdma': checkLinks,
  'fetch-image': fetchImages,
  'stage-weights': stageWeights,
  'make-room-unwire': unwireUnits,
  'make-room-stop': stopLeaving,
  'start-prefill': startEngines,
  'start-decode': startEngines,
  'stop-old-router': stopOldRouter,
  'start-router': startRouter,
  'wire-router': wireEngines,
  accept,
  'retire-unwire': unwireUnits,
  'retire-stop': stopLeaving,
  confirm,
  'remove-old': removeLeaving,
  'release-gpus': releaseGpus,
};

const stepsOf = (context: DeployContext, { name: stage, moves }: Stage): readonly OperationStep[] =>
  moves.map(({ name, on }) => ({ stage, name, ...MOVES[name](context, on) }));

/** What cannot be undone comes last and outside of the saga: what serves must not fall for what is only left over. */
const isUndoable = ({ name }: Stage): boolean => name !== 'tidy';
