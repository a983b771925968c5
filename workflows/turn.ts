import { CancelledFailure, CancellationScope, setHandler, workflowInfo } from '@temporalio/workflow';
import type { EndedBy } from '../src/operations/outcomes.ts';
import { failedOf } from './failed.ts';
import { endOperation } from './messages.ts';

/** Thrown where an operation ends because another one takes over. */
export class Superseded extends Error {}

/**
 * Whether an operation may go on: until somebody cancels it, until another operation waits to take over, or until it turns
 * out that this run goes on from the past of one that was reset.
 */
export class Turn {
  readonly #root = CancellationScope.current();
  #yielding = false;
  /** Of the step under way: what a take-over cuts, or that it begins no more parts. */
  #cut: CancellationScope | undefined;
  #inParts = false;
  #reset: { readonly failure: unknown } | undefined;

  /** `told` hears who ends the operation, and how. */
  constructor(told: (by: EndedBy) => void) {
    setHandler(
      endOperation,
      (by) => {
        if (!isEndedBy(by)) return; // A signal of another release, or of nobody that Tandem knows.
        told(by);
        if (by.how !== 'take-over') return;
        this.#yielding = true;
        this.#cut?.cancel();
      },
      { description: 'Somebody ends this operation. Sent by its cluster: of a take-over, it starts nothing more.' },
    );
  }

  /** The failure that says that this run was reset: it does nothing more. */
  get reset(): unknown {
    return this.#reset?.failure;
  }

  get state(): 'go' | 'yielding' | 'cancelled' | 'reset' {
    if (this.#reset) return 'reset';
    if (this.#root.consideredCancelled) return 'cancelled';
    return this.#yielding ? 'yielding' : 'go';
  }

  /** Takes note of a failure that says that this run was reset. */
  heed(failure: unknown): void {
    if (isReset(failure)) this.#reset ??= { failure };
  }

  /** Runs what a take-over cuts. */
  async cuttable<T>(run: () => Promise<T>): Promise<T> {
    this.#needTurn();
    this.#cut = new CancellationScope();
    try {
      return await this.#cut.run(run);
    } catch (error) {
      if (!this.#root.consideredCancelled) this.#needTurn();
      throw error;
    } finally {
      this.#cut = undefined;
    }
  }

  /** Runs what a take-over waits for: the parts under way are finished, and no more begin. */
  async whole(run: () => Promise<void>): Promise<void> {
    this.#needTurn();
    this.#inParts = true;
    await run().finally(() => (this.#inParts = false));
  }

  /** Before each part of a step. */
  needPart(): void {
    if (this.#inParts) this.#needTurn();
  }

  /** After what was ended between two steps: why. */
  end(): never {
    if (this.#reset) throw this.#reset.failure;
    if (this.#root.consideredCancelled) throw new CancelledFailure('cancelled between two steps');
    throw new Superseded('another operation takes over');
  }

  #needTurn(): void {
    if (this.#yielding) throw new Superseded('another operation takes over');
  }
}

/** Failures after which nothing is undone: another operation goes on from here, or nothing of this run counts. */
export const isLeft = (failure: unknown): boolean => failure instanceof Superseded || isReset(failure);

/** Whether an activity was refused because this very run goes on from the past of another one. */
function isReset(error: unknown): boolean {
  const { runId, originalExecutionRunId: original } = workflowInfo();
  return error !== undefined && runId !== original && failedOf(error, '').code === 'RESET';
}

const isEndedBy = (value: unknown): value is EndedBy =>
  typeof value === 'object' && value !== null && 'how' in value && 'actor' in value && typeof value.actor === 'string';
