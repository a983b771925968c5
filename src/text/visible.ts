/**
 * What could act on a terminal or turn text around: control characters (C0, DEL, C1), format characters (bidirectional,
 * zero-width, tags), line separators, and halves of a pair that no UTF-8 can hold. Line breaks and tabs are text.
 */
const ACTING = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** `text` with what could act on a terminal shown instead of sent: ESC as \u001b. Line ends become "\n". */
export const visible = (text: string): string =>
  text
    .replaceAll('\r\n', '\n')
    .replace(ACTING, (one) => (one === '\n' || one === '\t' ? one : `\\u${escaped(one.codePointAt(0)!)}`));

const escaped = (code: number): string => (code > 0xffff ? `{${code.toString(16)}}` : unit(code));
const unit = (code: number): string => code.toString(16).padStart(4, '0');

/** A JSON document in which such characters are escaped as JSON does it: it reads back as the same value. */
export const visibleJson = (value: unknown, indent = 2): string =>
  JSON.stringify(value, null, indent).replace(ACTING, (one) =>
    one === '\n' ? one : [...Array(one.length).keys()].map((at) => `\\u${unit(one.charCodeAt(at))}`).join(''),
  );

/** True where `visible` would change something, line breaks and tabs included. */
export const isActing = (text: string): boolean => /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(text);

/** Colours of a log say nothing, and one inside a secret would hide it from redaction. Only these sequences are dropped. */
export const withoutColours = (text: string): string => (text.includes('\u001b') ? text.replaceAll(COLOUR, '') : text);

// oxlint-disable-next-line no-control-regex -- The escape character is what is looked for.
const COLOUR = /\u001b\[[0-9;]{0,32}m/g;
