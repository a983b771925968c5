/** One row of a workflow. `undo` tolerates not started, half done and done twice; absent when there is nothing to undo. */
export interface Step {
  readonly name: string;
  readonly run: () => Promise<void>;
  readonly undo?: () => Promise<void>;
}

export interface SagaHooks<S extends Step> {
  /** Runs the unwind where a cancellation cannot reach it. */
  readonly shield: (unwind: () => Promise<void>) => Promise<void>;
  /** Told of every step as it begins, ends, is undone or is stuck. */
  readonly onStep: (step: S, state: StepState, error?: unknown) => void;
  /** Whether a failure ends the walk where it is and nothing is undone, since somebody else goes on from there. */
  readonly isHandedOver: (failure: unknown) => boolean;
}

export type StepState = 'running' | 'done' | 'failed' | 'cancelled' | 'cut' | 'undoing' | 'undone' | 'stuck';

/**
 * Runs `steps` in order; on failure undoes newest first and throws the failure. The failed step is undone too, since
 * a timed-out activity may have acted. A failed undo is told to `onStep` as stuck and never stops the rest.
 */
export async function runSteps<S extends Step>(
  steps: readonly S[],
  { shield, onStep, isHandedOver }: SagaHooks<S>,
): Promise<void> {
  const started: S[] = [];
  try {
    for (const step of steps) {
      started.unshift(step); // Newest first: the order the unwind needs.
      onStep(step, 'running');
      await step.run();
      onStep(step, 'done');
    }
  } catch (failure) {
    const handedOver = isHandedOver(failure);
    onStep(started[0]!, handedOver ? 'cut' : 'failed', failure);
    if (!handedOver) await shield(() => unwind(started, onStep));
    throw failure;
  }
}

async function unwind<S extends Step>(newestFirst: readonly S[], onStep: SagaHooks<S>['onStep']): Promise<void> {
  for (const step of newestFirst) {
    if (!step.undo) continue;
    onStep(step, 'undoing');
    try {
      await step.undo();
      onStep(step, 'undone');
    } catch (error) {
      onStep(step, 'stuck', error);
    }
  }
}

/**
 * Runs every step although some fail (an operation that only goes forward); failures are told to `onStep`. `proceed` is
 * asked before each step and ends the walk when it says no; returns whether all steps were run.
 */
export async function runForward<S extends Step>(
  steps: readonly S[],
  { onStep, proceed }: Pick<SagaHooks<S>, 'onStep'> & { readonly proceed: () => boolean },
): Promise<boolean> {
  for (const step of steps) {
    if (!proceed()) return false;
    onStep(step, 'running');
    try {
      await step.run();
      onStep(step, 'done');
    } catch (error) {
      onStep(step, 'stuck', error);
    }
  }
  return true;
}

/**
 * Runs `task` for every item, at most `limit` at a time; waits for all that began before it throws. After a failure it
 * begins no more and throws the first one; where it is `thorough` it goes on, and throws all as an AggregateError.
 */
export async function each<T>(
  items: readonly T[],
  limit: number,
  task: (item: T) => Promise<void>,
  { thorough = false }: { readonly thorough?: boolean } = {},
): Promise<void> {
  const queue = [...items];
  const failures: unknown[] = [];
  const lane = async () => {
    for (let item = queue.shift(); item !== undefined && (thorough || failures.length === 0); item = queue.shift()) {
      await task(item).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
  if (failures.length > 1 && thorough) throw new AggregateError(failures, 'several failed');
  if (failures.length > 0) throw failures[0];
}
