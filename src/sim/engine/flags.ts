/** One flag as SGLang's own parser has it. */
export interface FlagRow {
  readonly takes: 'nothing' | 'str' | 'int' | 'float' | 'list' | 'json';
  readonly nargs?: string;
  readonly choices?: readonly string[];
  readonly aliases?: readonly string[];
  /** The integer may be written 32k or 1Ki. */
  readonly suffixes?: boolean;
}

export type FlagTable = Readonly<Record<string, FlagRow>>;
export type FlagValue = string | number | boolean | readonly string[] | null;

/** The command line is wrong: what argparse prints before it exits with 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/**
 * Reads a command line as argparse does: --flag=value, unambiguous prefixes, aliases, choices, types. Returns values
 * by the flag's first name, without dashes. Throws UsageError with argparse's words.
 */
export function parseArgv(argv: readonly string[], table: FlagTable): Map<string, FlagValue> {
  const spellings = spellingsOf(table);
  const values = new Map<string, FlagValue>();
  const unrecognized: string[] = [];
  for (let at = 0; at < argv.length;) {
    const token = argv[at] as string;
    at += 1;
    const equals = token.indexOf('=');
    const typed = token.startsWith('--') && equals > 0 ? token.slice(0, equals) : token;
    const name = match(typed, spellings);
    if (name === undefined) {
      unrecognized.push(token);
      continue;
    }
    const row = table[name] as FlagRow;
    const shown = [name, ...(row.aliases ?? [])].map((spelling) => `--${spelling}`).join('/');
    const attached = typed === token ? undefined : token.slice(equals + 1);
    if (row.takes === 'nothing') {
      if (attached !== undefined) throw new UsageError(`argument ${shown}: ignored explicit argument '${attached}'`);
      values.set(name, true);
      continue;
    }
    const texts = attached === undefined ? [] : [attached];
    const most = row.nargs === '+' || row.nargs === '*' ? Infinity : 1;
    while (attached === undefined && texts.length < most && at < argv.length && isValue(argv[at] as string)) {
      texts.push(argv[at] as string);
      at += 1;
    }
    if (texts.length === 0 && row.nargs !== '*' && row.nargs !== '?') {
      throw new UsageError(`argument ${shown}: expected ${most === 1 ? 'one argument' : 'at least one argument'}`);
    }
    const read = texts.map((text) => convert(text, row, shown));
    values.set(name, row.takes === 'list' ? texts : (read[0] ?? null));
  }
  if (unrecognized.length > 0) throw new UsageError(`unrecognized arguments: ${unrecognized.join(' ')}`);
  return values;
}

/** Every way to write a flag, with its first name. */
function spellingsOf(table: FlagTable): Map<string, string> {
  return new Map(
    Object.entries(table).flatMap(([name, { aliases = [] }]) =>
      [name, ...aliases].map((spelling) => [`--${spelling}`, name] as const),
    ),
  );
}

function match(typed: string, spellings: Map<string, string>): string | undefined {
  const exact = spellings.get(typed === '-h' ? '--help' : typed);
  if (exact !== undefined || !typed.startsWith('--')) return exact;
  const candidates = [...spellings.keys()].filter((spelling) => spelling.startsWith(typed));
  const names = new Set(candidates.map((spelling) => spellings.get(spelling)));
  if (names.size > 1) throw new UsageError(`ambiguous option: ${typed} could match ${candidates.join(', ')}`);
  return [...names][0];
}

/** argparse takes a negative number for a value as long as no flag looks like one. */
const isValue = (token: string) => !token.startsWith('-') || token === '-' || /^-\d/.test(token) || token.includes(' ');

function convert(text: string, row: FlagRow, shown: string): FlagValue {
  const value = read(text, row, shown);
  if (row.choices !== undefined && !row.choices.includes(text)) {
    const known = row.choices.map((choice) => `'${choice}'`).join(', ');
    throw new UsageError(`argument ${shown}: invalid choice: '${text}' (choose from ${known})`);
  }
  return value;
}

function read(text: string, row: FlagRow, shown: string): FlagValue {
  if (row.takes === 'int') {
    const human = row.suffixes === true ? /^(\d+(?:\.\d+)?)(k|m|g|Ki|Mi|Gi)$/.exec(text) : null;
    if (human !== null) return Math.round(Number(human[1]) * (SUFFIX[human[2] as keyof typeof SUFFIX] as number));
    if (!/^[+-]?\d+$/.test(text.trim())) throw new UsageError(`argument ${shown}: invalid int value: '${text}'`);
    return Number(text);
  }
  if (row.takes === 'float') {
    if (text.trim() === '' || Number.isNaN(Number(text))) {
      throw new UsageError(`argument ${shown}: invalid float value: '${text}'`);
    }
    return Number(text);
  }
  return text;
}

const SUFFIX = { k: 1e3, m: 1e6, g: 1e9, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 } as const;
