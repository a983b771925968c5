/**
 * The lines of a log that are new since it was last read, both times its end: what was read before ends where they begin.
 * Undefined where none of those lines is left, so that some between the two were not read.
 */
export function newLines(before: readonly string[], now: readonly string[]): readonly string[] | undefined {
  for (let gone = 0; gone < before.length; gone += 1) {
    const still = before.slice(gone);
    if (still.length <= now.length && still.every((line, index) => line === now[index])) return now.slice(still.length);
  }
  return before.length === 0 ? now : undefined;
}
