/** What an activity is marked with, so that it knows whose it is. Pure: workflows write it and activities judge it. */
export const RUNS_HEADER = 'tandem-runs';

/** Type of the failure with which a stopping Temporal worker gives an activity back. */
export const HANDED_ON = 'WORKER_STOPPING';

/** A run of a workflow; `original` is another one where somebody reset it. */
export interface RunMark {
  readonly workflowId: string;
  readonly runId: string;
  readonly original: string;
}

/**
 * The workflow that was reset, of those that an activity was asked for by; undefined where none was. `runId` is the run
 * that the activity is carried out for: one that was asked for before the reset is carried out for the new run.
 */
export function resetAmong(marks: readonly RunMark[], runId: string): string | undefined {
  const [own] = marks;
  if (own && own.runId !== runId) return own.workflowId;
  return marks.find(({ runId: run, original }) => run !== original)?.workflowId;
}
