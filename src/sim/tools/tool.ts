import type { Machine } from '../machine.ts';

/** What a simulated tool printed. */
export interface ToolResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** A simulated tool: the machine and the arguments after its name → what it prints. Pure. */
export type Tool = (machine: Machine, args: readonly string[]) => ToolResult;

export const printed = (stdout: string): ToolResult => ({ stdout, stderr: '', exitCode: 0 });
export const refused = (stderr: string, exitCode = 1): ToolResult => ({ stdout: '', stderr, exitCode });

export interface Parsed {
  /** Flag → its values in order; a flag without a value has ''. */
  readonly flags: ReadonlyMap<string, readonly string[]>;
  readonly words: readonly string[];
}

/** Flags that a tool knows: name → whether it takes a value. Names as written, "-d", "--report_gbits". */
export type FlagTable = Readonly<Record<string, 'value' | 'bare'>>;

export class UnknownFlag extends Error {
  override readonly name = 'UnknownFlag';
  readonly flag: string;
  readonly missingValue: boolean;
  constructor(flag: string, missingValue = false) {
    super(flag);
    this.flag = flag;
    this.missingValue = missingValue;
  }
}

/** Reads arguments in getopt's manner: --flag=value, --flag value, -x value, -xvalue, -abc, words between flags. Throws `UnknownFlag`. */
export function parseArgs(args: readonly string[], table: FlagTable): Parsed {
  const flags = new Map<string, string[]>();
  const words: string[] = [];
  const put = (flag: string, value: string) => flags.set(flag, [...(flags.get(flag) ?? []), value]);
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at]!;
    if (arg === '--') return { flags, words: [...words, ...args.slice(at + 1)] };
    if (!arg.startsWith('-') || arg === '-') {
      words.push(arg);
      continue;
    }
    const valueOf = (flag: string) => {
      const value = args[(at += 1)];
      if (value === undefined) throw new UnknownFlag(flag, true);
      return value;
    };
    const known = table[arg];
    if (known) {
      put(arg, known === 'value' ? valueOf(arg) : '');
    } else if (arg.startsWith('--')) {
      const equals = arg.indexOf('=');
      const flag = arg.slice(0, equals);
      if (equals < 0 || table[flag] !== 'value') throw new UnknownFlag(arg);
      put(flag, arg.slice(equals + 1));
    } else {
      for (let letter = 1; letter < arg.length; letter += 1) {
        const flag = `-${arg[letter]!}`;
        const kind = table[flag];
        if (!kind) throw new UnknownFlag(flag);
        if (kind === 'bare') {
          put(flag, '');
          continue;
        }
        const rest = arg.slice(letter + 1);
        put(flag, rest === '' ? valueOf(flag) : rest);
        break;
      }
    }
  }
  return { flags, words };
}

/** Left-aligned columns with two blanks or more between them. */
export function columns(rows: readonly (readonly string[])[], widths: readonly number[]): string {
  return rows
    .map((row) => row.map((cell, at) => (at === row.length - 1 ? cell : cell.padEnd(widths[at] ?? 0))).join(''))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}
