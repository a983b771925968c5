import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  ChildWorkflowFailure,
  isCancellation,
  TimeoutFailure,
} from '@temporalio/workflow';
import type { FailureDetails } from '../activities/failure.ts';
import { DeployError } from '../src/errors.ts';
import { HANDED_ON } from './fence.ts';
import type { Failed } from '../src/operations/outcomes.ts';

/** Hosts of failures that do not say theirs: a time-out knows only its activity. */
const places = new WeakMap<object, string>();

/** Notes which host an activity was about that failed. */
export function located(error: unknown, input: unknown): unknown {
  const host = hostIn(input);
  if (host !== '' && typeof error === 'object' && error !== null) places.set(error, host);
  return error;
}

/** The host that an activity's input is about; empty where it is about none. */
export function hostIn(input: unknown): string {
  const { ref, routerRef } = (input ?? {}) as { ref?: { name: string }; routerRef?: { name: string } };
  return ref?.name ?? routerRef?.name ?? '';
}

/** Reads a failure as people need it: at which step, on which host, what, and what to do. */
export function failedOf(several: unknown, step: string): Failed {
  const [error] = failuresIn(several);
  let cause = error;
  while (cause instanceof ActivityFailure || cause instanceof ChildWorkflowFailure) cause = cause.cause;
  const place = (typeof error === 'object' && error !== null && places.get(error)) || '';
  if (cause instanceof TimeoutFailure) {
    return cause.timeoutType === 'SCHEDULE_TO_START'
      ? failed(
          step,
          'NO_WORKER',
          'no Temporal worker of this site took the task',
          'Start one: `tandem worker --site SITE`.',
        )
      : failed(
          step,
          'COMMAND_TIMEOUT',
          `${place ? `${place}: ` : ''}the activity did not end within its limit (${cause.message})`,
          'Look at the host and at the Temporal worker, then run the operation again.',
          place,
        );
  }
  if (cause instanceof ApplicationFailure) {
    const details = cause.details?.[0] as Partial<FailureDetails> | undefined;
    return {
      step,
      host: details?.host || place,
      code: cause.type ?? 'INTERNAL',
      message: cause.message,
      evidence: details?.evidence ?? '',
      remedy: details?.remedy ?? '',
    };
  }
  // Of a pure function that workflow code calls.
  if (cause instanceof DeployError) return failed(step, cause.code, cause.message, cause.remedy, cause.host);
  const message = cause instanceof Error ? cause.message : String(cause);
  return failed(step, isCancellation(error) ? 'CANCELLED' : 'INTERNAL', message, 'Run the operation again.');
}

const failed = (step: string, code: string, message: string, remedy: string, host = ''): Failed => ({
  step,
  host,
  code,
  message,
  evidence: '',
  remedy,
});

/** Whether a Temporal worker that stops gave an activity back: another one goes on, and no attempt is used up. */
export const isHandedOn = (error: unknown): boolean =>
  error instanceof ActivityFailure && error.cause instanceof ApplicationFailure && error.cause.type === HANDED_ON;

/** What a workflow refuses, with what the one who asked does next. */
export const refusal = (code: string, message: string, remedy: string): ApplicationFailure =>
  ApplicationFailure.create({ type: code, message, nonRetryable: true, details: [{ remedy }] });

/**
 * A handler of the entity whose every failure is one that the one who asked is told: any other would hold the entity for
 * ever. It goes on where the entity is cancelled, which means what runs and not the entity.
 */
export const handling =
  <Input, Output>(handler: (input: Input) => Output | Promise<Output>): ((input: Input) => Promise<Output>) =>
  async (input) => {
    try {
      return await CancellationScope.nonCancellable(async () => await handler(input));
    } catch (error) {
      throw told(error);
    }
  };

/** As `handling`, for what a validator refuses. */
export const validating =
  <Input>(validator: (input: Input) => void): ((input: Input) => void) =>
  (input) => {
    try {
      validator(input);
    } catch (error) {
      throw told(error);
    }
  };

function told(error: unknown): ApplicationFailure {
  if (error instanceof ApplicationFailure) return error;
  const { code, message, host, evidence, remedy } = failedOf(error, '');
  const details: FailureDetails = { host, evidence, remedy };
  return ApplicationFailure.create({ type: code, message, nonRetryable: true, details: [details] });
}

/** What a failed undo or a failed part of a destroy leaves behind: a row for each host where it failed. */
export function leftOf(error: unknown, step: string): readonly string[] {
  return failuresIn(error).map((one) => {
    const { host, message } = failedOf(one, step);
    return host && !message.includes(host) ? `${step}: ${host}: ${message}` : `${step}: ${message}`;
  });
}

const failuresIn = (error: unknown): readonly unknown[] => (error instanceof AggregateError ? error.errors : [error]);
