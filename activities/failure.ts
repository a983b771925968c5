import { ApplicationFailure, CancelledFailure } from '@temporalio/activity';
import { DeployError } from '../src/errors.ts';
import { HANDED_ON } from '../workflows/fence.ts';
import { endWith, heartbeat, signal } from './context.ts';

/** Longest text that an error carries into an event history, in characters (a 3 MB message never arrives at all). */
const TEXT_LIMIT = 4096;
/** A cancellation comes back with a heartbeat. */
const HEARTBEAT_EVERY_MS = 1_000;
/** Activities that only wait, or that another attempt goes on with where this one was. */
const RESUMABLE = new Set(['stageWeights', 'fetchImage', 'awaitEngine', 'awaitRouter', 'acceptPair', 'acceptRouted']);

/** What a failed activity tells the workflow, in `ApplicationFailure.details[0]`. */
export interface FailureDetails {
  readonly host?: string;
  readonly evidence?: string;
  readonly remedy: string;
}

type Activity = (...args: never[]) => Promise<unknown>;

/**
 * Makes activities fit for Temporal, the only place where errors are translated: every activity heartbeats while it
 * runs, which is also how a cancellation reaches it; a `DeployError` becomes an `ApplicationFailure` of its code; and
 * `redact` sees every text before it leaves this machine. Once the Temporal worker is `stopping`, what can be resumed
 * ends at once, the rest with the worker; both are handed on to another one.
 */
export function forTemporal<T extends Record<string, Activity>>(
  activities: T,
  redact: (text: string) => string,
  stopping?: AbortSignal,
): T {
  const clean = (text: string) => truncate(redact(text));
  const own = (name: string) => (RESUMABLE.has(name) ? stopping : undefined);
  return Object.fromEntries(
    Object.entries(activities).map(([name, activity]) => [name, wrapped(activity, clean, own(name))]),
  ) as T;
}

function wrapped(activity: Activity, clean: (text: string) => string, stopping: AbortSignal | undefined): Activity {
  return async (...args) => {
    if (stopping) endWith(stopping);
    const beat = setInterval(() => heartbeat(), HEARTBEAT_EVERY_MS);
    try {
      return await activity(...args);
    } catch (error) {
      const { reason } = signal();
      if (reason instanceof CancelledFailure && reason.message !== SHUTDOWN) throw reason;
      if (reason !== undefined && (stopping?.aborted || reason instanceof CancelledFailure)) throw handedOn();
      throw failureOf(error, clean);
    } finally {
      clearInterval(beat);
    }
  };
}

/** What the SDK says where its grace is over. */
const SHUTDOWN = 'WORKER_SHUTDOWN';

/** The workflow asks for the activity anew, so that no attempt is used up. */
const handedOn = () =>
  ApplicationFailure.create({
    type: HANDED_ON,
    nonRetryable: true,
    message: 'its Temporal worker stops; another one goes on',
    category: 'BENIGN',
  });

/** The failure that Temporal records for `error`; causes stay out, since their texts were never meant for a history. */
export function failureOf(error: unknown, clean: (text: string) => string): Error {
  if (error instanceof ApplicationFailure) return error;
  if (!(error instanceof DeployError)) {
    const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return ApplicationFailure.create({
      message: clean(message),
      type: 'INTERNAL',
      nonRetryable: true,
      details: [{ remedy: 'This is a fault in Tandem: please report it, with this message.' } satisfies FailureDetails],
    });
  }
  const details: FailureDetails = {
    remedy: clean(error.remedy),
    ...(error.host === undefined ? {} : { host: error.host }),
    ...(error.evidence === undefined ? {} : { evidence: clean(error.evidence) }),
  };
  return ApplicationFailure.create({
    message: clean(error.message),
    type: error.code,
    nonRetryable: !error.retryable,
    details: [details],
  });
}

function truncate(text: string): string {
  return text.length <= TEXT_LIMIT ? text : `${text.slice(0, TEXT_LIMIT / 2)}\n…\n${text.slice(-TEXT_LIMIT / 2)}`;
}
