import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { firstOddByte } from '../../src/text/bytes.ts';

const odd = (...bytes: number[]) => firstOddByte(Uint8Array.from(bytes));

describe('the first odd byte', () => {
  it('is none in any text without control characters', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        const plain = text.replaceAll(/[\p{Cc}]/gu, '\n');
        expect(firstOddByte(Buffer.from(plain))).toBeUndefined();
      }),
    );
  });

  it('is found by what a strict decoder refuses', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
        const found = firstOddByte(bytes);
        const before = bytes.subarray(0, found ?? bytes.length);
        const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(before); // What comes before is text,
        // oxlint-disable-next-line no-control-regex -- Control characters are what is looked for.
        expect(/[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]/.test(text)).toBe(false);
        if (found === undefined) return;
        const rest = Buffer.from(bytes.subarray(found)); // and it is told rightly: one more character is none.
        const next = Array.from(new TextDecoder('utf-8', { ignoreBOM: true }).decode(rest))[0]!;
        expect(next === '\ufffd' || /[\p{Cc}]/u.test(next)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['NUL', odd(0x61, 0x00), 1],
    ['ESC', odd(0x1b, 0x5b), 0],
    ['DEL', odd(0x61, 0x62, 0x7f), 2],
    ['a C1 control', odd(0xc2, 0x9b), 0],
    ['UTF-16', odd(0xff, 0xfe, 0x61), 0],
    ['Latin-1', odd(0x61, 0xe4, 0x62), 1],
    ['an overlong form', odd(0xc0, 0xaf), 0],
    ['a surrogate', odd(0xed, 0xa0, 0x80), 0],
    ['a sequence that ends early', odd(0x61, 0xe2, 0x82), 1],
    ['a byte order mark, tabs and both line ends', odd(0xef, 0xbb, 0xbf, 0x09, 0x0d, 0x0a), undefined],
  ])('of %s', (_, found, wanted) => expect(found).toBe(wanted));
});
