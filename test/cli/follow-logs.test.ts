import { expect, it } from '@jest/globals';
import { newLines } from '../../src/cli/follow-logs.ts';

const letters = (text: string) => text.split('');

it.each([
  ['nothing was written', 'abc', 'abc', ''],
  ['lines were added', 'abc', 'abcde', 'de'],
  ['the end that is read has moved on', 'abcd', 'cdef', 'ef'],
  ['nearly all of it has moved on', 'abcd', 'defg', 'efg'],
  ['lines are alike', 'aaa', 'aaaa', 'a'],
  ['a pattern goes on', 'abab', 'babac', 'ac'],
  ['there was nothing', '', 'ab', 'ab'],
])('of a log that is read again, where %s, the rest is new', (_, before, now, wanted) => {
  expect(newLines(letters(before), letters(now))?.join('')).toBe(wanted);
});

it('where nothing of what was read is left, it cannot be said what is new', () => {
  expect(newLines(letters('abc'), letters('xyz'))).toBeUndefined();
});

it('adds up to the whole log, however much is written between two looks', () => {
  const whole = Array.from({ length: 500 }, (_, line) => (line % 7 === 0 ? 'GET /health 200' : `line ${line}`));
  for (const step of [1, 2, 13, 49]) {
    const told: string[] = [];
    let before: readonly string[] = [];
    for (let end = step; end <= whole.length; end += step) {
      const now = whole.slice(Math.max(0, end - 50), end);
      told.push(...newLines(before, now)!);
      before = now;
    }
    expect(told).toEqual(whole.slice(0, whole.length - (whole.length % step)));
  }
});
