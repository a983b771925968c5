import type { Command } from 'commander';

/** How much of what is alike text shows. `--json` has all of it always. */
export interface Shown {
  readonly verbose?: boolean;
}

/** Rows of one kind that are shown without --verbose. */
export const SHOWN_MAX = 3;

export const verboseOption = (command: Command): Command =>
  command.option('--verbose', `show every row, and not the first ${SHOWN_MAX} of a kind`);
