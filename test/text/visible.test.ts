import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { cut, cutMiddle, printable } from '../../src/text/printable.ts';
import { visible, visibleJson, withoutColours } from '../../src/text/visible.ts';

/** Every character that acts instead of being read: by Unicode's own classes, but line breaks and tabs. */
const ACTING = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;
const acts = (text: string) => Array.from(text).some((one) => one !== '\n' && one !== '\t' && ACTING.test(one));

/** Of any characters, of which those that act are few: so each second is one of them. */
const TEXTS = fc.string({
  unit: fc.oneof(
    fc.constantFrom(...Array.from('\u001b\u0007\u007f\u009b\u202e\u2066\u200b\u2028\ufeff\u{e0041}\r\n\t')),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  ),
});

describe('text that is shown', () => {
  it.each([
    ['a colour', '\u001b[31mred\u001b[0m', String.raw`\u001b[31mred\u001b[0m`],
    ['a title of a window, ended by BEL', '\u001b]0;owned\u0007', String.raw`\u001b]0;owned\u0007`],
    ['a C1 control, which some terminals take for ESC [', '\u009b2J', String.raw`\u009b2J`],
    ['text that is turned around', 'a\u202egnp.exe', String.raw`a\u202egnp.exe`],
    ['isolates, marks and invisible characters', '\u2066a\u200bb\u200f\ufeff', String.raw`\u2066a\u200bb\u200f\ufeff`],
    ['a tag, which no terminal shows', '\u{e0041}', String.raw`\u{e0041}`],
    ['a carriage return that would overwrite the line', 'done\rfail', String.raw`done\u000dfail`],
    ['half of a pair', 'a\ud800b', String.raw`a\ud800b`],
    ['separators of lines and paragraphs', 'a\u2028b\u2029', String.raw`a\u2028b\u2029`],
    ['a line end of Windows', 'a\r\nb', 'a\nb'],
    ['plain text in any script', 'naïve 模型 🙂\tx\n', 'naïve 模型 🙂\tx\n'],
  ])('shows %s', (_, text, shown) => expect(visible(text)).toBe(shown));

  it('never acts, whatever it is made of', () => {
    fc.assert(fc.property(TEXTS, (text) => !acts(visible(text))));
  });

  it('never acts as JSON either, and reads back as the same value', () => {
    fc.assert(
      fc.property(TEXTS, (text) => {
        const document = visibleJson({ [text]: [text] });
        expect(acts(document)).toBe(false);
        expect(JSON.parse(document)).toEqual({ [text]: [text] });
      }),
    );
  });

  it('loses only colours where a log has them', () => {
    expect(withoutColours('\u001b[1;32mINFO\u001b[0m \u001b]0;x\u0007')).toBe('INFO \u001b]0;x\u0007');
  });

  it('is cut to a limit, at no half of a character', () => {
    const text = printable('a🙂'.repeat(100), (same) => same);
    for (let limit = 10; limit < 60; limit += 1) {
      expect(cut(text, limit).length).toBeLessThanOrEqual(limit);
      expect(cutMiddle(text, limit).length).toBeLessThanOrEqual(limit);
      expect(acts(cut(text, limit) + cutMiddle(text, limit))).toBe(false);
    }
    expect(cut(text, 300)).toBe(text);
  });
});
