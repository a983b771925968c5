import { constants, fstatSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { EXIT } from './output.ts';

/** How a verb ends before it is done: its reader has gone, or somebody pressed Ctrl-C. */

/**
 * A reader that has seen enough (`tandem list | head -1`), or whose terminal is closed, ends the verb without a word; the
 * exit code is what it is so far. What cannot be written for another reason, a full disk say, is a failure.
 */
export function endWithReader(): void {
  const gone = (error: NodeJS.ErrnoException) => error.code === 'EPIPE' || error.code === 'EIO';
  process.stderr.on('error', () => process.exit());
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (gone(error)) process.exit();
    process.stderr.write(`the output could not be written: ${error.message}\n`);
    process.exit(EXIT.failed);
  });
}

const STDOUT = 1;
/** This process's own stdout, under a name that can be opened. */
const STDOUT_PATH = '/proc/self/fd/1';

/** Whether nobody reads stdout any more, asked without writing: a pipe without a reader cannot be opened once more. */
export async function readerHasGone(): Promise<boolean> {
  if (!fstatSync(STDOUT).isFIFO()) return false;
  try {
    await (await open(STDOUT_PATH, constants.O_WRONLY | constants.O_NONBLOCK)).close();
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENXIO';
  }
}

/**
 * Runs `body`; the first Ctrl-C in it says `farewell` and ends the process at once with `exitCode`, whatever is under
 * way: a second one, such as npx sends along with the terminal's, finds nothing left to interrupt.
 */
export async function untilCtrlC<T>(
  { exitCode, farewell }: { readonly exitCode: number; readonly farewell: () => void },
  body: () => Promise<T>,
): Promise<T> {
  const leave = () => {
    farewell();
    process.exit(exitCode);
  };
  process.on('SIGINT', leave);
  try {
    return await body();
  } finally {
    process.removeListener('SIGINT', leave);
  }
}
