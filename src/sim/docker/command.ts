/** Docker's command line: its flags, and its words for what is wrong with them. Texts are those of the real client, 28.2. */

export type FlagKind = 'bool' | 'value' | 'list';

export interface Flags {
  /** Whether a boolean flag was given as true. */
  has(name: string): boolean;
  /** The last value of a flag. */
  value(name: string): string | undefined;
  /** Every value of a flag that may be repeated. */
  list(name: string): readonly string[];
  readonly words: readonly string[];
}

/** What the client prints instead of doing something. */
export class DockerError extends Error {
  override readonly name = 'DockerError';
  readonly exitCode: number;
  readonly stdout: string;
  constructor(message: string, exitCode = 1, stdout = '') {
    super(message);
    this.exitCode = exitCode;
    this.stdout = stdout;
  }
}

/** An error that the engine sent. */
export const daemonError = (message: string, exitCode = 1) =>
  new DockerError(`Error response from daemon: ${message}\n`, exitCode);

export interface CommandLine {
  /** "docker run" */
  readonly command: string;
  readonly usage: string;
  /** Long name → kind; "x" alone is a short flag. */
  readonly flags: Readonly<Record<string, FlagKind>>;
  /** Short name → long name. */
  readonly short: Readonly<Record<string, string>>;
  readonly least: number;
  readonly most?: number;
  /** Flags end at the first word: what follows is the container's own command. */
  readonly interspersed: boolean;
}

/** Reads a command line as Docker's own parser does. Throws `DockerError` with its words. */
export function parseFlags(args: readonly string[], line: CommandLine): Flags {
  const values = new Map<string, string[]>();
  const words: string[] = [];
  const wrong = (message: string) =>
    new DockerError(`${message}\n\nUsage:  ${line.usage}\n\nRun '${line.command} --help' for more information\n`, 125);
  const put = (name: string, value: string) => {
    if (line.flags[name] === 'bool' && !['true', 'false', '1', '0'].includes(value)) {
      throw wrong(
        `invalid argument "${value}" for "--${name}" flag: strconv.ParseBool: parsing "${value}": invalid syntax`,
      );
    }
    values.set(name, [...(values.get(name) ?? []), value]);
  };
  let at = 0;
  for (; at < args.length; at += 1) {
    const arg = args[at]!;
    if (arg === '--') {
      words.push(...args.slice(at + 1));
      break;
    }
    if (!arg.startsWith('-') || arg === '-') {
      if (!line.interspersed) {
        words.push(...args.slice(at));
        break;
      }
      words.push(arg);
      continue;
    }
    const next = (shown: string) => {
      const value = args[(at += 1)];
      if (value === undefined) throw wrong(`flag needs an argument: ${shown}`);
      return value;
    };
    if (arg.startsWith('--')) {
      const equals = arg.indexOf('=');
      const name = equals < 0 ? arg.slice(2) : arg.slice(2, equals);
      const kind = line.flags[name];
      if (!kind) throw wrong(`unknown flag: --${name}`);
      if (equals >= 0) put(name, arg.slice(equals + 1));
      else put(name, kind === 'bool' ? 'true' : next(`--${name}`));
      continue;
    }
    for (let letter = 1; letter < arg.length; letter += 1) {
      const short = arg[letter]!;
      const name = line.short[short];
      if (!name) throw wrong(`unknown shorthand flag: '${short}' in ${arg}`);
      if (line.flags[name] === 'bool') {
        put(name, 'true');
        continue;
      }
      const rest = arg.slice(letter + 1).replace(/^=/, '');
      put(name, rest === '' ? next(`'${short}' in ${arg}`) : rest);
      break;
    }
  }
  const few = words.length < line.least;
  if (few || words.length > (line.most ?? Infinity)) {
    const wanted = few ? line.least : line.most!;
    const pointer = few && line.most === undefined ? 'See' : 'Run';
    const phrase =
      line.most === 0
        ? 'accepts no arguments'
        : `requires ${line.most === line.least ? '' : few ? 'at least ' : 'at most '}${wanted} argument${wanted === 1 ? '' : 's'}`;
    throw new DockerError(
      `docker: '${line.command}' ${phrase}\n\nUsage:  ${line.usage}\n\n${pointer} '${line.command} --help' for more information\n`,
    );
  }
  return {
    has: (name) => ['true', '1'].includes(values.get(name)?.at(-1) ?? ''),
    value: (name) => values.get(name)?.at(-1),
    list: (name) => values.get(name) ?? [],
    words,
  };
}
