import { visible } from './visible.ts';

declare const PRINTABLE: unique symbol;

/** Text that may be shown and recorded: without secrets, and without what acts on a terminal. Only this is cut. */
export type Printable = string & { readonly [PRINTABLE]: true };

/** Takes the known secrets out of a text. */
export type Redact = (text: string) => string;

/** The only way from text that may hold anything to text that may be shown. */
export const printable = (text: string, redact: Redact): Printable =>
  visible(redact(withoutExcerpts(text))) as Printable;

/** JavaScript's own errors quote ten characters on each side of what is no JSON, which may be a piece of a secret. */
const withoutExcerpts = (text: string): string =>
  text.replaceAll(/(Unexpected token '[^]{1,2}'), [^]{0,80}? is not valid JSON/g, '$1 in what should be JSON');

/** The beginning of a text, at most `limit` characters. */
export const cut = (text: Printable, limit: number): Printable =>
  text.length <= limit ? text : (`${whole(text.slice(0, limit - 1))}…` as Printable);

/** The end of a text in whole lines, at most `limit` characters of them; one line that is longer is cut at its start. */
export function cutStart(text: Printable, limit: number): Printable {
  if (text.length <= limit) return text;
  const end = text.slice(-limit);
  const line = end.indexOf('\n');
  return `…\n${line < 0 || line === end.length - 1 ? whole(end) : end.slice(line + 1)}` as Printable;
}

/** A text without its middle, at most `limit` characters: what was seen is told at its start, why it ended at its end. */
export function cutMiddle(text: Printable, limit: number): Printable {
  if (text.length <= limit) return text;
  const half = Math.floor((limit - 3) / 2);
  return `${whole(text.slice(0, half))}\n…\n${whole(text.slice(-half))}` as Printable;
}

/** Without half of a pair of surrogates at an end. */
const whole = (text: string): string => text.replace(/^[\uDC00-\uDFFF]|[\uD800-\uDBFF]$/g, '');
