import type { Command } from '../types.ts';
import { MAGIC_LINE } from './command-line.ts';
import { exports, quote } from './quote.ts';
import { RUNNER } from './runner.ts';

/** Characters of base64 in one line of input; a multiple of 4. */
const LINE_LENGTH = 65_536;
/** How often the watcher on a host looks for commands that are over their limit, at most: a quarter of the shortest limit. */
const LOOK_MS = 4_000;

export interface FrameOptions {
  /** 32 hexadecimal digits that no output can hold by chance. */
  readonly nonce: string;
  /** Name of the frame on the host; another than the nonce, since commands may well list folders. */
  readonly id: string;
  readonly parallel: boolean;
  /** For sudo, which reads it as the first line. */
  readonly password?: string | undefined;
}

/**
 * What goes to the remote command line's stdin: password, magic line, the program in base64, the commands' input.
 * Errors: SPEC_INVALID for a value that no program can be given.
 */
export function frame(commands: readonly Command[], options: FrameOptions): string {
  const lines = [MAGIC_LINE, base64(program(commands, options))];
  if (options.password !== undefined) lines.unshift(options.password);
  const input = inputs(commands);
  if (input.length > 0) {
    const text = input.toString('base64');
    for (let at = 0; at < text.length; at += LINE_LENGTH) lines.push(text.slice(at, at + LINE_LENGTH));
    lines.push('.');
  }
  return `${lines.join('\n')}\n`;
}

const base64 = (text: string) => Buffer.from(text).toString('base64');
const inputs = (commands: readonly Command[]) => Buffer.concat(commands.map(({ stdin }) => Buffer.from(stdin ?? '')));

function program(commands: readonly Command[], { nonce, id, parallel }: FrameOptions): string {
  const indices = commands.map((_, index) => index);
  const lookMs = Math.max(50, Math.min(LOOK_MS, ...commands.map(({ timeoutMs }) => timeoutMs / 4)));
  const limits = commands.map(({ timeoutMs }, index) => `${index} ${Math.ceil(timeoutMs / 10)}`);
  return [
    `tandem_n=${nonce} tandem_id=${id}`,
    RUNNER,
    cutInputs(commands),
    ...commands.map(definition),
    `tandem_watch ${lookMs / 1000} ${indices.join(' ')} >/dev/null 4>&- & tandem_w=$!`,
    ...(parallel ? sideBySide(limits) : limits.map((limit) => `tandem_one ${limit}`)),
    'tandem_close',
  ].join('\n');
}

/** Output is shown in the order of the commands when all have ended: index and limit of each. */
function sideBySide(limits: readonly string[]): readonly string[] {
  const files = (kind: string) => limits.map((_, index) => `"$tandem_d/${kind}.${index}"`).join(' ');
  return [
    ...limits.map((limit) => `tandem_aside ${limit} & tandem_a="$tandem_a $!"`),
    'wait $tandem_a',
    `cat ${files('o')}`,
    `cat ${files('e')} >&4`,
  ];
}

function cutInputs(commands: readonly Command[]): string {
  const lines: string[] = [];
  let offset = 0;
  for (const [index, { stdin }] of commands.entries()) {
    const length = Buffer.byteLength(stdin ?? '');
    if (length > 0) lines.push(`tandem_input ${index} ${offset} ${length}`);
    offset += length;
  }
  return offset > 0 ? [`tandem_inputs ${offset}`, ...lines, 'rm -f "$tandem_d/in"'].join('\n') : '';
}

function definition({ argv, env = {} }: Command, index: number): string {
  return `tandem_command_${index}() {\n${exports(env)}\nexec "$tandem_setsid" -- ${argv.map(quote).join(' ')}\n}`;
}
