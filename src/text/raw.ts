declare const RAW: unique symbol;

/**
 * Text from outside: what a command, a log or an HTTP answer said. It may hold a secret, and a cut would leave half of
 * one that redaction no longer finds: so it has no method that cuts, and an error takes its evidence as this alone. It
 * is cut where it leaves an activity, behind redaction (`cut` in printable.ts).
 */
export type Raw = RawMethods & string;

interface RawMethods {
  readonly [RAW]: true;
  readonly slice: never;
  readonly substring: never;
  readonly substr: never;
  readonly at: never;
  readonly charAt: never;
  trim(): Raw;
  trimStart(): Raw;
  trimEnd(): Raw;
}

/** Marks text as being from outside; also what is put together of such text. */
export const raw = (text: string): Raw => text as Raw;

/** Kept of a stream without end, in characters. */
const KEPT_CHARACTERS = 8_192;

/** The last of a stream without end. It may begin with a piece of a secret, for which redaction looks at the ends of a text. */
export const lastKept = (said: Raw): Raw => raw((said as string).slice(-KEPT_CHARACTERS));

/** How much of a log or of a tool's last words an error carries, in characters. */
const ENDING_CHARACTERS = 2_048;

/**
 * The end of a text in whole lines, as many as fit 2,048 characters and at least one, however long it is. Redaction finds
 * a secret in any whole line of it, so that this cut leaves no half of one.
 */
export function ending(text: Raw): Raw {
  const lines = text.trimEnd().split('\n');
  let length = 0;
  let first = lines.length;
  while (first > 0 && (first === lines.length || length + lines[first - 1]!.length < ENDING_CHARACTERS)) {
    first -= 1;
    length += lines[first]!.length + 1;
  }
  return raw((first === 0 ? lines : ['…', ...lines.slice(first)]).join('\n'));
}
