import { ActivityFailure, ApplicationFailure, isCancellation, TimeoutFailure } from '@temporalio/workflow';
import type { FailureDetails } from '../activities/failure.ts';
import type { Failed } from './messages.ts';

/** Hosts of failures that do not say theirs: a time-out knows only its activity. */
const places = new WeakMap<object, string>();

/** Notes which host an activity was about that failed. */
export function located(error: unknown, input: unknown): unknown {
  const { ref, routerRef } = (input ?? {}) as { ref?: { name: string }; routerRef?: { name: string } };
  const host = ref?.name ?? routerRef?.name;
  if (host !== undefined && typeof error === 'object' && error !== null) places.set(error, host);
  return error;
}

/** Reads a failure as people need it: at which step, on which host, what, and what to do. */
export function failedOf(several: unknown, step: string): Failed {
  const [error] = failuresIn(several);
  const cause = error instanceof ActivityFailure ? error.cause : error;
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

/** What a workflow refuses, with what the one who asked does next. */
export const refusal = (code: string, message: string, remedy: string): ApplicationFailure =>
  ApplicationFailure.create({ type: code, message, nonRetryable: true, details: [{ remedy }] });

/** What a failed undo or a failed part of a destroy leaves behind: a row for each host where it failed. */
export function leftOf(error: unknown, step: string): readonly string[] {
  return failuresIn(error).map((one) => {
    const { host, message } = failedOf(one, step);
    return host && !message.includes(host) ? `${step}: ${host}: ${message}` : `${step}: ${message}`;
  });
}

const failuresIn = (error: unknown): readonly unknown[] => (error instanceof AggregateError ? error.errors : [error]);
