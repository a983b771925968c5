import type { Command } from '../types.ts';
import { MAGIC_LINE } from './command-line.ts';
import { exports, quote } from './quote.ts';
import { RUNNER } from './runner.ts';

/** Characters of base64 in one line of input; a multiple of 4. */
const LINE_LENGTH = 65_536;

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
  const indices = commands.map((_, index) => index).join(' ');
  return [
    `tandem_n=${nonce} tandem_id=${id}`,
    RUNNER,
    cutInputs(commands),
    ...commands.map(definition),
    ...commands.map(
      ({ timeoutMs }, index) =>
        `${parallel ? 'tandem_aside' : 'tandem_one'} ${index} ${(timeoutMs / 1000).toFixed(3)}${parallel ? ' &' : ''}`,
    ),
    parallel ? `wait\ntandem_show ${indices}` : '',
    'tandem_close',
  ].join('\n');
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
