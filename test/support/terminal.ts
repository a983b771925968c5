import { join } from 'node:path';
import { execa } from 'execa';

export const CTRL_C = '\x03';

/** How a command ended on its terminal. */
export interface TerminalEnd {
  readonly output: string;
  /** Negative for a signal. */
  readonly exitCode: number;
  /** Texts that never came. */
  readonly missed: readonly string[];
}

/** Runs a command on a terminal of its own: as soon as each text (a regular expression) shows, the answer to it is typed. */
export async function onTerminal(
  argv: readonly string[],
  answers: readonly (readonly [seen: string, typed: string])[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly cwd?: string; readonly timeoutMs: number },
): Promise<TerminalEnd> {
  const program = join(import.meta.dirname, 'terminal.py');
  const { timeoutMs: timeout, ...others } = options;
  const { stdout } = await execa('python3', [program, JSON.stringify(answers), ...argv], {
    ...others,
    timeout,
    forceKillAfterDelay: 1_000,
  });
  return JSON.parse(stdout) as TerminalEnd;
}
