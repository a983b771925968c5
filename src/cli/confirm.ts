import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { DeployError } from '../errors.ts';

/** Asks the operator to type `name`; `what` says what will then be done. Errors: USAGE when it is another name. */
export type Ask = (what: string) => Promise<void>;

/**
 * How a verb that takes something away for good makes sure: by --yes, else by asking on the terminal. Errors: USAGE
 * at once where there is neither, before anything is contacted.
 */
export function confirmation(name: string, verb: string, { yes }: Confirmed): Ask {
  if (yes) return async () => {};
  if (process.stdin.isTTY && process.stderr.isTTY) return (what) => typed(name, verb, what);
  throw notConfirmed(
    `\`${verb}\` takes something away for good, and there is no terminal to ask on`,
    `Look with \`tandem status ${name}\`, then give --yes.`,
  );
}

/** The option of such a verb. */
export const yesOption = (command: Command): Command =>
  command.option('-y, --yes', 'do not ask; needed where there is no terminal to ask on');

export interface Confirmed {
  readonly yes?: boolean;
}

async function typed(name: string, verb: string, what: string): Promise<void> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const gone = new Promise<string>((resolve) => terminal.once('close', () => resolve(''))); // Ctrl-D.
  try {
    const asked = terminal.question(`${what}\nType ${name} to go on: `).catch(() => ''); // Ctrl-C.
    const answer = await Promise.race([asked, gone]);
    if (answer.trim() !== name)
      throw notConfirmed(`${name} was not typed; nothing was done`, `Run \`tandem ${verb} ${name}\` again.`);
  } finally {
    terminal.close();
  }
}

const notConfirmed = (message: string, remedy: string) =>
  new DeployError({ code: 'USAGE', message, remedy, retryable: false });
