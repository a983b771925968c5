/**
 * Where bytes are no text in UTF-8: a control character other than a tab or a line end, or a sequence that is none.
 * Undefined where all is text.
 */
export function firstOddByte(bytes: Uint8Array): number | undefined {
  for (let at = 0; at < bytes.length;) {
    const length = lengthAt(bytes, at);
    if (length === 0) return at;
    at += length;
  }
  return undefined;
}

/** Bytes of the character at `at`; 0 where there is none that is text. Ranges: The Unicode Standard, table 3-7. */
function lengthAt(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return first >= 0x20 ? (first === 0x7f ? 0 : 1) : [0x09, 0x0a, 0x0d].includes(first) ? 1 : 0;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4) return 0;
  // After some first bytes the second has a narrower range: no longer form than needed, no surrogate, nothing above U+10FFFF.
  const low = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : first === 0xc2 ? 0xa0 : 0x80;
  const high = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  const second = bytes[at + 1] ?? 0;
  if (second < low || second > high) return first === 0xc2 && second === 0x85 ? 2 : 0;
  for (let next = at + 2; next < at + length; next += 1) if (((bytes[next] ?? 0) & 0xc0) !== 0x80) return 0;
  return length;
}
