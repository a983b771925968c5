import { describe, expect, it } from '@jest/globals';
import { DeployError } from '../../src/errors.ts';
import { printable, cut } from '../../src/text/printable.ts';
import { ending, raw } from '../../src/text/raw.ts';

describe('text from outside', () => {
  it('does not compile where it is cut before redaction', () => {
    const said = raw('what a host said');
    const message = { code: 'COMMAND_FAILED', message: 'm', remedy: 'r', retryable: false } as const;
    const wrong = [
      // @ts-expect-error a cut
      () => said.slice(0, 300),
      // @ts-expect-error a cut
      () => said.substring(300),
      // @ts-expect-error a cut behind a method that keeps it from outside
      () => said.trim().slice(-2_048),
      // @ts-expect-error a cut of what nothing has redacted
      () => cut(said, 300),
      // @ts-expect-error evidence that anybody may have cut
      () => new DeployError({ ...message, evidence: String(said).slice(-2_048) }),
    ];
    expect(wrong).toHaveLength(5);
    expect(
      cut(
        printable(said, (text) => text),
        6,
      ),
    ).toBe('what …');
  });

  it('ends in whole lines, as many as fit, and never without one', () => {
    const lines = Array.from({ length: 100 }, (_, index) => `${index} ${'x'.repeat(60)}`);
    const end = ending(raw(`${lines.join('\n')}\n\n`)).split('\n');
    expect(end[0]).toBe('…');
    expect(end.slice(1)).toEqual(lines.slice(1 - end.length));
    expect(end.join('\n').length).toBeLessThan(2_100);
    expect(end.join('\n').length).toBeGreaterThan(1_900);
    expect(ending(raw('y'.repeat(5_000)))).toHaveLength(5_000);
    expect(ending(raw('a\nb\n'))).toBe('a\nb');
    expect(ending(raw(''))).toBe('');
  });
});
