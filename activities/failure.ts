import { ApplicationFailure, CancelledFailure } from '@temporalio/activity';
import { DeployError } from '../src/errors.ts';
import { HANDED_ON } from '../workflows/fence.ts';
import { cut, cutMiddle, printable, type Redact } from '../src/text/printable.ts';
import { visible } from '../src/text/visible.ts';
import { endWith, heartbeat, signal, tellBy } from './context.ts';
import type { Finding } from '../src/checks/check.ts';

/** Longest evidence that an error carries into an event history, in characters (a 3 MB message never arrives at all). */
const EVIDENCE_LIMIT = 4_096;
/** Longest message or remedy of an error, longest text of a finding, in characters: what Tandem says is short, what it quotes need not be. */
const SENTENCE_LIMIT = 1_024;
/** Longest text of a heartbeat, in characters: it is told every few seconds. */
const HEARTBEAT_LIMIT = 300;
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
 * `redact` sees every text of an error, a finding or a heartbeat before it leaves this machine, whole: a cut comes after
 * it. Nothing that acts on a terminal leaves in any text. Once the Temporal worker is `stopping`, what can be resumed ends
 * at once, the rest with the worker; both are handed on to another one.
 */
export function forTemporal<T extends Record<string, Activity>>(
  activities: T,
  redact: Redact,
  stopping?: AbortSignal,
): T {
  const own = (name: string) => (RESUMABLE.has(name) ? stopping : undefined);
  return Object.fromEntries(
    Object.entries(activities).map(([name, activity]) => [name, wrapped(activity, redact, own(name))]),
  ) as T;
}

function wrapped(activity: Activity, redact: Redact, stopping: AbortSignal | undefined): Activity {
  return async (...args) => {
    if (stopping) endWith(stopping);
    tellBy((details) => eachText(details, (text) => cut(printable(text, redact), HEARTBEAT_LIMIT)));
    const beat = setInterval(() => heartbeat(), HEARTBEAT_EVERY_MS);
    try {
      return fitResult(await activity(...args), redact);
    } catch (error) {
      const { reason } = signal();
      if (reason instanceof CancelledFailure && reason.message !== SHUTDOWN) throw reason;
      if (reason !== undefined && (stopping?.aborted || reason instanceof CancelledFailure)) throw handedOn();
      throw failureOf(error, redact);
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
export function failureOf(error: unknown, redact: Redact): Error {
  const sentence = (text: string) => cut(printable(text, redact), SENTENCE_LIMIT);
  if (!(error instanceof DeployError)) {
    const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return ApplicationFailure.create({
      message: sentence(message),
      type: 'INTERNAL',
      nonRetryable: true,
      details: [{ remedy: 'This is a fault in Tandem: please report it, with this message.' } satisfies FailureDetails],
    });
  }
  const details: FailureDetails = {
    remedy: sentence(error.remedy),
    ...(error.host === undefined ? {} : { host: error.host }),
    ...(error.evidence === undefined ? {} : { evidence: cutMiddle(printable(error.evidence, redact), EVIDENCE_LIMIT) }),
  };
  return ApplicationFailure.create({
    message: sentence(error.message),
    type: error.code,
    nonRetryable: !error.retryable,
    details: [details],
  });
}

/** Below these keys stands what a program is given, to the letter. */
const GIVEN: ReadonlySet<string> = new Set(['argv', 'env', 'spec']);

/**
 * A result as it may be recorded. Findings are read by people and are redacted; the rest is acted upon, where redaction
 * could take a name for a secret that is the same word, so there only what acts on a terminal is shown.
 */
function fitResult(result: unknown, redact: Redact): unknown {
  if (Array.isArray(result)) return result.map((item: unknown) => fitResult(item, redact));
  const shown = withoutActing(result);
  if (!isFinding(shown)) return shown;
  const sentence = (text: string) => cut(printable(text, redact), SENTENCE_LIMIT);
  const { evidence, remedy } = result as Finding;
  return { ...shown, evidence: sentence(evidence), ...(remedy === undefined ? {} : { remedy: sentence(remedy) }) };
}

const isFinding = (value: unknown): value is Finding =>
  typeof value === 'object' && value !== null && 'check' in value && 'verdict' in value && 'evidence' in value;

const withoutActing = (value: unknown): unknown => eachText(value, visible);

/** `value` with every text in it mapped, but those that a program is given; of names of fields only what acts is shown. */
function eachText(value: unknown, map: (text: string) => string): unknown {
  if (typeof value === 'string') return map(value);
  if (Array.isArray(value)) return value.map((item: unknown) => eachText(item, map));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [visible(key), GIVEN.has(key) ? item : eachText(item, map)]),
  );
}
