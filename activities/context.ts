import { setMaxListeners } from 'node:events';

import { Context } from '@temporalio/activity';

/** The Temporal context of the running activity; undefined where an activity is called directly, as tests do. */
function current(): Context | undefined {
  try {
    return Context.current();
  } catch {
    return undefined;
  }
}

/** What the activity last told, so that a beat without news does not wipe it out in the UI. */
const news = new WeakMap<Context, unknown>();
/** Makes what an activity tells fit to be seen. */
const tellers = new WeakMap<Context, (details: unknown) => unknown>();
const asItIs = (details: unknown) => details;

/** From here on, the running activity tells only what `fit` makes of it. */
export function tellBy(fit: (details: unknown) => unknown): void {
  const context = current();
  if (context) tellers.set(context, fit);
}

/** Signals of activities that end as soon as their Temporal worker is to stop. */
const handingOn = new WeakMap<Context, AbortSignal>();

/** From now on the running activity ends with `stopping` too, since another Temporal worker can go on from there. */
export function endWith(stopping: AbortSignal): void {
  const context = current();
  if (context) handingOn.set(context, AbortSignal.any([context.cancellationSignal, stopping]));
}

/** Aborts when the activity is cancelled, times out or its Temporal worker stops. */
export function signal(): AbortSignal {
  const context = current();
  const own = (context && handingOn.get(context)) ?? context?.cancellationSignal ?? new AbortController().signal;
  setMaxListeners(0, own); // Every command that the activity has under way listens.
  return own;
}

/** Tells Temporal that the activity is alive, and `details` to whoever looks at it in the UI. */
export function heartbeat(details?: unknown): void {
  const context = current();
  if (!context) return;
  if (details !== undefined) news.set(context, (tellers.get(context) ?? asItIs)(details));
  context.heartbeat(news.get(context));
}
