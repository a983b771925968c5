import type { Raw } from '../text/raw.ts';
import type { Output } from './types.ts';

/**
 * The last lines of a log: of what is more than the driver keeps only the beginning would be there, so that fewer lines
 * are asked for until they fit.
 */
export async function lastLines(lines: number, ask: (lines: number) => Promise<Output>): Promise<Raw> {
  const { stdout, truncated } = await ask(lines);
  return truncated && lines > 1 ? await lastLines(Math.ceil(lines / 4), ask) : stdout;
}
