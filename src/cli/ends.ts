import { readFileSync } from 'node:fs';
import { EXIT, note } from './output.ts';

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
    note(`the output could not be written: ${error.message}`);
    process.exit(EXIT.failed);
  });
}

/**
 * Runs `body`; the first Ctrl-C in it says `farewell` and ends the process at once with `exitCode`, whatever is under way.
 * On a terminal Ctrl-C is read as a key: the terminal's SIGINT would go to npx and its shell too, which die of it and
 * so hide the exit code.
 */
export async function untilCtrlC<T>(
  { exitCode, farewell }: { readonly exitCode: number; readonly farewell: () => void },
  body: () => Promise<T>,
): Promise<T> {
  const leave = () => {
    letGo();
    farewell();
    process.exit(exitCode);
  };
  process.on('SIGINT', leave);
  const letGo = onKeys(new Map([[CTRL_C, leave]]));
  try {
    return await body();
  } finally {
    letGo();
    process.removeListener('SIGINT', leave);
  }
}

const [CTRL_C, CTRL_Z, CTRL_BACKSLASH] = [0x03, 0x1a, 0x1c];

/** Reads the keys of the terminal, if this process has it, until the result is called; suspending works as ever. */
function onKeys(acts: ReadonlyMap<number, () => void>): () => void {
  const { stdin } = process;
  const all = new Map([
    [CTRL_Z, () => (letGo(), process.kill(0, 'SIGTSTP'))],
    [CTRL_BACKSLASH, () => (letGo(), process.kill(0, 'SIGQUIT'))],
    ...acts,
  ]);
  const read = (keys: Buffer) => all.get(keys.find((key) => all.has(key)) ?? -1)?.();
  const take = () => {
    if (stdin.isTTY && hasTerminal()) stdin.setRawMode(true).on('data', read).resume();
  };
  const letGo = () => {
    if (stdin.isTTY) stdin.removeListener('data', read).setRawMode(false).pause();
  };
  process.on('SIGCONT', take);
  take();
  return () => {
    process.removeListener('SIGCONT', take);
    letGo();
  };
}

/** Whether this process is in the foreground of its terminal; one in the background that touches it is stopped. */
function hasTerminal(): boolean {
  const stat = readFileSync('/proc/self/stat', 'utf8');
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' '); // proc(5): after the name.
  return group === foreground;
}
