import { type HostCheck, list, warn } from './host-check.ts';

/**
 * Says which tools printed more than is read, also where another tool told the same and every other check passes. What
 * only they could tell fails in its own check.
 */
export const toolOutput: HostCheck = {
  name: 'tool-output',
  judge: ({ tooLong }) =>
    tooLong.length === 0
      ? undefined
      : warn(
          list(tooLong),
          'Run the tool on the host and see what it prints: warnings by the thousand, or another tool.',
        ),
};
