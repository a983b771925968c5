import { CancelledFailure } from '@temporalio/activity';
import type { Drivers } from '../src/drivers/types.ts';
import type { AnyCopyOwner, CopyOwner, Dropped, SourceAccess, Staged, Weights } from '../src/drivers/weights/types.ts';
import type { HostRef, StagingPlan } from '../src/plan/types.ts';
import type { SecretRef } from '../src/spec/schema.ts';
import { heartbeat, signal } from './context.ts';

/** How the source is asked, as the spec has it. */
export interface ModelAccess {
  readonly token?: SecretRef;
  /** Mirror of the Hugging Face Hub. */
  readonly endpoint?: string;
}

export interface StageWeights extends CopyOwner {
  readonly ref: HostRef;
  readonly staging: StagingPlan;
  readonly model: ModelAccess;
}

/** Activities on the weights of a model. */
export const createWeightsActivities = (drivers: Drivers, weights: Weights) => {
  const access = async ({ token, endpoint }: ModelAccess): Promise<SourceAccess> => ({
    ...(token === undefined ? {} : { token: await drivers.secret(token) }),
    ...(endpoint === undefined ? {} : { endpoint }),
  });
  return {
    /**
     * Brings the model's files to one host, or checks that they are there; a repeat continues where the last attempt
     * stopped. The copy outlives a lost Temporal worker, and ends when the activity is cancelled, keeping what it has.
     * Errors: DISK_TOO_SMALL, SOURCE_UNREACHABLE, SOURCE_REFUSED, WEIGHTS_CORRUPT, CHECK_FAILED, COMMAND_FAILED.
     */
    async stageWeights({ ref, staging, model, cluster, installation, deployment }: StageWeights): Promise<Staged> {
      const owner = { cluster, installation, deployment };
      const { source, path, copy } = staging;
      try {
        const request = { source, path, copy, owner, ...(await access(model)) };
        return await weights.stage(drivers.host(ref, signal()), request, { signal: signal(), progress: heartbeat });
      } catch (error) {
        if (wasCancelled() && copy) await weights.halt(drivers.host(ref), path, owner);
        throw error;
      }
    },

    /**
     * Undoes `stageWeights`: ends this deployment's copy and removes its partial files; without a number, those of every
     * deployment of the cluster. Complete weights stay, and are named.
     */
    async dropPartial({ ref, path, ...owner }: AnyCopyOwner & { ref: HostRef; path: string }): Promise<Dropped> {
      return weights.drop(drivers.host(ref, signal()), path, owner);
    },

    /** The source with its revision resolved to a commit, once for all hosts. Errors: SOURCE_UNREACHABLE, SOURCE_REFUSED. */
    async pinSource({ source, model }: { readonly source: string; readonly model: ModelAccess }): Promise<string> {
      return weights.pin(source, await access(model), signal());
    },
  };
};

/** Cancelled by a person or a workflow. A lost heartbeat or a stopping Temporal worker is not: there the copy goes on. */
function wasCancelled(): boolean {
  const { reason } = signal();
  return reason instanceof CancelledFailure && reason.message === 'CANCELLED';
}
