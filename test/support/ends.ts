const ENDS = Symbol.for('tandem.tests.ends');

/**
 * Does `end` once: when it is called, or else when the suite's environment is taken down, newest first. For what a suite starts at its
 * top, of which no afterAll is called where the suite cannot begin.
 */
export function endedWithSuite<T>(end: () => Promise<T>): () => Promise<T> {
  const all = ((globalThis as { [ENDS]?: Set<() => Promise<unknown>> })[ENDS] ??= new Set());
  let ended: Promise<T> | undefined;
  const once = () => {
    all.delete(once);
    return (ended ??= end());
  };
  all.add(once);
  return once;
}
