/** A fact: how to ask a host, and how to read the answer. No judgement, no I/O. */
export interface Fact<T, Args extends readonly unknown[] = []> {
  /** Also the file name in a capture folder: DIR/<host>/<name>.txt. */
  readonly name: string;
  /** Program and arguments; never a shell string. */
  readonly command: (...args: Args) => readonly string[];
  /** Reads what the command printed. Throws `SyntaxError` saying what is missing; never guesses a healthy value. */
  readonly parse: (output: ToolOutput) => T;
  /** Limit of the command, in milliseconds. A hung driver hangs its tools. */
  readonly timeoutMs: number;
}

export interface ToolOutput {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
  readonly timedOut: boolean;
}

/**
 * Most that is read of one fact, in bytes of each stream; the longest answer of a real host that is known, rocminfo of eight GPUs,
 * has 54 kB. Every output of a fact passes here, live or out of a capture, so no parser ever sees more.
 */
export const FACT_LIMIT_BYTES = 256 * 1024;

/** Why an output is not read: it is over the limit, and the part below it would be taken for the whole. Else undefined. */
export function tooLong(name: string, { stdout, stderr }: ToolOutput): string | undefined {
  const bytes = Math.max(bytesOf(stdout), bytesOf(stderr));
  return bytes > FACT_LIMIT_BYTES
    ? `${name} printed ${bytes} bytes, cut at the ${FACT_LIMIT_BYTES} (256 KiB) that are read of a fact, which tell nothing without the rest`
    : undefined;
}

/** UTF-8 has at most three bytes for a unit of a string, so short texts need no counting. */
const bytesOf = (text: string): number =>
  text.length * 3 <= FACT_LIMIT_BYTES ? text.length : new TextEncoder().encode(text).length;

/** What became of asking: a value, or why there is none. */
export type Reading<T> =
  | { readonly value: T; readonly why?: undefined }
  | { readonly value?: undefined; readonly why: string };

export function read<T>(fact: Pick<Fact<T>, 'name' | 'parse'>, output: ToolOutput | undefined): Reading<T> {
  if (!output) return { why: `${fact.name} was not asked` };
  if (output.timedOut) return { why: `${fact.name} did not answer within its limit` };
  const why = tooLong(fact.name, output);
  if (why !== undefined) return { why };
  try {
    return { value: fact.parse(output) };
  } catch (error) {
    if (error instanceof SyntaxError) return { why: error.message };
    throw error;
  }
}
