/**
 * How long tests wait, all of them, in milliseconds. A limit only ends what has failed already, and a test that waits for
 * a condition is over as soon as it holds: so limits are long, and longer where the machine was slower when the run began
 * (pace.mjs). What is said to take long is waited for while it goes on, however long.
 */
const PACE = Number(process.env['TANDEM_PATIENCE'] ?? 1);

/** `ms` of the machine on which limits are set, in milliseconds of this one. */
export const patient = (ms: number): number => Math.round(ms * PACE);
/** The same in whole seconds, for a spec. */
export const patientSeconds = (seconds: number): number => Math.ceil(seconds * PACE);

/** Until something shows that was asked for. */
export const LOOK_MS = patient(60_000);
/** Until a program answers that was started. */
export const START_MS = patient(120_000);
/** Until an operation goes on: it may take longer, but not stand still for longer. */
export const STILL_MS = patient(180_000);
/** Of a command or a request that answers at once. */
export const ANSWER_MS = patient(60_000);
