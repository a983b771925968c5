import type { Drivers, Host } from '../src/drivers/types.ts';
import type { SecretRef } from '../src/spec/schema.ts';
import { printable, type Redact } from '../src/text/printable.ts';
import { raw } from '../src/text/raw.ts';
import { signal } from './context.ts';
import { redacted, valuesOf, type UnitAt } from './units.ts';

/** How much of a log outlives its unit. */
const KEPT_LINES = 5_000;

/** Where the log of a unit that an undo removed is, or why it went with the unit. */
export type LogOutcome = { readonly path: string } | { readonly lost: string };

/** Keeps the end of a unit's log, without `secrets`. That it cannot be kept is told, and holds up no undo. */
export async function keepLog(
  drivers: Drivers,
  host: Host,
  unit: UnitAt,
  secrets: readonly SecretRef[],
  redact: Redact,
): Promise<LogOutcome> {
  const fit = (text: string) => printable(text, redact);
  try {
    const log = await host.runtime(unit.runtime).logs(unit.name, { tailLines: KEPT_LINES });
    return { path: await host.keptLogs.keep(unit, fit(redacted(log, await valuesOf(drivers, secrets)))) };
  } catch (error) {
    signal().throwIfAborted();
    return { lost: fit(raw(error instanceof Error ? error.message : String(error))) };
  }
}
