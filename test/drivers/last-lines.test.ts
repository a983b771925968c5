import { expect, it } from '@jest/globals';
import { lastLines } from '../../src/drivers/last-lines.ts';
import { raw } from '../../src/text/raw.ts';

/** A log of which the driver keeps the first `keeps` characters of what is asked for. */
const logOf = (lines: readonly string[], keeps: number) => async (count: number) => {
  const asked = lines.slice(-count).join('\n');
  const stdout = raw(asked.slice(0, keeps));
  return {
    stdout,
    stderr: raw(''),
    exitCode: 0,
    timedOut: false,
    ...(asked.length > keeps ? { truncated: true } : {}),
  };
};

it('the end of a log longer than the driver keeps is read, in fewer lines', async () => {
  const lines = Array.from({ length: 5_000 }, (_, line) => `line ${line} ${'x'.repeat(100)}`);
  const read = await lastLines(5_000, logOf(lines, 100_000));
  expect(read.split('\n').at(-1)).toBe(lines.at(-1));
  expect(read.length).toBeGreaterThan(10_000);
});

it('of one line that is longer the beginning is read', async () => {
  expect(await lastLines(9, logOf(['short', 'x'.repeat(99)], 10))).toBe('x'.repeat(10));
});
