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

/** What became of asking: a value, or why there is none. */
export type Reading<T> =
  | { readonly value: T; readonly why?: undefined }
  | { readonly value?: undefined; readonly why: string };

export function read<T>(fact: Pick<Fact<T>, 'name' | 'parse'>, output: ToolOutput | undefined): Reading<T> {
  if (!output) return { why: `${fact.name} was not asked` };
  if (output.timedOut) return { why: `${fact.name} did not answer within its limit` };
  try {
    return { value: fact.parse(output) };
  } catch (error) {
    if (error instanceof SyntaxError) return { why: error.message };
    throw error;
  }
}
